"""What studies of one task found, as tables: how right each prefix and baseline is, and what it costs to serve."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from profiler.answers.recorded import Answers
from profiler.distill.answered import Answered
from profiler.distill.seeds import pooled
from profiler.distill.serving_costs import multiply_adds, seconds
from profiler.table import LatencyTable

#: Batch sizes whose time is reported.
BATCHES = (1, 16)
#: The length whose cost is reported where no recorded answers tell the typical one.
TOKENS = 32

Row = dict[str, Any]


def typical_tokens(folders: Sequence[Path]) -> int:
    """The median length of the headline's texts, by the recorded answers beside the studies; TOKENS without any."""
    for folder in folders:
        if (folder / "items.parquet").is_file():
            items = Answers.read(folder / "items.parquet")
            return int(np.median(items.tokens[items.split == items.split[0]]))
    return TOKENS


def costed(studies: Sequence[Answered], table: LatencyTable, tokens: int) -> list[Row]:
    """The rows of `pooled`, each with what serving it costs at a length.

    `tokens`; `compute`, the multiply-adds of a text over the teacher's; `ms_1` and `ms_16`, the table's time of a batch
    in ms. NaN where the table has not measured a model of this shape.
    """
    about = studies[0].about
    teacher = multiply_adds(about["runs_as"][about["teacher"]], 1, tokens)
    found = []
    for row in pooled(studies):
        shape = (row["runs_as"], row["students"], tokens)
        own = {"tokens": tokens, "compute": round(multiply_adds(*shape) / teacher, 4)}
        times = {f"ms_{batch}": round(1e3 * seconds(table, row["model"], *shape, batch), 4) for batch in BATCHES}
        found.append({**row, **own, **times})
    return found


def headings(rows: Sequence[Row]) -> tuple[str, ...]:
    """The names of the columns of `cells`."""
    several = ("seeds",) if rows[0]["seeds"] > 1 else ()
    times = tuple(f"ms, batch {batch}" for batch in BATCHES)
    first = ("model", "students", "accuracy", "95 %", *several, "agrees", "points over teacher", "compute")
    return (*first, *times, "p, single", "p, bagged")


def cells(rows: Sequence[Row]) -> Iterator[tuple[str, ...]]:
    """Each row of one set of texts in words."""
    for row in rows:
        several = (f"{row['lowest']:.2%}, {row['highest']:.2%}",) if row["seeds"] > 1 else ()
        gap, low, high = (100 * row[f"over_teacher{end}"] for end in ("", "_low", "_high"))
        itself = row["over_teacher_low"] == row["over_teacher_high"]
        over = "" if itself else f"{gap:+.2f} ({low:+.2f} to {high:+.2f})"
        costs = (_figure(row[name]) for name in ("compute", *(f"ms_{batch}" for batch in BATCHES)))
        ends = f"{row['low']:.1%} to {row['high']:.1%}"
        yield (row["model"], str(row["students"]), f"{row['accuracy']:.2%}", ends, *several, f"{row['agreement']:.2%}",
               over, *costs, _chances(row["p_single"]), _chances(row["p_bagged"]))  # fmt: skip


def _figure(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:.2f}"


def _chances(each: str) -> str:
    found = map(float, each.split())
    return ", ".join("<.001" if p < 0.001 else f"{p:.3f}".lstrip("0") if p < 1 else "1" for p in found)


def by_task(rows: Sequence[Row]) -> dict[str, list[Row]]:
    """The rows of each set of texts by its name, the headline first."""
    return {task: [row for row in rows if row["task"] == task] for task in dict.fromkeys(row["task"] for row in rows)}


def title(rows: Sequence[Row]) -> str:
    """What a set of texts is, and what its intervals take as chance."""
    row = rows[0]
    seeds = f"means over {row['seeds']} seeds, " if row["seeds"] > 1 else ""
    return f"{row['task']}: {row['texts']:,} texts, {seeds}95 % over {row['chance']}"


def legend(rows: Sequence[Row], table: LatencyTable) -> str:
    """What the columns of `cells` mean, in sentences."""
    each = " of each seed" if rows[0]["seeds"] > 1 else ""
    return (
        "agrees: gives the teacher's answer. compute: multiply-adds of a text over the teacher's. "
        f"ms: time of a batch at {rows[0]['tokens']} tokens by {table.name} ({table.device}). "
        f"p: exact McNemar test{each}, over texts, against the single model and against as many bagged students "
        "(a model that is no prefix: against all of them)."
    )
