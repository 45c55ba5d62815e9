"""Plots of runs: what is drawn is what happened, with units and the setup."""

from __future__ import annotations

import numpy as np
import pytest
from conftest import formula_table
from matplotlib.figure import Figure
from pandas import DataFrame

from analysis.pages.sections import of_runs as of_run_section
from analysis.plots import drawn, of_runs
from analysis.plots.axes import batches as of_batches
from analysis.plots.axes import timeline as over_time
from analysis.plots.axes.latency import latency_ccdf, latency_cdf
from analysis.runs import Run
from simulator import simulate
from simulator.conformance.cases import packed_formula
from traces import Trace

#: Ten requests at 0, 1, ... 9 s, on one device that takes four seconds for a batch of one or two.
TRACE = Trace(np.arange(10.0), np.full(10, 9))
TABLE = formula_table(lambda *_: 4e6, students=(1, 2), batches=(1, 2))
RUN = Run.of(simulate(TRACE, "greedy", TABLE, slo_s=20.0))
#: Six hundred requests of mixed lengths on two devices, some of them turned away.
MIXED = Run.of(
    simulate(
        Trace(np.sort(np.random.default_rng(1).uniform(0, 30, 600)), np.random.default_rng(2).integers(1, 33, 600)),
        "admission(greedy, max_waiting=8)",
        formula_table(lambda _, b, t: 1e4 * (1 + b * t / 16), batches=(1, 2, 4, 8), tokens=(8, 16, 32)),
        gpus=2,
        slo_s=0.3,
    )
)
FIGURES = ["latency_cdf", "latency_ccdf", "batch_sizes", "padding", "gantt", "timeline"]


def axes():
    return Figure().subplots()


def lines(panel):
    return [line.get_ydata().tolist() for line in panel.lines]


def of_kind(figure, kind, series=None):
    return [row for row in drawn(figure).to_dict("records") if row["kind"] == kind and series in (None, row["series"])]


def test_the_cdf_is_numpys_quantiles_of_all_offered_requests():
    (line,) = latency_cdf(MIXED.requests, axes()).lines
    latency_ms = 1e3 * (MIXED.requests["finish_s"] - MIXED.requests["arrival_s"])
    for x, y in zip(*line.get_data(), strict=True):  # equal latencies differ by rounding
        assert 100 * np.mean(latency_ms < x - 1e-6) - 1e-9 <= y <= 100 * np.mean(latency_ms < x + 1e-6) + 1e-9
    served = latency_ms[~np.isnan(latency_ms)]
    assert line.get_ydata()[-1] == pytest.approx(100 * len(served) / 600)
    for q in (50, 90, 99):
        drawn_at = np.interp(q / 100 * len(served) / 6, line.get_ydata(), line.get_xdata())
        assert drawn_at == pytest.approx(np.percentile(served, q), rel=0.02)


def test_the_tail_at_the_slo_is_what_was_missed():
    panel = latency_ccdf(MIXED.requests, axes(), slo_s=0.3)
    x, y = panel.lines[0].get_data()
    before = np.searchsorted(x, 300 * (1 + 1e-12)) - 1
    assert y[before] == pytest.approx(100 * (1 - MIXED.summary["attainment"]), abs=0.3)
    assert panel.lines[1].get_xdata()[0] == 300.0


def test_seeds_are_drawn_as_their_mean_and_range():
    finish = [0.1, 0.2, 0.3, 0.4] + [0.2, 0.3, 0.4, np.nan]
    frame = DataFrame({"arrival_s": 0.0, "finish_s": finish, "seed": np.repeat([0, 1], 4)})
    figure = Figure()
    latency_cdf(frame, figure.subplots(), label="both")
    mean = {round(row["x"]): row["y"] for row in of_kind(figure, "line")}
    assert [mean[x] for x in (100, 200, 300, 400)] == [12.5, 37.5, 62.5, 87.5]
    band = {round(row["x"]): (row["y"], row["y_end"]) for row in of_kind(figure, "band")}
    assert band[400] == (75.0, 100.0)
    assert {row["series"] for row in of_kind(figure, "band")} == {"both range"}


def test_batch_sizes_are_shares_of_the_batches():
    panel = of_batches.batch_sizes(MIXED.batches, axes(), label="greedy")
    values, edges, _ = panel.patches[0].get_data()
    size = MIXED.batches["size"]
    assert values.tolist() == [pytest.approx(100 * np.mean(size == n)) for n in range(1, size.max() + 1)]
    assert edges[0] == 0.5
    assert panel.patches[0].get_label() == f"greedy, mean {size.mean():.3g}"


@pytest.mark.parametrize("layout", ["padded", "packed"])
def test_bars_of_padding_add_up_to_the_padded_tokens_of_the_run(layout):
    run = MIXED
    if layout == "packed":
        requests = Trace(np.arange(300) * 2e-4, np.resize([9, 64, 30, 3], 300).astype(np.int32))
        run = Run.of(simulate(requests, "greedy", packed_formula([1], [1, 4, 16], [64, 256, 1024]), slo_s=0.1))
    figure = Figure()
    of_batches.padding_by_bucket(run.requests, run.batches, figure.subplots())
    bars = {name: sum(1e3 * (row["y_end"] - row["y"]) for row in of_kind(figure, "bar", name))
            for name, _, _ in of_batches.PADDING}  # fmt: skip
    served = run.requests["batch"] >= 0
    assert bars["tokens"] == pytest.approx(run.requests["tokens"][served].sum())
    assert sum(bars.values()) == pytest.approx(run.batches["padded_tokens"].sum())
    assert 1 - bars["tokens"] / sum(bars.values()) == pytest.approx(run.summary["padding"])
    assert all(share >= 0 for share in bars.values())


def test_rectangles_of_the_gantt_chart_are_the_batches():
    figure = Figure()
    of_batches.gantt(MIXED.batches, figure.subplots(), start_s=3.0, window_s=0.5)
    columns = MIXED.batches
    shown = (columns["finish_s"] > 3.0) & (columns["start_s"] < 3.5)
    expected = sorted(zip(columns["gpu"][shown], columns["start_s"][shown], columns["finish_s"][shown], strict=True))
    found = sorted(((row["y"] + row["y_end"]) / 2, 3 + row["x"] / 1e3, 3 + row["x_end"] / 1e3)
                   for row in of_kind(figure, "bar"))  # fmt: skip
    assert found == [pytest.approx(each) for each in expected]
    sizes = sorted(int(row["text"]) for row in of_kind(figure, "note"))
    assert sizes == sorted(columns["size"][shown].tolist())


def test_a_window_without_batches_is_an_error_that_names_the_span_of_the_run():
    with pytest.raises(ValueError, match=r"100 s.* 0\.2 s.* 0 to 2\d"):
        of_batches.gantt(RUN.batches, axes(), start_s=100.0)


def test_the_queue_is_the_most_that_has_arrived_and_not_begun():
    panel = over_time.queue(RUN.requests, axes(), np.arange(0.5, 10.5))
    # One begins at 0; the two oldest at 4, 8, ...
    assert lines(panel) == [[1, 2, 3, 3, 3, 4, 5, 5, 5]]


def test_requests_that_were_turned_away_do_not_wait_for_ever():
    run = Run.of(simulate(TRACE, "admission(greedy, max_waiting=1, hopeless=False)", TABLE, slo_s=20.0))
    assert lines(over_time.queue(run.requests, axes(), np.array([90.0, 100.0]))) == [[0]]
    turned_away = run.summary["rejected"] + run.summary["dropped"]
    assert sum(lines(over_time.drops(run.requests, axes(), np.array([0.0, 5.0, 10.0])))[0]) * 5 == turned_away > 0


def test_rate_students_batches_and_latency_are_those_of_the_columns():
    edges = np.array([0.0, 5.0, 10.0])
    assert over_time.arrivals(RUN.requests, axes(), edges).patches[0].get_data().values.tolist() == [1, 1]
    assert lines(over_time.students(RUN.batches, axes(), edges)) == [[2, 2]]
    assert lines(over_time.batch(RUN.batches, axes(), edges)) == [[1.5, 2]]
    latency_ms = 1e3 * (RUN.requests["finish_s"] - RUN.requests["arrival_s"])
    expected = [np.percentile(part, 99) for part in np.split(latency_ms.to_numpy(), 2)]
    assert lines(over_time.rolling_p99(RUN.requests, axes(), edges)) == [pytest.approx(expected)]


@pytest.mark.parametrize("name", FIGURES)
def test_a_figure_names_models_device_and_seeds(name):
    figure = getattr(of_runs, name)([RUN])
    small = figure.get_supxlabel().replace("\xa0", " ")
    assert "students-2x8 on a formula (modelled), 1 device" in " ".join(small.split())
    assert "1 seed (0)" in small
    assert all(panel.get_ylabel() for panel in figure.axes)
    assert figure.axes[-1].get_xlabel()


def test_runs_of_one_policy_are_labelled_by_what_differs():
    two = Run.of(simulate(TRACE, "greedy", TABLE, slo_s=20.0, gpus=2))
    assert of_runs.named([RUN, two]) == [
        f"greedy: students-2x8 on a formula (modelled), {n}" for n in ("1 device", "2 devices")
    ]
    assert of_runs.named([RUN, RUN._replace(settings=RUN.settings | {"seed": 1})]) == [
        "greedy: seed 0",
        "greedy: seed 1",
    ]
    assert of_runs.named([RUN, MIXED]) == ["greedy", "admission(greedy, max_waiting=8)"]
    files = [RUN._replace(name=f"static(greedy, items='{folder}/rows.parquet')") for folder in ("a/b", "c")]
    assert of_runs.named([RUN, files[0]]) == ["greedy", "static(greedy, items='rows.parquet')"]
    assert of_runs.named(files) == [run.name for run in files]


@pytest.mark.parametrize("arrivals", [[1.0], [3.0, 3.0, 3.0]])
def test_a_trace_of_one_instant_is_drawn(arrivals):
    run = Run.of(simulate(Trace(np.array(arrivals), np.full(len(arrivals), 9)), "greedy", TABLE, slo_s=20.0))
    for name in FIGURES:
        assert len(drawn(getattr(of_runs, name)([run])))


def test_a_run_without_answers_has_a_timeline_and_no_latency():
    unanswered = RUN.requests.assign(start_s=np.nan, finish_s=np.nan, batch=np.nan)
    run = RUN._replace(requests=unanswered, batches=RUN.batches[:0])
    assert of_runs.timeline([run]).axes
    for name in ("latency_cdf", "batch_sizes", "padding", "gantt"):
        with pytest.raises(ValueError, match=r"no (request|batches)"):
            getattr(of_runs, name)([run])


def test_only_runs_on_one_trace_share_a_timeline():
    later = Run.of(simulate(Trace(TRACE.arrival_s + 1, TRACE.tokens), "greedy", TABLE, slo_s=20.0))
    with pytest.raises(ValueError, match=r"greedy and greedy.*traces"):
        of_runs.timeline([RUN, later])
    with pytest.raises(ValueError, match=r"1 to 7 runs.* 8"):
        of_runs.timeline([RUN] * 8)


@pytest.mark.parametrize(("valid", "word"), [(True, "live"), (False, "live (INVALID)")])
def test_a_live_run_is_of_the_device_that_ran(valid, word):
    validity = {"valid": valid, "reasons": [] if valid else ["the canary drifted"]}
    run = RUN._replace(settings=RUN.settings | {"live": {"device": "a real GPU", "validity": validity}})
    assert run.setup == f"students-2x8 {word} on a real GPU, 1 device"
    text = " ".join(of_run_section([run]).paragraphs)
    assert ("the canary drifted" in text) is not valid
    assert "modelled" not in text


def test_a_run_that_idles_in_the_window_of_the_first_has_an_empty_panel():
    done = RUN._replace(batches=RUN.batches[:1])
    figure = of_runs.gantt([RUN, done], start_s=5.0, window_s=2.0)
    assert [(row["x"], row["x_end"]) for row in of_kind(figure, "bar")] == [(-1000.0, 3000.0)]
    size, empty = [row["text"] for row in of_kind(figure, "note")]
    assert size == "2"
    assert "no batch" in empty
