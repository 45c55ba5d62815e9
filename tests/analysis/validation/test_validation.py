"""Is the simulation right? The layers of error, from recorded times to the acceptance set on a tiny device."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from analysis.validation import acceptance, capacity, latencies, report  # noqa: E402
from analysis.validation.executors import CalibratedExecutor, Learnt, RecordedExecutor, Residuals  # noqa: E402
from analysis.validation.figures_of_merit import (  # noqa: E402
    figures,
    implied_bias,
    intervals,
    same_decisions,
    service_errors,
    total_variation,
)
from analysis.validation.verdicts import verdicts  # noqa: E402
from profiler.events import Execution  # noqa: E402
from profiler.executors.serving import open_devices  # noqa: E402
from profiler.table import LatencyTable, Predictions  # noqa: E402
from profiler.table.writing import write_table  # noqa: E402
from simulator import simulate  # noqa: E402
from simulator.conformance.cases import formula  # noqa: E402
from traces import load  # noqa: E402


class Jittery:
    """The table's times and a known bias, with noise: what stands for a live run."""

    offers = frozenset()

    def __init__(self, predictions, seed, bias_s=50e-6):
        self.predictions, self.rng, self.bias_s = predictions, np.random.default_rng(seed), bias_s

    def begin(self, number, gpu, level, bucket, requests, plan, now):
        seconds = self.predictions.service[level.index][bucket][len(requests)]
        return Execution(seconds + self.bias_s + self.rng.exponential(20e-6))


@pytest.fixture(scope="module")
def table():
    return formula([1, 2, 4], [1, 4, 16, 32], [16, 64])


@pytest.fixture(scope="module")
def predictions(table):
    model = table.default_model()
    return Predictions(table, table.levels(model), table.plan(model))


def traffic(seed):
    return load("poisson:rate=1500,duration=6", lengths="constant:tokens=12", seed=seed)


@pytest.fixture(scope="module")
def live(table, predictions):
    return simulate(traffic(1), "timeout", table, executor=Jittery(predictions, 1))


def test_recorded_times_give_the_recorded_run_again(table, live):
    again = simulate(traffic(1), "timeout", table, executor=RecordedExecutor(live.records))
    assert same_decisions(live, again)
    assert figures(again) == figures(live)


def test_a_run_that_decides_otherwise_is_not_the_same(table, live):
    assert not same_decisions(live, simulate(traffic(1), "greedy", table))
    with pytest.raises(ValueError, match="the decisions differ"):
        simulate(traffic(1), "none", table, executor=RecordedExecutor(live.records))


def test_residuals_of_another_run_bring_the_simulation_to_the_live_percentiles(table, predictions, live):
    calibration = simulate(traffic(2), "timeout", table, executor=Jittery(predictions, 2))
    residuals = Residuals.of([calibration], predictions)
    drawn = CalibratedExecutor(predictions, residuals, np.random.default_rng(0))
    bare, calibrated = (simulate(traffic(1), "timeout", table, executor=each) for each in (None, drawn))
    for name in ("p50_s", "p99_s"):
        error = [abs(figures(each)[name] / figures(live)[name] - 1) for each in (bare, calibrated)]
        assert error[1] < 0.02 < error[0], name


def test_residuals_of_other_policies_hold_no_run_of_the_policy_itself(table, predictions):
    bias = {"greedy": 50e-6, "timeout": 80e-6, "none": 500e-6}
    runs = {
        policy: [simulate(traffic(2), policy, table, executor=Jittery(predictions, 2, own))]
        for policy, own in bias.items()
    }
    learnt = Learnt.of(runs, "none", predictions)
    own, others = (each.classes[None] for each in learnt)
    assert own.min() >= 500e-6 - 1e-12
    assert others.min() >= 50e-6 - 1e-12
    assert others.max() < 500e-6
    assert len(others) == sum(len(runs[name][0].records.batches) for name in ("greedy", "timeout"))


def test_a_policy_that_never_ran_live_is_nearer_with_residuals_of_others_than_by_the_table(table, predictions, live):
    # the host's part is the same for all policies here, but for the decision: 10 us more in the policy that is scored
    runs = {
        policy: [simulate(traffic(2), policy, table, executor=Jittery(predictions, 2, own))]
        for policy, own in {"timeout": 50e-6, "greedy": 40e-6, "none": 40e-6}.items()
    }
    learnt = Learnt.of(runs, "timeout", predictions)
    errors = {}
    for name, residuals in {"table": None, **learnt._asdict()}.items():
        drawn = residuals and CalibratedExecutor(predictions, residuals, np.random.default_rng(0))
        run = simulate(traffic(1), "timeout", table, executor=drawn)
        errors[name] = abs(figures(run)["p50_s"] / figures(live)["p50_s"] - 1)
    assert errors["own"] < errors["others"] < errors["table"]


def test_the_implied_bias_is_the_factor_that_was_put_in(table, predictions):
    class Slow(CalibratedExecutor):
        pass

    nothing = Residuals({None: np.zeros(1)})

    def p50(factor):
        executor = Slow(predictions, nothing, scale=factor)
        return simulate(traffic(1), "greedy", table, executor=executor).summary["p50_s"]

    assert implied_bias(p50, p50(1.1)) == pytest.approx(0.1, abs=0.003)
    assert np.isnan(implied_bias(p50, 10.0))


def test_total_variation_is_a_distance_of_histograms():
    assert total_variation([1, 1, 2], [1, 2, 1]) == 0
    assert total_variation([1], [2]) == 1
    assert total_variation([1, 1, 1, 2], [1, 1, 2, 2]) == 0.25
    assert total_variation([], []) == 0


def test_block_intervals_hold_the_figure_and_are_wider_for_less_data(live):
    rng = np.random.default_rng(3)
    low, high = intervals(live, rng)["p50_s"]
    assert low <= live.summary["p50_s"] <= high


def test_overload_has_no_block_intervals(table):
    traffic = load("poisson:rate=9000,duration=2", lengths="constant:tokens=12", seed=1)
    overloaded = simulate(traffic, "none", table)
    assert overloaded.summary["p99_s"] > 0.1
    assert np.isnan(list(intervals(overloaded, np.random.default_rng(3)).values())).all()


def test_service_errors_weigh_keys_by_their_batches():
    found = service_errors(np.array([1.1, 1.1, 1.1, 2.0]), np.array([1.0, 1.0, 1.0, 2.0]), ["a", "a", "a", "b"])
    assert found["key_mape"] == pytest.approx(0.075)
    assert found["key_bias"] == pytest.approx(0.075)


def test_the_peak_is_where_the_attainment_falls_below_the_target():
    assert capacity.peak(lambda factor: 1.0 if factor <= 2 else 0.5) == pytest.approx(2, rel=0.004)
    assert np.isnan(capacity.peak(lambda factor: 0.0))
    assert capacity.crossing([(1, 1.0, True), (2, 0.995, True), (3, 0.985, True)]) == pytest.approx(2.5)
    assert np.isnan(capacity.crossing([(1, 1.0, True), (2, 1.0, True)]))


@pytest.mark.parametrize("real", [0.7, 0.97, 1.0, 1.2])
def test_live_rates_are_tried_until_they_hold_the_capacity_between_them(real):
    tried = []

    def live(factor):
        tried.append(factor)
        return 0.99 - 0.1 * (factor - real), True

    assert capacity.crossing(capacity.measured(live, 1.0)) == pytest.approx(real, rel=1e-6)
    assert len(tried) <= 8


def test_the_acceptance_set_runs_on_a_device_and_its_page_has_the_verdicts(tmp_path, monkeypatch):
    monkeypatch.setattr(acceptance, "SCENARIOS", acceptance.SCENARIOS[:1])
    monkeypatch.setattr(acceptance, "POLICIES", ("greedy", "timeout"))
    monkeypatch.setattr(acceptance, "CAPACITY_POLICIES", ("greedy",))
    monkeypatch.setattr(acceptance, "CANARIES", 1)
    monkeypatch.setattr(capacity, "STEPS", 2)
    model = "students-1x64"
    rows = [
        {"model": model, "students": 1, "depth": 1, "hidden": 64, "batch": b, "tokens": t, "latency_us": 1500.0 + b}
        for b in (1, 4, 16)
        for t in (16, 128)
    ]
    accuracy = [{"model": model, "students": 1, "task": "toy", "accuracy": 0.9}]
    write_table(tmp_path / "table", rows, {"device": "a test", "threads": 1, "kind": "modelled"}, accuracy=accuracy)
    table = LatencyTable.load(tmp_path / "table")
    threads = torch.get_num_threads()
    served = open_devices("cpu", table, [model], table.plan(model))
    acceptance.Acceptance(str(tmp_path / "table"), model, served, tmp_path, requests=150, wanted=1, most=2).run()
    torch.set_num_threads(threads)
    meta = dict.fromkeys(("device", "table_created", "table_noise", "command", "created", "commit"), "-")
    meta["lengths"] = "constant:tokens=32"
    meta |= {"model": model, "students": 1, "requests": 150, "slo_s": 0.0075}
    report.write_values(tmp_path / "meta.json", meta)
    found = report.read(tmp_path)
    assert found["runs"]["replay_same_decisions"].all()
    words = {row[0]: row[3] for row in verdicts(found)}
    assert words["(i) equal decisions given recorded times"] == "met"
    page = report.page(found)
    for figure in ("p50", "p99", "p99 of all runs"):
        assert f"| poisson 0.3 | greedy | {figure} |" in page
    cell = found["cells"].iloc[0]
    assert {f"{name}_p99_s" for name in latencies.SIMULATED} <= set(cell.index)
    assert (tmp_path / "raw" / "poisson-0.3-greedy.parquet").exists()

    report.write_values(tmp_path / "cells.json", [{"scenario": "poisson 0.3", "policy": "greedy", "drawn_p50_s": 1.0}])
    with pytest.raises(LookupError, match="measure it again"):
        report.read(tmp_path)


def test_a_folder_that_is_no_acceptance_set_is_refused(tmp_path):
    with pytest.raises(LookupError, match="meta, calibration, runs, cells, capacity"):
        report.read(tmp_path)
