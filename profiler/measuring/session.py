"""Measure several models on one device and write their table: open, warm, gate, time, back to back. Resumable."""

from __future__ import annotations

import gc
import math
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np

from profiler.executors.interface import BackToBack, Engine
from profiler.measuring import gate, noise, summary
from profiler.measuring.grid import Grid, ModelKey, rectangle
from profiler.measuring.journal import SampleJournal
from profiler.measuring.measure import Measurement, Progress
from profiler.measuring.mixes import random_batch
from profiler.measuring.notes import TableNotes, complete
from profiler.measuring.ramps import parts, ramp_times
from profiler.measuring.rules import Rules
from profiler.models.foreign import Foreign
from profiler.models.spec import Dims
from profiler.models.weights import Weights
from profiler.table import ShapeKey
from profiler.table.metadata import Ceilings
from profiler.table.validate import holes
from profiler.table.writing import write_table
from traces.shared.origin import origin


@dataclass(frozen=True)
class Entry:
    """One model of a table: its name there, its shape, its keys, how to open it, how to check it.

    open: an executor that is not warm yet, and the float32 weights that the gate compares it with. gate_keys: how many
    shapes the gate tries; the reference is slow for large models. like: an earlier entry, which has passed the gate;
    this one is compared with its answers instead.
    """

    name: str
    spec: Dims
    grid: Grid
    open: Callable[[], tuple[Engine, Weights | Foreign]]
    gate_keys: int = 2
    like: str = ""

    def cells(self) -> list[ModelKey]:
        """Every key, in the order of the table's rows."""
        return [cell._replace(model=self.name) for cell in self.grid.cells()]


@dataclass
class Opened:
    """Executors by entry, what their opening cost and showed; what was skipped and why, what came too late to open.

    refused: the products that an executor tried and could not use, with the reason. untried: how many classes of
    products it had no time to try.
    """

    executors: dict[str, Engine] = field(default_factory=dict)
    cold_start: dict[str, dict[str, float]] = field(default_factory=dict)
    numerics: dict[str, dict[str, float]] = field(default_factory=dict)
    refused: dict[str, dict[str, str]] = field(default_factory=dict)
    untried: dict[str, int] = field(default_factory=dict)
    skipped: dict[str, str] = field(default_factory=dict)
    late: list[str] = field(default_factory=list)
    cells: list[ModelKey] = field(default_factory=list)


def measure_table(
    out: Path,
    entries: Sequence[Entry],
    rules: Rules,
    *,
    meta: Mapping[str, Any],
    ceilings: Ceilings | None,
    deadline: float = math.inf,
    most_s: float = math.inf,
    seed: int = 0,
    progress: Progress = lambda share, what: None,
    accuracy: Sequence[Mapping[str, Any]] = (),
    keep_samples: bool = False,
    partial_table: bool = False,
    alike: Mapping[Grid, str] = MappingProxyType({}),
) -> dict[str, Any]:
    """Write the table of these entries to the folder `out`; returns its status and what there is to say about it.

    rules.budget_s is the least time for measuring, most_s the most; in between it ends at `deadline` (time.monotonic).
    Entries that would open after the deadline are left out and named. Status `done`, or `unfinished` where keys lack
    samples or entries were left out: the timings are kept beside `out`, and a repeated call goes on from there, or
    `profiler.measuring.notes.table_of` makes a table of them. Sizes with keys that do not fit the memory are left out
    of the table (`skipped` says which), so that it has no hole; `failed` where one has.
    accuracy: rows for the table. keep_samples: whether every timing goes into the table's folder. partial_table: write
    a table of what is complete even when some keys are not, or models failed to open or to pass the gate (which is
    then in `skipped`, with the reason). alike: grids that take the rows of an entry
    (`profiler.measuring.grid.measured_as`); the metadata says so.
    """
    shapes = [[entry.name, *map(str, entry.cells())] for entry in entries]
    settings = {"entries": shapes, "seed": seed, "device": meta.get("device"), "dtype": meta.get("dtype")}
    with ExitStack() as stack:
        journal = stack.enter_context(SampleJournal(out.with_name(out.name + ".partial"), settings))
        rng = np.random.default_rng(np.random.SeedSequence([seed, len(journal.samples)]))
        opened = _open(entries, deadline, rng, stack, progress, partial_table)
        if not opened.cells:
            status = "unfinished" if opened.late else "failed"
            return {"status": status, "skipped": opened.skipped, "late": opened.late, "keys_without_samples": 0}
        notes = _notes(entries, opened, meta, ceilings, seed)
        notes.save(journal.folder)
        left = max(rules.budget_s, min(most_s, deadline - time.monotonic()))
        own = replace(rules, budget_s=journal.elapsed_s + left)
        began, waited = time.perf_counter(), noise.run_queue_delay_s()
        on_time, on_layers = parts(progress, opened.executors, opened.cells)
        measurement = Measurement(opened.executors, opened.cells, journal, own, rng, _canary(opened), on_time)
        with _no_garbage_collection():
            measurement.run()
        waiting = (noise.run_queue_delay_s() - waited) / (time.perf_counter() - began)
        short = measurement.unfinished
        cells, without = complete(opened.cells, short)
        result: dict[str, Any] = {"keys": len(cells), "keys_without_samples": len(short)}
        result |= {"skipped": opened.skipped, "late": opened.late, "untried": opened.untried}
        if not cells or ((short or opened.late) and not partial_table):
            return {"status": "unfinished", **result}
        result["skipped"] = opened.skipped | without
        full = {**notes.meta, **notes.found(journal.samples, waiting), "skipped": result["skipped"]}
        rows = notes.rows(journal.samples, cells)
        _time_back_to_back(opened.executors, cells, rows)
        ramps = ramp_times(opened.executors, cells, rows, rules.budget_s, rng, on_layers)
        for grid, name in alike.items():
            own_rows = [row for row in rows if row["model"] == name and row["students"] in grid.students]
            rows += [row | {"model": grid.model} for row in own_rows]
        if alike:
            full["measured_as"] = {grid.model: name for grid, name in alike.items()}
        jitter = summary.jitter_rows(journal.samples)
        extra = [journal.folder / "samples.csv"] if keep_samples else []
        about = full | ramps.said(full)
        table = write_table(
            out, rows, about, jitter=jitter, accuracy=accuracy, extra=extra, replace=True, **ramps.files
        )
    if missing := [finding.text for finding in holes(table)]:
        return {"status": "failed", "reason": missing[0], **result}
    if short or opened.late:
        return {"status": "unfinished", **result}
    shutil.rmtree(out.with_name(out.name + ".partial"))
    return {"status": "done", "noise": full["noise"]["verdict"], **result}


@contextmanager
def _no_garbage_collection() -> Iterator[None]:
    """As in a live run: a collection in the middle of a batch would be timed as the device's."""
    gc.collect()
    gc.freeze()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
        gc.unfreeze()


def _notes(
    entries: Sequence[Entry], opened: Opened, meta: Mapping[str, Any], ceilings: Ceilings | None, seed: int
) -> TableNotes:
    """What the opening showed, for the table."""
    full = {"kind": "measured", **origin(), **meta, "canary": str(_canary(opened)), "seed": seed}
    full |= {"numerics": opened.numerics, "cold_start": opened.cold_start, "skipped": opened.skipped}
    full |= {"products_refused": opened.refused, "products_untried": opened.untried}
    if ceilings:
        full["ceilings"] = vars(ceilings)
    describe = {cell: opened.executors[cell.model].implementation(cell.key) for cell in opened.cells}
    dtypes = {name: executor.dtype for name, executor in opened.executors.items()}
    return TableNotes(full, {entry.name: entry.spec for entry in entries}, dtypes, describe)


def _canary(opened: Opened) -> ModelKey:
    return min(opened.cells, key=lambda cell: cell.key.batch)


def _open(
    entries: Sequence[Entry],
    deadline: float,
    rng: np.random.Generator,
    stack: ExitStack,
    progress: Progress,
    tolerate: bool,
) -> Opened:
    """Open, warm and check every entry, while there is time; where one fails, raise, or leave it out if tolerated."""
    opened = Opened()
    for entry in entries:
        if time.monotonic() >= deadline:
            opened.late.append(entry.name)
            continue
        progress(0.0, f"preparing {entry.name}")
        try:
            _open_one(entry, opened, rng, stack)
        except (ArithmeticError, MemoryError, RuntimeError) as error:
            if not tolerate:
                raise
            opened.executors.pop(entry.name, None)
            opened.skipped[entry.name] = f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"
    return opened


def _open_one(entry: Entry, opened: Opened, rng: np.random.Generator, stack: ExitStack) -> None:
    """Open, warm and check an entry. A failed check raises ArithmeticError: nothing of it is timed."""
    began = time.perf_counter()
    executor, weights = entry.open()
    loaded = time.perf_counter() - began
    stack.callback(executor.close)
    warmed = executor.warm(cell.key for cell in entry.cells())
    other = opened.executors.get(entry.like)
    if other is None:
        errors = gate.check(executor, weights, rng, keys=entry.gate_keys)
    else:
        errors = {entry.like: _compare(executor, other, entry.cells(), rng)}
    opened.executors[entry.name] = executor
    if refused := getattr(executor, "refused", {}):
        opened.refused[entry.name] = refused
    opened.cold_start[entry.name] = {"load_s": round(loaded, 3), "warm_s": round(warmed, 3)}
    if (untried := getattr(executor, "untried", None)) is not None:
        opened.untried[entry.name] = untried
    opened.numerics[entry.name] = {name: float(f"{error:.2e}") for name, error in errors.items()}
    skipped: Mapping[ShapeKey, str] = getattr(executor, "skipped", {})
    cells = entry.cells()
    opened.skipped |= {str(cell): skipped[cell.key] for cell in cells if cell.key in skipped}
    kept, dropped = rectangle([cell.key for cell in cells], skipped)
    opened.skipped |= {f"{entry.name}, {what}": "not all of it fits the device's memory" for what in dropped}
    opened.cells += [ModelKey(entry.name, key) for key in kept]


def _compare(executor: Engine, other: Engine, cells: Sequence[ModelKey], rng: np.random.Generator) -> float:
    """The largest distance from another executor's answers on three keys. Raises ArithmeticError where it is too large.

    Few answers are compared, hence the tolerance of single batches.
    """
    worst = 0.0
    for cell in dict.fromkeys((cells[0], cells[len(cells) // 2], cells[-1])):
        if cell.key in getattr(executor, "skipped", {}) or cell.key in getattr(other, "skipped", {}):
            continue
        ids = random_batch(executor.plan, cell.key, executor.spec.vocab, rng)
        answers = [each.run(cell.key.students, ids).logits for each in (executor, other)]
        worst = max(worst, gate.distance(*answers))
    tolerance = gate.SINGLE * gate.TOLERANCE[executor.dtype] * math.sqrt(max(1.0, executor.spec.layers / 2))
    if not worst <= tolerance:
        raise ArithmeticError(
            f"{cells[0].model} differs by {worst:.1e} from what has passed the gate; nothing was timed"
        )
    return worst


def _time_back_to_back(
    executors: Mapping[str, Engine], cells: Sequence[ModelKey], rows: Sequence[dict[str, Any]]
) -> None:
    """Add to the rows the time of batches that are queued one behind the other."""
    for cell, row in zip(cells, rows, strict=True):
        row["back_to_back_us"] = None
        if isinstance(executor := executors[cell.model], BackToBack):
            repetitions = int(np.clip(4000.0 / row["latency_us"], 3, 50))
            row["back_to_back_us"] = round(executor.back_to_back(cell.key, repetitions) * 1e6, 1)
