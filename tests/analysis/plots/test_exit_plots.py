"""The figures of early exits show what the runs and their batches say."""

from __future__ import annotations

import numpy as np
import pytest
from exit_doubles import LAYERS, made_up, table, traffic, write
from pandas import DataFrame

from analysis.plots import PLOTS
from analysis.plots.axes.exits import ramps_on
from analysis.plots.drawn import drawn
from analysis.runs import Run
from policies import make
from simulator import simulate

REQUESTS = 2500


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Run]:
    items = made_up(served=3000, tuning=1500)
    named = f"items={str(write(tmp_path_factory.mktemp('exits') / 'items.parquet', items))!r}"
    trace = traffic(items, "blocks", REQUESTS)
    specs = {name: f"{name}(greedy, {named})" for name in ("static", "certain", "patience")}
    reports = {name: simulate(trace, spec, table(), slo_s=1.0) for name, spec in specs.items()}
    found = {name: Run.of(report)._replace(name=name) for name, report in reports.items()}
    plain = Run.of(simulate(trace, make("greedy"), table(), slo_s=1.0))
    return found | {"plain": plain._replace(name="plain")}


def test_the_shares_by_layer_are_those_of_the_requests(runs: dict[str, Run]) -> None:
    own = [runs["static"], runs["certain"]]
    points = drawn(PLOTS["exits"].draw(own))
    for run in own:
        shown = points[points["series"] == run.name].set_index("x")["y"]
        counts = np.bincount(run.requests["exit"], minlength=LAYERS + 1)
        assert shown.index.to_numpy().round().astype(int).tolist() == np.flatnonzero(counts).tolist()
        np.testing.assert_allclose(shown.to_numpy(), 100 * counts[counts > 0] / REQUESTS)
        assert 0 < counts[LAYERS] < REQUESTS


def test_ramps_are_on_from_their_first_batch_to_the_next_plan() -> None:
    said = ["6:0.9", "6:0.9", None, "6:0.9 9:1", "4:2x"]
    start = np.arange(5.0)
    on = ramps_on(DataFrame({"ramps": said, "start_s": start, "finish_s": start + 0.5}))
    assert [tuple(each)[:3] for each in on] == [(6, 0.0, 2.0), (6, 3.0, 4.0), (9, 3.0, 4.0), (4, 4.0, 4.5)]
    assert [each.least for each in on[:3]] == [0.9, 0.9, 1.0]
    assert np.isnan(on[3].least)


def test_agreement_and_ramps_over_time_are_those_of_the_run(runs: dict[str, Run]) -> None:
    own = [runs["certain"], runs["patience"]]
    figure = PLOTS["ramps"].draw(own, 120.0)
    points = drawn(figure)
    first = points[points["panel"].str.contains("as whole") & (points["series"] == "certain")]
    requests = own[0].requests
    count, edges = np.histogram(requests["arrival_s"], 60)
    total = np.histogram(requests["arrival_s"], edges, weights=requests["agrees"])[0]
    np.testing.assert_allclose(first["y"].to_numpy(), 100 * total / count)
    lines = points[(points["kind"] == "range") & points["panel"].str.contains("ramps")]
    assert len(lines) == sum(len(ramps_on(run.batches)) for run in own)


def test_runs_without_ramps_are_refused_by_name(runs: dict[str, Run]) -> None:
    assert "ramps" not in runs["plain"].batches
    for name in ("exits", "ramps"):
        with pytest.raises(ValueError, match="plain"):
            PLOTS[name].draw([runs["certain"], runs["plain"]])


def test_agreement_against_latency_counts_whole_answers_as_agreeing() -> None:
    rows = {"policy": ["greedy", "static", "static"], "mean_s": [0.02, 0.01, 0.012], "agreement": [None, 0.99, 0.98]}
    common = {"seed": [0, 0, 1], "model": "m", "device": "d", "gpus": 1, "slo_ms": 50.0, "trace": "t"}
    points = drawn(PLOTS["agreement-latency"].draw(DataFrame(rows | common)))
    known = points[points["kind"] == "line"].groupby("series")[["x", "y"]].first()
    assert known.loc["greedy"].tolist() == [20.0, 100.0]
    assert known.loc["static"].tolist() == pytest.approx([11.0, 98.5])
