"""Plots of sweeps and comparisons against theory and hand-made frames; what they are of."""

from __future__ import annotations

import re

import numpy as np
import pytest
from matplotlib.figure import Figure
from pandas import DataFrame

import analysis
from analysis.comparisons.comparison import compare
from analysis.pages.sections import of_capacity
from analysis.plots import PLOTS, drawn
from analysis.plots.axes import curves
from analysis.plots.axes.capacity import gpus_needed, needed
from analysis.plots.axes.maps import attainment_map
from analysis.plots.axes.rates import attainment_against_load, goodput_against_rate, knee, latency_against_load
from analysis.plots.axes.tornado import tornado
from analysis.plots.axes.tradeoff import front, pareto
from analysis.sweeps import frames


def frame(*rows, **same):
    """From rows of (policy, seed, figures)."""
    return frames.frame({"policy": policy, "seed": seed, **same, **figures} for policy, seed, figures in rows)


def of_kind(figure, kind, series=None):
    return [row for row in drawn(figure).to_dict("records") if row["kind"] == kind and series in (None, row["series"])]


def mm1(load, seed=0, policy="fifo"):
    """One server of rate 10 without a queue's limit: waiting times are exponential with rate 10 (1 - load)."""
    rate, quantile = 10 * load, lambda q: float(np.log(1 / (1 - q)) / (10 * (1 - load)))
    figures = {"load": load, "rate": rate, "offered_rate": rate, "requests": 1000, "ok": 900, "late": 100,
               "p50_s": quantile(0.5), "p99_s": quantile(0.99), "slo_s": 0.5, "slo_ms": 500.0}  # fmt: skip
    return policy, seed, figures


def test_the_knee_of_an_mm1_queue_is_at_half_its_capacity():
    loads = [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9]
    figure = Figure()
    latency_against_load(frame(*map(mm1, loads)), figure.subplots())
    (ring,) = of_kind(figure, "line", "fifo knee")
    assert ring["x"] == 0.5
    p99 = {row["x"]: row["y"] for row in of_kind(figure, "line", "fifo")}
    assert p99[0.5] == pytest.approx(1e3 * np.log(100) / 5)
    assert [row["y"] for row in of_kind(figure, "target")] == [500.0]


def test_a_knee_beyond_the_sweep_is_not_marked():
    figure = Figure()
    latency_against_load(frame(mm1(0.1), mm1(0.2), mm1(0.3)), figure.subplots())
    assert not of_kind(figure, "line", "fifo knee")
    with pytest.raises(ValueError, match="latency"):
        knee(np.ones(3), np.full(3, np.nan))


def test_a_curve_is_the_mean_over_seeds_with_their_range():
    rows = [("a", seed, {"offered_rate": rate + seed / 10, "rate": rate, "goodput": rate * share})
            for rate in (10.0, 20.0) for seed, share in ((0, 1.0), (1, 0.5))]  # fmt: skip
    figure = Figure()
    goodput_against_rate(frame(*rows), figure.subplots())
    assert [(row["x"], row["y"]) for row in of_kind(figure, "line", "a")] == [(10.05, 7.5), (20.05, 15.0)]
    assert [(row["y"], row["y_end"]) for row in of_kind(figure, "band", "a range")] == [(5.0, 10.0), (10.0, 20.0)]


def test_settings_that_vary_tell_curves_apart():
    rows = [
        ("a", 0, {"load": 0.1, "attainment": 1.0, "gpus": gpus, "slo_ms": slo}) for gpus in (1, 2) for slo in (5.0, 9.5)
    ]
    names, which = curves.series(frame(*rows), "load")
    assert names == ["1 GPU, SLO 5 ms", "1 GPU, SLO 9.5 ms", "2 GPUs, SLO 5 ms", "2 GPUs, SLO 9.5 ms"]
    assert which.tolist() == [0, 1, 2, 3]


def test_loads_that_differ_by_chance_alone_are_one_series():
    rows = [("a", seed, {"load": 0.5 + seed / 100, "rate": 20.0 + seed, "gpus": gpus, "goodput": 1.0})
            for gpus in (1, 2) for seed in (0, 1, 2)]  # fmt: skip
    (curve,) = curves.curves(frame(*rows), "gpus", "goodput")
    assert (curve.name, curve.seeds, curve.x.tolist()) == ("a", 3, [1.0, 2.0])


def test_the_gpus_needed_are_the_fewest_from_which_on_the_target_is_met():
    attained = {1: (0.5, 0.6), 2: (0.995, 0.98), 3: (0.98, 1.0), 4: (0.995, 0.985), 5: (1.0, 1.0)}
    rows = [("a", seed, {"gpus": gpus, "attainment": pair[seed]}) for gpus, pair in attained.items() for seed in (0, 1)]
    rows += [("b", seed, {"gpus": gpus, "attainment": 0.4}) for gpus in attained for seed in (0, 1)]
    a, b = needed(frame(*rows))
    assert (a.name, a.mean, a.best, a.worst) == ("a", 3, 2, 5)
    assert (b.name, b.mean, b.best, b.worst, b.tried) == ("b", None, None, None, 5)
    figure = Figure()
    gpus_needed(frame(*rows), figure.subplots())
    assert [(row["series"], row["x_end"]) for row in of_kind(figure, "bar")] == [("a", 3), ("b", 5)]
    assert [row["text"] for row in of_kind(figure, "note")] == ["3 (2 to 5, by seed)", "more than 5"]
    with pytest.raises(ValueError, match=r"attainment 99 is not a share"):
        needed(frame(*rows), attainment=99)


def test_a_map_has_the_mean_of_each_cell_and_a_line_around_the_target():
    rows = [("a", seed, {"load": load, "slo_ms": slo, "attainment": 1.0 if slo > 10 * load else 0.5 + 0.2 * seed})
            for load in (0.5, 1.0) for slo in (2.0, 7.0) for seed in (0, 1)]  # fmt: skip
    figure = Figure()
    attainment_map(frame(*rows), figure.subplots())
    cells = {(row["x"], row["y"]): row["value"] for row in of_kind(figure, "cell")}
    assert cells == {(0, 0): 60.0, (1, 0): 60.0, (0, 1): 100.0, (1, 1): pytest.approx(60.0)}
    edges = {((row["x"], row["y"])) for row in of_kind(figure, "line", "target")}
    assert edges == {(0, 1), (1, 1), (0, 2), (1, 2)}


def test_the_front_is_what_no_point_beats():
    generator = np.random.default_rng(5)
    x, y = generator.integers(0, 6, 40).astype(float), generator.integers(0, 6, 40).astype(float)
    best = {i for i in range(40) if not any(
        x[j] >= x[i] and y[j] >= y[i] and (x[j], y[j]) != (x[i], y[i]) for j in range(40))}  # fmt: skip
    assert set(front(x, y).tolist()) == best
    assert front(np.array([1.0, np.nan]), np.array([1.0, 9.0])).tolist() == [0]


def test_a_policy_that_reaches_the_optimum_lies_on_its_curve():
    figures = {"goodput": 80.0, "offered_rate": 100.0, "accuracy_weighted_goodput": 0.72, "attainment": 0.8}
    figure = Figure()
    axes = pareto(frame(("a", 0, figures)), figure.subplots(), x="goodput", y="accuracy_on_time", optimum=0.72)
    curve = of_kind(figure, "line", "optimum: 72.0% weighted")
    at = np.interp(80.0, [row["x"] for row in curve], [row["y"] for row in curve])
    assert at == pytest.approx(90.0, abs=0.01)
    assert [(row["x"], row["y"]) for row in of_kind(figure, "line", "a")] == [(80.0, pytest.approx(90.0))]
    assert axes.get_ylabel() == "accuracy of on-time answers (%)"


def test_bars_of_a_tornado_go_from_the_plan_to_each_end_the_widest_on_top():
    rows = {"assumption": ["traffic", "latency target"], "low": [8.0, 12.0], "high": [15.0, 9.0],
            "low_label": ["-20%", "-20%"], "high_label": ["+20%", "+20%"]}  # fmt: skip
    figure = Figure()
    axes = tornado(DataFrame(rows), figure.subplots(), base=10.0)
    bars = {row["series"]: (row["x"], row["x_end"]) for row in of_kind(figure, "bar")}
    assert bars == {"traffic -20%": (10, 8), "traffic +20%": (10, 15), "latency target -20%": (10, 12),
                    "latency target +20%": (10, 9)}  # fmt: skip
    assert [tick.get_text() for tick in axes.get_yticklabels()] == ["traffic", "latency target"]
    assert axes.get_xlabel() == "GPUs needed (plan: 10)"


OF_TENANTS = ("hits-budget", "overlap-budget", "working-set")
#: What takes a run with exits, likewise: test_exit_plots.py.
OF_EXITS = "agreement-latency"


def test_plots_of_tenants_have_numbers_of_the_budget_and_of_the_tenants():
    rows = [
        (policy, 0, {"adapter_budget": budget, "hit_rate": hits, "overlap": hits / 2, "goodput": 9.0})
        for policy, budget, hits in (
            ("lru", "512MiB", 0.2),
            ("lru", "2GiB", 0.6),
            ("lfu", "512MiB", 0.3),
            ("lfu", "2GiB", 0.5),
        )
    ]
    figure = PLOTS["hits-budget"].draw(frame(*rows, table="formula", model="m"), 85.0)
    assert [(row["x"], row["y"]) for row in of_kind(figure, "line", "lru")] == [(0.5, 20.0), (2.0, 60.0)]
    figure = PLOTS["overlap-budget"].draw(frame(*rows, table="formula", model="m"), 85.0)
    assert [(row["x"], row["y"]) for row in of_kind(figure, "line", "lfu")] == [(0.5, 15.0), (2.0, 25.0)]
    rows = [("lru", 0, {"tenants": f"zipf:exponent=1,count={count}", "goodput": 1000.0 / count}) for count in (10, 40)]
    figure = PLOTS["working-set"].draw(frame(*rows, table="formula", model="m"), 85.0)
    assert [(row["x"], row["y"]) for row in of_kind(figure, "line", "lru")] == [(10, 100.0), (40, 25.0)]
    with pytest.raises(ValueError, match="count"):
        PLOTS["working-set"].draw(frame(("lru", 0, {"tenants": "zipf", "goodput": 1.0})), 85.0)


@pytest.fixture(scope="module")
def swept():
    return analysis.sweep(
        policy="greedy;fixed(students=2)", table="synthetic", trace="gamma:duration=0.03,cv=1;gamma:duration=0.03,cv=3",
        load=[0.2, 0.9], gpus=[1, 2], slo_ms=[5, 50], seed=[0, 1],
    )  # fmt: skip


@pytest.mark.parametrize(
    "name", [name for name, plot in PLOTS.items() if plot.of == "sweep" and name not in {*OF_TENANTS, OF_EXITS}]
)
def test_a_figure_of_a_real_sweep_names_its_units_the_device_and_its_seeds(swept, name):
    rows = {"latency-load": swept["slo_ms"] == 5, "map-slo": (swept["gpus"] == 1) & (swept["cv"] == 1),
            "map-burstiness": (swept["gpus"] == 1) & (swept["slo_ms"] == 5),
            "map": (swept["gpus"] == 1) & (swept["cv"] == 1)}  # fmt: skip
    figure = PLOTS[name].draw(swept[rows.get(name, np.ones(len(swept), bool))], 85.0)
    small = " ".join(figure.get_supxlabel().replace("\xa0", " ").split())
    assert re.search(r"students-2x384 on synthetic .*\(modelled\).* 2 seeds", small)
    assert len(drawn(figure))


def test_a_figure_of_a_comparison_has_its_intervals_and_its_ceiling():
    compared = compare(
        "greedy;fixed(students=2)", table="synthetic", trace="poisson:duration=0.03", load=0.5, replications=3
    )
    figure = PLOTS["weighted"].draw(compared.standings, 85.0)
    for standing in compared.standings.itertuples():
        low, mean, high = (100 * getattr(standing, f"accuracy_weighted_goodput{end}") for end in ("_low", "", "_high"))
        (dot,) = of_kind(figure, "line", standing.policy)
        assert dot["x"] == pytest.approx(mean)
        assert [row["x"] for row in of_kind(figure, "line", f"{standing.policy} interval")] == pytest.approx(
            [low, high]
        )
    (line,) = of_kind(figure, "target")
    assert line["x"] == pytest.approx(100 * compared.ceiling.accuracy_weighted_goodput)
    assert "(modelled)" in figure.get_supxlabel()
    assert "seeds 0 to 2" in figure.get_supxlabel().replace("\xa0", " ")
    assert "from greedy" in PLOTS["differences"].draw(compared.standings, 85.0).axes[0].get_xlabel()


def test_capacities_are_dots_with_the_intervals_of_the_search():
    found = analysis.capacity(
        policy="greedy;fixed(students=2)", table="synthetic", seeds=[0, 1], requests=300, tolerance=0.2
    )
    figure = PLOTS["capacity"].draw(found, 85.0)
    for row, policy in enumerate(found["policy"]):
        assert [each["x"] for each in of_kind(figure, "line", policy)] == pytest.approx([found["capacity"][row]])
        ends = [each["x"] for each in of_kind(figure, "line", f"{policy} interval")]
        assert ends == pytest.approx([found["capacity_low"][row], found["capacity_high"][row]])
    assert figure.axes[0].get_xlabel() == "capacity (requests/s)"
    small = figure.get_supxlabel().replace("\xa0", " ")
    assert "(modelled)" in small
    assert "2 seeds" in small
    section = of_capacity(found)
    assert [cells[:2] for cells in section.tables[0].rows] == [
        [policy, f"{capacity:,.0f}"] for policy, capacity in zip(found["policy"], found["capacity"], strict=True)
    ]


def test_what_a_sweep_lacks_is_an_error_that_names_it():
    one = frame(("a", 0, {"load": 0.1, "attainment": 1.0, "slo_ms": 5.0}))
    with pytest.raises(LookupError, match=r"offered_rate, goodput;.*policy, seed, load"):
        goodput_against_rate(one, Figure().subplots())
    empty = one[:0]
    with pytest.raises(ValueError, match="no rows"):
        attainment_against_load(empty, Figure().subplots())
    with pytest.raises(ValueError, match=r"column policy.*'a'"):
        attainment_against_load(one.assign(load=one["policy"]), Figure().subplots(), x="policy")
    uneven = frame(*(("a", seed, {"load": load, "attainment": 1.0}) for load, seed in ((0.1, 0), (0.1, 1), (0.2, 0))))
    with pytest.raises(ValueError, match="a has 1 to 2 cells"):
        attainment_against_load(uneven, Figure().subplots())
    holes = frame(
        *(("a", 0, {"load": x, "slo_ms": y, "attainment": 1.0}) for x, y in ((0.1, 5.0), (0.2, 5.0), (0.1, 9.0)))
    )
    with pytest.raises(ValueError, match=r"load 0\.2, slo_ms 9"):
        attainment_map(holes, Figure().subplots())
    two = frame(*((policy, 0, {"load": 0.1, "slo_ms": 5.0, "attainment": 1.0}) for policy in "ab"))
    with pytest.raises(ValueError, match=r"one series.* 2 \(a; b"):
        attainment_map(two, Figure().subplots())
