"""The map of techniques: the best of each cell, by how much it leads, and nothing where nothing is on time."""

from __future__ import annotations

import pytest
from matplotlib.figure import Figure
from pandas import DataFrame, concat

from analysis.plots import PLOTS
from analysis.plots.axes.techniques import NOTHING, best_of, colour_of, technique_map

VALUES = {
    "teacher": 0.5, "students": 0.86, "single": 0.87, "exits": 0.6, "single+teacher": 0.9,
    "students+single+teacher": 0.9005,
}  # fmt: skip


def cell(load: float = 0.5, slo_ms: float = 50.0, **changes: float) -> DataFrame:
    values = VALUES | {name.replace("_", "+"): value for name, value in changes.items()}
    rows = [{"technique": name, "value": value, "load": load, "slo_ms": slo_ms} for name, value in values.items()]
    about = {"table": "toy", "gpus": 1, "trace": "poisson:rate=1", "seeds": 1, "task": "sst2"}
    return DataFrame(rows).assign(**about)


def test_of_as_good_values_the_fewest_parts_are_best_and_the_lead_is_over_one_alone() -> None:
    assert best_of(cell()) == ("single+teacher", 0.9, pytest.approx(3.0))
    technique, value, lead = best_of(cell(teacher=0.9))
    assert (technique, value, lead) == ("teacher", 0.9, pytest.approx(3.0))
    assert best_of(cell(students_single_teacher=0.92))[0] == "students+single+teacher"
    assert best_of(cell(**{name.replace("+", "_"): 0.0 for name in VALUES}))[0] == NOTHING


def test_a_map_has_a_cell_for_each_load_and_target_with_its_value_and_its_lead() -> None:
    frame = concat([cell(), cell(load=2.0, teacher=0.95)])
    axes = technique_map(frame, Figure().subplots())
    assert {text.get_text() for text in axes.texts} == {"90.0\n+3.0", "95.0\n+8.0"}
    assert list(axes.get_legend_handles_labels()[1]) == ["teacher", "single+teacher"]
    assert len({colour_of(name) for name in VALUES}) == len(VALUES)
    assert len(PLOTS["techniques"].draw(frame, 85.0).axes) == 1
