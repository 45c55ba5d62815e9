"""One table of both layouts, measured in one run: a model by the fine padded plan, by today's, and packed."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch

from profiler.executors.cpu import DTYPES, CpuExecutor, number_format
from profiler.executors.interface import Engine
from profiler.measuring.grid import Grid
from profiler.measuring.measure import Progress
from profiler.measuring.probes import cpu_ceilings
from profiler.measuring.rules import Rules
from profiler.measuring.session import Entry, measure_table
from profiler.models import weights
from profiler.models.weights import Weights
from profiler.table import LatencyTable
from profiler.table.plan import PACKED
from profiler.table.writing import write_table
from traces.shared.origin import cpu_name

#: Sizes of the table that was shipped at commit 3157bd8.
TODAY = (1, 2, 4, 8, 16, 32), (16, 32, 64, 128)


def suffixed(model: str, what: str) -> str:
    """The name of a model in the table, by the plan that it runs by."""
    return f"{model}+{what}"


def measured(
    out: Path, padded: Grid, packed: Grid, accuracies: Path, *, budget_s: float, dtype: str, seed: int,
    progress: Progress,
) -> LatencyTable:  # fmt: skip
    """Measure both plans of one model in turn, and write their table; the same call goes on with an unfinished one.

    Today's plan takes those of the fine plan's rows that it has. accuracies: of the model, of any table; each of the
    three has them. Raises SystemExit where the budget ends before every key has its samples.
    """
    number_format(dtype)
    entries = [_entry(grid, what, dtype, seed) for what, grid in (("fine", padded), ("packed", packed))]
    threads = torch.get_num_threads()
    meta = {"device": cpu_name(threads), "threads": threads, "dtype": dtype, "rank": 99}
    result = measure_table(
        out,
        entries,
        Rules(budget_s=budget_s),
        meta=meta,
        ceilings=cpu_ceilings(min(5.0, 0.02 * budget_s), DTYPES[dtype]),
        most_s=budget_s,
        seed=seed,
        progress=progress,
    )
    if result["status"] != "done":
        raise SystemExit(f"{result['keys_without_samples']} keys have too few samples: the same command goes on")
    return _with_today(out, padded.model, accuracies)


def _entry(grid: Grid, what: str, dtype: str, seed: int) -> Entry:
    return Entry(suffixed(grid.model, what), grid.spec, grid, partial(_open, grid, dtype, seed), gate_keys=3)


def _open(grid: Grid, dtype: str, seed: int) -> tuple[Engine, Weights]:
    own = weights.random(grid.spec, seed)
    return CpuExecutor(own, grid.plan, grid.students, dtype=dtype), own


def _with_today(out: Path, model: str, accuracies: Path) -> LatencyTable:
    """The same table with the rows of today's plan, and accuracies."""
    table = LatencyTable.load(out)
    rows, fine = table.records(), suffixed(model, "fine")
    batches, tokens = TODAY
    today = [row for row in rows if row["model"] == fine and row["batch"] in batches and row["tokens"] in tokens]
    rows += [row | {"model": suffixed(model, "today")} for row in today]
    known = LatencyTable.load(accuracies)
    task = known.default_task(model)
    of = known.accuracy.of(model, task) if known.accuracy and task else {}
    names = [suffixed(model, what) for what in ("today", "fine", "packed")]
    counts = sorted({row["students"] for row in rows})
    accuracy: list[dict[str, Any]] = [
        {"model": name, "students": count, "task": task, "accuracy": of[count]} for name in names for count in counts
    ]
    meta = dict(table.meta) | {"accuracy": {task: f"those of {known.name}, for {model}"}}
    return write_table(out, rows, meta, accuracy=accuracy, replace=True)


def grids(padded: Grid, packed: Grid, students: tuple[int, ...]) -> tuple[Grid, Grid]:
    """Both plans with these students, and today's sizes among the padded ones."""
    assert packed.plan.layout == PACKED
    batches, tokens = (tuple(sorted({*own, *today})) for own, today in
                       zip((padded.batches, padded.tokens), TODAY, strict=True))  # fmt: skip
    return replace(padded, students=students, batches=batches, tokens=tokens), replace(packed, students=students)
