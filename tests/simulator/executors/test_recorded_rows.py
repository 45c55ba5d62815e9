"""Which recorded rows a simulation meets: those of the trace's items, else drawn ones; tuning rows never."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from profiler.answers.recorded import Answers
from profiler.events import BatchPlan, Cut
from profiler.table import Level
from simulator.core import PolicyError
from simulator.executors.planned import PlannedExecutor
from traces import Trace

LEVEL = Level(0, "students-2x8", 1, 2, 8)


class Steady:
    """Every batch takes a second."""

    offers: frozenset[str] = frozenset()

    def seconds(self, *_: object) -> float:
        return 1.0


def written(path: Path, texts: str, tuning: int) -> str:
    """Ten texts, so many of them for tuning, whose confidence says which row they are."""
    rows, split = np.arange(10), np.array(["tuning"] * tuning + ["held-out"] * (10 - tuning), object)
    said = (rows / 10).astype(np.float32)[None]
    own = Answers(np.full(10, 9, np.int32), rows % 2, split, rows, rows[None] % 2, said, said, rows % 2, said[0], {})
    replace(own, about={"model": LEVEL.model, "texts": texts}).write(path)
    return str(path)


def met(recorded: list[str], items: list[int] | None) -> set[int]:
    """The rows that 200 requests meet, one batch of them per file."""
    item = None if items is None else np.array(items)
    trace = Trace(np.arange(200.0), np.full(200, 9, np.int32), item=item)
    executor = PlannedExecutor(Steady(), (LEVEL,), trace, lambda _: 0)  # type: ignore[arg-type]
    found = set()
    for number, path in enumerate(recorded):
        plan = BatchPlan((Cut(1, 0.0),), recorded=path)
        execution = executor.begin(number, 0, LEVEL, 0, range(200), plan, 0.0)
        assert execution is not None
        assert execution.events[0].columns is not None
        found |= {round(10 * each) for each in execution.events[0].columns["confidence"]}
    return found


def test_tuning_rows_are_never_drawn_and_never_named(tmp_path: Path) -> None:
    marked = written(tmp_path / "marked.parquet", "0a", 4)
    assert met([marked], None) == {4, 5, 6, 7, 8, 9}
    assert met([written(tmp_path / "bare.parquet", "0a", 0)], None) == {0, 2, 4, 6, 8}
    assert met([marked], [5, 9] * 100) == {5, 9}
    with pytest.raises(PolicyError, match=r"item 3 .* tuning"):
        met([marked], [5, 3] * 100)
    with pytest.raises(ValueError, match="tuning rows alone"):
        met([written(tmp_path / "none.parquet", "0a", 10)], None)


def test_items_name_rows_of_two_files_only_where_their_texts_are_the_same(tmp_path: Path) -> None:
    first, second = (written(tmp_path / f"{name}.parquet", "0a", 4) for name in ("first", "second"))
    assert met([first, second], [5, 9] * 100) == {5, 9}
    other = written(tmp_path / "other.parquet", "0b", 4)
    with pytest.raises(PolicyError, match="other texts"):
        met([first, other], [5, 9] * 100)
    assert met([first, other], None) == {4, 5, 6, 7, 8, 9}
