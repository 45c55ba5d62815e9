"""The synthetic table is its formula, is labelled so, and is never a default."""

from __future__ import annotations

import json

from profiler.modelled import synthetic
from profiler.table import LatencyTable, ShapeKey, shipped
from profiler.table.latency import SHIPPED
from profiler.table.validate import findings
from profiler.table.writing import as_csv


def test_the_shipped_files_are_what_the_formula_writes() -> None:
    folder = SHIPPED / "synthetic"
    assert (folder / "latency.csv").read_text() == as_csv(synthetic.latency_rows())
    assert (folder / "accuracy.csv").read_text() == as_csv(synthetic.accuracy_rows())
    assert json.loads((folder / "meta.json").read_text()) == synthetic.META


def test_it_is_labelled_and_comes_after_all_others() -> None:
    table = LatencyTable.load("synthetic")
    assert table.modelled
    assert "no device" in table.device
    assert findings(table) == []
    assert shipped()[-1] == "synthetic"


def test_up_to_four_students_cost_only_their_share_of_the_fixed_part() -> None:
    table = LatencyTable.load("synthetic")
    levels = table.levels(synthetic.MODEL)
    one, two, four, eight = (table.seconds(level, ShapeKey(level.students, 48, 64)) for level in levels)
    assert round((two - one) * 1e6, 3) == round((four - two) * 1e6, 3) == 48.0
    assert round((eight - four) * 1e6, 3) == round(48 + 0.9 * 48 * 64, 3)
