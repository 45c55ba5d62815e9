"""The protocol: rounds over all keys in fresh random order, a canary between, until every median is known."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np

from profiler.executors.interface import BatchResult, Engine, Ids
from profiler.measuring.grid import ModelKey
from profiler.measuring.journal import SampleJournal, TimingSample
from profiler.measuring.mixes import random_batch
from profiler.measuring.rules import Rules
from profiler.models.spec import Dims
from profiler.table import ShapeKey

#: Called now and then with the share of the work that is done (0 to 1) and what is being done.
Progress = Callable[[float, str], None]


class Runs(Protocol):
    """What can be timed: the part of an Engine that is needed for that."""

    @property
    def spec(self) -> Dims: ...

    def run(self, students: int, ids: Sequence[Ids]) -> BatchResult: ...


def drawn(executor: Engine, key: ShapeKey, rng: np.random.Generator) -> list[Ids]:
    """A random batch of a key of an executor's plan."""
    return random_batch(executor.plan, key, executor.spec.vocab, rng)


@dataclass
class Measurement:
    """A measurement under way: executors by model, the cells to time, and the journal that keeps every timing.

    canary: the cell that is timed again and again. draw: makes a batch of a key for an executor. After
    `run`, `unfinished` lists the cells without enough samples.
    """

    executors: Mapping[str, Runs]
    cells: Sequence[ModelKey]
    journal: SampleJournal
    rules: Rules
    rng: np.random.Generator
    canary: ModelKey
    progress: Progress = lambda share, what: None
    draw: Callable[[Any, ShapeKey, np.random.Generator], list[Ids]] = drawn
    _times: dict[ModelKey, list[float]] = field(default_factory=dict, init=False)
    _inputs: dict[ModelKey, list[list[Ids]]] = field(default_factory=dict, init=False)
    _began: float = field(default=0.0, init=False)
    _next_canary: float = field(default=0.0, init=False)

    def run(self) -> None:
        """Measure until every key is known well enough or the budget is spent; then the effect of idle gaps."""
        self._began = time.perf_counter() - self.journal.elapsed_s
        self._times = {cell: [] for cell in self.cells}
        for sample in self.journal.samples:
            if sample.kind == "sample" and sample.cell in self._times:
                self._times[sample.cell].append(sample.seconds)
        while (waiting := self._open()) and self._now() < self.rules.budget_s:
            for index in self.rng.permutation(len(waiting)):
                self._visit(waiting[index])
                if self._now() >= self.rules.budget_s:
                    break
        if not self.unfinished:
            self._measure_idle()
        self.journal.flush()

    @property
    def unfinished(self) -> list[ModelKey]:
        """The cells that have fewer samples than a table needs."""
        return [cell for cell, times in self._times.items() if len(times) < self.rules.minimum]

    def _open(self) -> list[ModelKey]:
        """The cells of the next round: those below the minimum, or, when there are none, those not yet precise.

        A key is not refined beyond its fair share of the budget (at least the minimum), so that the longest keys do not
        take it all.
        """
        short = self.unfinished
        if short:
            return short
        share = self.rules.budget_s / len(self.cells)
        return [cell for cell, times in self._times.items() if self._unsure(times, share)]

    def _unsure(self, times: Sequence[float], share_s: float) -> bool:
        if len(times) >= self.rules.enough or (sum(times) > share_s and len(times) >= 2 * self.rules.minimum):
            return False
        return relative_error(times) > self.rules.precision

    def _visit(self, cell: ModelKey) -> None:
        """Time a key a few times; where that is cheap, after one run that is not timed (caches hold another key)."""
        self._time_canary()
        known = self._times[cell]
        repeats = int(np.clip(self.rules.visit_s / np.median(known), 1, 8)) if known else 1
        if repeats > 1:
            self._time("", cell)
        for _ in range(repeats):
            self._times[cell].append(self._time("sample", cell))
        self.journal.flush()
        self.progress(min(1.0, self._now() / self.rules.budget_s), str(cell))

    def _time_canary(self) -> None:
        """Time the canary, if its time has come."""
        if self._now() >= self._next_canary:
            self._next_canary = self._now() + self.rules.canary_s
            self._time("", self.canary)
            self._time("canary", self.canary)

    def _time(self, kind: str, cell: ModelKey, gap_s: float = 0.0) -> float:
        """Run a cell on its next input and write down what it took (an empty kind: not). Returns the host cycle."""
        executor = self.executors[cell.model]
        inputs = self._inputs.setdefault(cell, [])
        if len(inputs) < self.rules.rotations:
            inputs.insert(0, self.draw(executor, cell.key, self.rng))
        else:
            inputs.append(inputs.pop(0))
        answers = executor.run(cell.key.students, inputs[0])
        if not np.isfinite(answers.logits).all():
            raise ArithmeticError(f"{cell} gave an answer that is not a number: nothing can be said about its speed")
        if kind:
            times = (answers.seconds, answers.staging_s, answers.device_s)
            self.journal.add(TimingSample(self._now(), kind, cell, *times, gap_s))
        return answers.seconds

    def _measure_idle(self) -> None:
        """Time three small keys after gaps in which the device had nothing to do, in random order."""
        done = sum(sample.kind == "idle" for sample in self.journal.samples)
        cells = sorted(self.cells, key=lambda cell: float(np.median(self._times[cell])))[:3]
        tasks = [(cell, gap) for cell in cells for gap in self.rules.idle_gaps_s] * self.rules.idle_repeats
        end = self._now() + self.rules.idle_share * self.rules.budget_s
        for index in self.rng.permutation(max(0, len(tasks) - done)):
            cell, gap = tasks[index]
            self._time("", cell)
            if gap:
                time.sleep(gap)
            self._time("idle", cell, gap)
            self.progress(1.0, "after idle gaps")
            if self._now() >= end:
                break

    def _now(self) -> float:
        return time.perf_counter() - self._began


def relative_error(times: Sequence[float]) -> float:
    """Half the 95 % confidence interval of the median over the median; infinite with fewer than six samples.

    By order statistics (binomial, normal approximation): no assumption about the distribution.
    """
    n = len(times)
    if n < 6:
        return float("inf")
    ordered = np.sort(times)
    reach = 0.98 * np.sqrt(n)
    low, high = int(max(0, np.floor(n / 2 - reach))), int(min(n - 1, np.ceil(n / 2 + reach)))
    return float((ordered[high] - ordered[low]) / 2 / np.median(ordered))
