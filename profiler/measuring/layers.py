"""When each layer of a batch ends, what a ramp there adds, what letting an answer out costs: beside whole batches."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from queue import SimpleQueue
from time import perf_counter
from typing import Any

import numpy as np
from scipy.special import softmax

from profiler.executors.interface import Engine, Ids, Layered
from profiler.measuring import gate
from profiler.measuring.grid import ModelKey
from profiler.measuring.inputs import random_batch
from profiler.measuring.measure import Progress
from profiler.measuring.rules import MINIMUM

#: Visits after which a key is left alone.
ENOUGH = 100


@dataclass
class LayerMeasurement:
    """Times of layers and ramps, each relative to a whole batch of the same requests beside it.

    executors: by model. latency_s: the median of each cell, which the relative times are multiplied with: a machine
    that is slower for a while slows both. After `run`, `rows` are those of layers.csv; `ends` and `ramps` are kept as
    measured, by cell, [visits, layers].
    """

    executors: Mapping[str, Engine]
    latency_s: Mapping[ModelKey, float]
    rng: np.random.Generator
    progress: Progress = lambda share, what: None
    ends: dict[ModelKey, list[list[float]]] = field(default_factory=dict, init=False)
    ramps: dict[ModelKey, list[list[float]]] = field(default_factory=dict, init=False)
    _releases: dict[ModelKey, list[float]] = field(default_factory=dict, init=False)

    def run(self, budget_s: float) -> None:
        """Visit every cell MINIMUM times, then on in random order until the seconds are spent or all are known.

        Raises ArithmeticError where a batch that ran layer by layer is answered otherwise than a whole one.
        """
        began = perf_counter()
        with _Handover() as handover:
            for visit in range(ENOUGH):
                for index in self.rng.permutation(len(self.latency_s)):
                    cell = list(self.latency_s)[index]
                    if visit >= MINIMUM and perf_counter() - began > budget_s:
                        return
                    self._visit(cell, handover)
                    self.progress(min(1.0, (perf_counter() - began) / budget_s), f"layers of {cell}")

    @property
    def rows(self) -> list[dict[str, Any]]:
        """Of layers.csv, in the order of the cells."""
        found = []
        for cell, latency_s in self.latency_s.items():
            ends, ramps = (np.median(each[cell], axis=0) * latency_s * 1e6 for each in (self.ends, self.ramps))
            release = round(float(np.median(self._releases[cell])) * 1e6, 2)
            where = {"model": cell.model, "batch": cell.key.batch, "tokens": cell.key.tokens}
            for layer, (end, ramp) in enumerate(zip(ends.tolist(), ramps.tolist(), strict=True), 1):
                times = {"end_us": round(end, 2), "ramp_us": round(ramp, 3), "release_us": release}
                found.append({**where, "layer": layer, **times})
        return found

    def _visit(self, cell: ModelKey, handover: _Handover) -> None:
        """A whole batch, the same layer by layer, and the same with a ramp after every layer."""
        executor = self.executors[cell.model]
        assert isinstance(executor, Layered)
        ids = random_batch(cell.key, executor.spec.vocab, self.rng)
        answers = executor.run(1, ids)
        began, ends, ramps = perf_counter(), [], []
        batch = executor.begin(ids)
        for layer in range(1, executor.ramps + 1):
            batch.run(layer)
            ends.append(perf_counter() - began)
        error = gate.distance(batch.end().logits, answers.logits)
        if not error <= gate.SINGLE * gate.TOLERANCE[executor.dtype]:
            raise ArithmeticError(f"{cell}: layer by layer it answers otherwise, by {error:.1e}; nothing was timed")
        batch, releases = executor.begin(ids), []
        for layer in range(1, executor.ramps + 1):
            batch.run(layer)
            began = perf_counter()
            looked(batch.ramp())
            ramps.append(perf_counter() - began)
            releases.append(handover.send())
        batch.end()
        self.ends.setdefault(cell, []).append([each / answers.seconds for each in ends])
        self.ramps.setdefault(cell, []).append([each / answers.seconds for each in ramps])
        self._releases.setdefault(cell, []).append(float(np.median(releases)))


def looked(logits: np.ndarray) -> np.ndarray:
    """What a device works out at a ramp before the next layer: which requests are sure."""
    return np.asarray(softmax(logits.astype(np.float64), axis=1).max(1) > 0.5)


class _Handover:
    """A thread that takes answers, as the loop does beside a device: how long until one is out, in seconds."""

    def __init__(self) -> None:
        self._out: SimpleQueue[bool] = SimpleQueue()
        self._back: SimpleQueue[float] = SimpleQueue()
        self._thread = threading.Thread(target=self._take, daemon=True)

    def send(self) -> float:
        began = perf_counter()
        self._out.put(True)
        return self._back.get() - began

    def _take(self) -> None:
        while self._out.get():
            self._back.put(perf_counter())

    def __enter__(self) -> _Handover:
        self._thread.start()
        return self

    def __exit__(self, *raised: object) -> None:
        self._out.put(False)
        self._thread.join()


def layered(executors: Mapping[str, Engine], cells: Sequence[ModelKey]) -> list[ModelKey]:
    """The cells of models that have ramps between layers."""
    return [cell for cell in cells if isinstance(own := executors[cell.model], Layered) and own.ramps > 1]


def timed_set(executor: Layered, ids: Sequence[Ids], ramps: Sequence[int]) -> tuple[float, float]:
    """Seconds to the last answers of ramps after these layers, and to the end of the batch."""
    began = perf_counter()
    batch = executor.begin(ids)
    for layer in ramps:
        batch.run(layer)
        looked(batch.ramp())
    out = perf_counter() - began
    batch.end()
    return out, perf_counter() - began
