"""Plans against brute force, windows against the full run, and targets out of reach."""

from __future__ import annotations

import json
import re
import shutil
from dataclasses import replace

import numpy as np
import pytest

import analysis
from analysis.__main__ import main
from analysis.plans.answer import printed
from analysis.plans.candidates import Demand, candidates
from analysis.plans.sampling import Sample, Stratum, Stretch, estimate, whole, windows
from analysis.sweeps.sweeping import Laboratory
from profiler.table import Deployment
from profiler.table.latency import SHIPPED
from profiler.table.writing import write_table
from simulator import simulate
from simulator.reporting.report import OK
from simulator.settings import Settings
from traces import Trace, load, scale

TRACE = "burst:rate=2000,duration=4,start=1,length=0.5,factor=3"
#: Fast for a second or so, every twenty; 106,000 requests.
CHANGING = "mmpp:rate=440,duration=240,levels=1/2.2,stays=20/1"
SLO_S = 0.06


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    """10 ms and half a millisecond per request, in batches up to 16: 889 requests/s."""
    path = tmp_path_factory.mktemp("table") / "slow.csv"
    rows = [f"teacher-2x8,1,2,8,{batch},512,{10_000 + 500 * batch}" for batch in range(1, 17)]
    path.write_text("\n".join(["model,students,depth,hidden,batch,tokens,latency_us", *rows]))
    return path


def attainment(trace, policy, table, gpus, slo_s=SLO_S):
    return simulate(trace, policy, table, slo_s=slo_s, gpus=gpus).summary["attainment"]


def brute(trace, policy, table, target=0.99):
    """The fewest GPUs by simulating every number of them."""
    return next(gpus for gpus in range(1, 60) if attainment(trace, policy, table, gpus) >= target)


@pytest.mark.parametrize("policy", ["greedy", "timeout"])
def test_the_fewest_gpus_are_those_of_brute_force(policy, table):
    trace = load(TRACE, seed=0)
    found = analysis.plan(trace, slo_ms=60, tables=table, policies=policy)
    needed = brute(trace, policy, table)
    choice = found.choices[0]
    assert choice.best.gpus == needed > 2
    assert found.traffic["exact"]
    assert choice.less.attainment == attainment(trace, policy, table, needed - 1) < 0.99
    assert choice.gpu_hours == pytest.approx(needed / trace.rate * 1e6 / 3600)


def test_what_one_gpu_less_needs_would_do(table):
    trace = load(TRACE, seed=0)
    choice = analysis.plan(trace, slo_ms=60, tables=table, policies="greedy").choices[0]
    less = choice.less
    assert attainment(trace, "greedy", table, less.gpus, less.slo_ms / 1e3) >= 0.99
    assert less.growth < 1 < choice.most
    thinned, grown = (scale(trace, factor * trace.rate, seed=0) for factor in (less.growth, choice.most))
    assert attainment(thinned, "greedy", table, less.gpus) >= 0.99
    assert attainment(grown, "greedy", table, choice.best.gpus) >= 0.99


def test_the_work_never_asks_for_more_gpus_than_are_needed(table):
    trace = load(TRACE, seed=0)
    share = np.bincount(trace.tokens) / trace.seconds
    lengths = np.flatnonzero(share)
    demand = Demand(lengths, share[lengths], SLO_S, 0.99, None)
    open_, refused = candidates([Deployment.of(table, "teacher-2x8")], ["greedy"], demand)
    assert not refused
    assert 2 <= open_[0].least <= brute(trace, "greedy", table)


def test_the_estimate_is_weighted_by_the_requests_that_a_stratum_stands_for():
    stretch = Stretch("", 0, None, 0.0)
    sample = Sample((Stratum(100, 1, (stretch,)), Stratum(300, 10, (stretch,) * 2)), 400, 0, "")
    rows = [
        {"attainment": 0.5, "requests": 100},
        {"attainment": 1.0, "requests": 10},
        {"attainment": 0.8, "requests": 30},
    ]
    found = estimate(sample, rows)
    assert found.mean == pytest.approx((100 * 0.5 + 300 * (10 + 24) / 40) / 400)
    assert found.low < found.mean < found.high
    exact = Sample((Stratum(100, 2, (stretch,) * 2),), 100, 0, "")
    assert len(set(estimate(exact, rows[:2]))) == 1


def test_a_stratum_without_misses_may_still_be_as_bad_as_the_busier_one():
    stretch = Stretch("", 0, None, 0.0)
    sample = Sample((Stratum(100, 1, (stretch,)), Stratum(900, 30, (stretch,) * 3)), 1000, 0, "")
    busy, calm = {"attainment": 0.8, "requests": 100}, {"attainment": 1.0, "requests": 30}
    found = estimate(sample, [busy, calm, calm, calm])
    assert found.mean == pytest.approx(0.98)
    assert found.low < 0.95
    assert found.high < 1
    assert len(set(estimate(sample, [calm] * 4))) == 1  # nothing was missed anywhere: nothing is known of misses


@pytest.mark.parametrize(("share", "known"), [(0.99, True), (0.86, True), (0.84, False), (0.3, False)])
def test_windows_have_no_interval_in_deep_overload(share, known):
    stretch = Stretch("", 0, None, 0.0)
    rows = [{"attainment": share + off, "requests": 100} for off in (-0.005, 0.005, 0.0)]
    sample = Sample((Stratum(900, 30, (stretch,) * 3),), 900, 300, "", sampled=True)
    found = estimate(sample, rows)
    assert found.mean == pytest.approx(share)
    assert (found.low is not None, found.high is not None) == (known, known)
    assert estimate(sample._replace(sampled=False), rows).low is not None, "runs of the whole trace have theirs"


def test_all_of_a_trace_is_taken_where_windows_cost_as_much(tmp_path):
    trace = load("poisson:rate=500,duration=60", seed=0)
    dear = windows(trace, 1_000, SLO_S, 0, tmp_path)  # 20 targets each, with their warm-up: more than the 60 s
    assert (dear.sampled, dear.simulated, len(dear.stretches)) == (False, len(trace), 1)
    cheap = windows(load("poisson:rate=500,duration=400", seed=0), 1_000, SLO_S, 0, tmp_path)
    assert cheap.sampled
    assert cheap.simulated < cheap.requests
    assert windows(load("poisson:rate=500,duration=30", seed=0), 1_000, SLO_S, 0, tmp_path) is None


def test_a_plan_with_much_growth_simulates_no_more_than_the_trace_has(table, tmp_path):
    trace = load("poisson:rate=20,duration=60", seed=0)
    found = analysis.plan(trace, slo_ms=60, growth=100, tables=table, policies="greedy", simulated=2_000)
    assert found.traffic["simulated"] == f"all {len(trace):,} requests simulated"
    assert not found.traffic["exact"]


def test_the_busiest_windows_are_those_that_miss(table, tmp_path):
    """A burst that begins in the middle of a window leaves no backlog before it, and few requests in it."""
    trace = load(CHANGING, seed=7)
    report = simulate(trace, "greedy", table, slo_s=SLO_S)
    late = trace.arrival_s[report.times["outcome"] != OK]
    sample = windows(trace, 30_000, SLO_S, 0, tmp_path)
    with Laboratory() as opened:
        cells = [Settings(policy="greedy", table=str(table), trace=each.file, slo_ms=60)
                 for each in sample.strata[0].stretches]  # fmt: skip
        rows = opened.rows(cells, [each.since_s for each in sample.strata[0].stretches])
    assert sum(row["counted"] - row["counted_ok"] for row in rows) > 0.8 * len(late) > 0


def test_windows_count_only_their_own_requests(tmp_path):
    trace = load("poisson:rate=2000,duration=100", seed=0, max_tokens=128)
    sample = windows(trace, 40_000, 0.01, 0, tmp_path)
    assert sum(each.requests for each in sample.strata) == len(trace)
    assert 15_000 < sample.simulated < 50_000
    cells = [Settings(policy="greedy", table="synthetic", trace=each.file, slo_ms=20) for each in sample.stretches]
    with Laboratory() as opened:
        rows = opened.rows(cells, [each.since_s for each in sample.stretches])
    for stretch, row in zip(sample.stretches, rows, strict=True):
        part = load(stretch.file)
        assert row.get("counted", row["requests"]) == int((part.arrival_s >= stretch.since_s).sum())
        assert part.duration_s > stretch.since_s


@pytest.mark.parametrize("policy", ["greedy", "timeout"])
def test_windows_are_within_two_points_of_the_full_run(policy, table, tmp_path):
    """The stated error, tested, where a plan decides: most are on time. Of six intervals five hold the full run."""
    trace = load(CHANGING, seed=3)
    full = attainment(trace, policy, table, 1)
    assert 0.9 < full < 0.98
    found = []
    with Laboratory() as opened:
        for seed in range(6):
            sample = windows(trace, 30_000, SLO_S, seed, tmp_path)
            cells = [Settings(policy=policy, table=str(table), trace=each.file, slo_ms=60, seed=each.seed)
                     for each in sample.stretches]  # fmt: skip
            found.append(estimate(sample, opened.rows(cells, [each.since_s for each in sample.stretches])))
    assert max(abs(each.mean - full) for each in found) < 0.02, (full, found)
    assert sum(each.low <= full <= each.high for each in found) >= 5, (full, found)


def test_a_long_trace_needs_as_many_gpus_by_its_windows_as_in_full(table):
    trace = scale(load(CHANGING, seed=1), 1000, seed=0)
    found = analysis.plan(trace, slo_ms=60, attainment=0.98, tables=table, policies="greedy", simulated=60_000)
    assert "windows" in found.traffic["simulated"]
    choice = found.choices[0]
    needed = brute(trace, "greedy", table, 0.98)
    assert choice.best.gpus <= needed <= (choice.clear or choice.best.gpus + 2)


def test_seeds_are_the_replications_of_a_generated_trace(tmp_path):
    found = analysis.plan("poisson:rate=300,duration=1", slo_ms=10, tables="synthetic", policies="greedy", seeds=3)
    assert "3 seeds" in found.traffic["simulated"]
    assert not found.traffic["exact"]
    traces = [load("poisson:rate=500,duration=1", seed=seed) for seed in range(2)]
    assert whole(traces, tmp_path).strata[0].requests == sum(map(len, traces))


def test_a_plan_is_found_again_in_the_store(table, tmp_path):
    how = {"slo_ms": 60, "tables": table, "policies": "greedy;timeout", "store": tmp_path, "seeds": 1}
    first, again = analysis.plan(TRACE, **how), analysis.plan(TRACE, **how)
    assert (first.ran > 0, again.ran) == (True, 0)
    assert again.choices == first.choices


def test_a_latency_that_no_batch_keeps_is_out_of_reach_and_the_closest_is_named(capsys, tmp_path):
    command = ["plan", "--trace", "poisson:rate=300,duration=1", "--slo-ms", "0.1", "--tables", "synthetic"]
    command += ["--policies", "greedy", "--max-gpus", "4", "--jobs", "1"]
    command += ["--store", str(tmp_path / "s"), "--out", str(tmp_path / "o")]
    assert main(command) == 1
    out = capsys.readouterr().out
    assert "up to 4 GPUs" in out
    assert "idle" in out
    assert "instead of 0.1" in out
    saved = json.loads((tmp_path / "o" / "plan.json").read_text())
    assert saved["choices"] == []
    assert saved["closest"][0]["slo_ms"] > 0.1


def test_the_plan_of_a_table_without_accuracies_is_written_with_null(capsys, tmp_path):
    shutil.copytree(SHIPPED / "synthetic", tmp_path / "bare", ignore=shutil.ignore_patterns("accuracy.csv"))
    command = ["plan", "--trace", "poisson:rate=100,duration=1", "--slo-ms", "50", "--tables", str(tmp_path / "bare")]
    command += ["--policies", "greedy", "--max-gpus", "2", "--jobs", "1"]
    assert main([*command, "--store", str(tmp_path / "s"), "--out", str(tmp_path / "o")]) == 0
    saved = json.loads((tmp_path / "o" / "plan.json").read_text(), parse_constant=pytest.fail)
    assert saved["choices"][0]["best"]["accuracy"] is None


def test_however_far_a_latency_is_out_of_reach_the_one_that_can_be_met_is_named(table):
    trace = load(TRACE, seed=0)
    found = analysis.plan(trace, slo_ms=0.001, tables=table, policies="greedy", max_gpus=8)
    (closest,) = found.closest
    assert closest.best.candidate.idle_s == pytest.approx(0.0105)  # a request alone, on an idle GPU
    enough, less = (attainment(trace, "greedy", table, 8, share * closest.slo_ms / 1e3) for share in (1, 0.97))
    assert enough >= 0.99 > less
    assert f"{closest.slo_ms:.4g} ms instead of 0.001" in printed(found)


def test_a_recorded_trace_that_grows_by_moved_copies_is_not_exact(table):
    trace = load(TRACE, duration=2, seed=0)
    how = {"slo_ms": 60, "tables": table, "policies": "greedy", "seeds": 2}
    found = analysis.plan(trace, growth=2, **how)
    assert not found.traffic["exact"]
    assert found.traffic["simulated"].startswith("2 seeds")
    assert "for other seeds" in printed(found)
    alone = analysis.plan(trace, growth=2, **how | {"seeds": 1})
    assert "one seed" in printed(alone)


def test_a_request_longer_than_the_tables_is_refused_before_anything_runs(table):
    trace = Trace(np.array([0.1, 0.2]), np.array([8, 513]))
    with pytest.raises(ValueError, match=r"513 tokens.* 512"):
        analysis.plan(trace, slo_ms=60, tables=table, policies="greedy")


def test_cost_and_energy_are_those_of_the_gpu_hours_where_the_table_knows_them(tmp_path):
    row = {"model": "teacher-2x8", "students": 1, "depth": 2, "hidden": 8, "batch": 1, "tokens": 512, "latency_us": 900}
    write_table(tmp_path / "priced", [row], {"device": "d", "price_per_gpu_hour": 3.0, "power_w": 500})
    found = analysis.plan("poisson:rate=100,duration=1", slo_ms=60, tables=tmp_path / "priced", policies="greedy")
    choice = found.choices[0]
    assert choice.cost == pytest.approx(3 * choice.gpu_hours)
    assert choice.kwh == pytest.approx(0.5 * choice.gpu_hours)
    assert f"costs {choice.cost:.3g} per million requests" in printed(found)
    dearer = analysis.plan(
        "poisson:rate=100,duration=1", slo_ms=60, tables=tmp_path / "priced", policies="greedy", gpu_price="6"
    )
    assert dearer.choices[0].cost == pytest.approx(2 * choice.cost)
    row, *_ = [line for line in printed(dearer).splitlines() if line.startswith("*")]
    assert row.split()[-1] == f"{dearer.choices[0].cost:.3g}"
    for wrong, said in (("1,2", "2 prices for 1 table"), ("dear", "numbers"), (-1, "must lie in")):
        with pytest.raises(ValueError, match=said):
            analysis.plan("poisson:rate=1,duration=1", slo_ms=60, tables=tmp_path / "priced", gpu_price=wrong)


def test_the_origin_of_accuracies_is_printed():
    found = analysis.plan("poisson:rate=300,duration=1", slo_ms=20, tables="synthetic", policies="greedy", seeds=1)
    assert "accuracies: illustrative (not measured)" in printed(found)


def test_an_accuracy_that_no_model_has_is_out_of_reach():
    found = analysis.plan(
        "poisson:rate=300,duration=1",
        slo_ms=20,
        tables="h200-modelled",
        models="students-1x384;students-2x384",
        policies="greedy",
        min_accuracy=0.95,
    )
    assert not found.choices
    assert "0.904" in found.closest[0].refused["students-2x384"]
    assert found.closest[0].best.accuracy == pytest.approx(0.904)


def test_the_command_prints_what_to_change_and_the_headroom(capsys, table, tmp_path):
    command = [
        "plan",
        "--trace",
        TRACE,
        "--slo-ms",
        "60",
        "--tables",
        str(table),
        "--policies",
        "greedy",
        "--growth",
        "2x",
    ]
    command += ["--jobs", "1", "--store", str(tmp_path / "s"), "--seeds", "1"]
    assert main(command) == 0
    out = capsys.readouterr().out
    assert re.search(r"\b\d+ GPUs would do", out)
    assert re.search(r"\d% .*\d times the trace", out)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"slo_ms": 0}, "slo_ms is 0"),
        ({"growth": -1}, "growth is -1"),
        ({"attainment": 2}, "attainment is 2"),
        ({"min_accuracy": 90}, "min_accuracy is 90"),
        ({"attainment": 1e-300}, "attainment is 1e-300"),
        ({"max_gpus": 0}, "max_gpus is 0"),
        ({"max_gpus": 10**20}, "max_gpus is 1"),
        ({"seeds": 10**20}, "seeds is 1"),
        ({"slo_ms": 1e300}, "slo_ms is 1e+300"),
        ({"jobs": 10**20}, "jobs is 1"),
        ({"tables": "nowhere"}, "no table 'nowhere'"),
        ({"models": "gpt"}, "no model 'gpt'"),
        ({"policies": "greasy"}, "greasy"),
        ({"trace": "nowhere.csv"}, "nowhere.csv"),
    ],
)
def test_a_question_that_makes_no_sense_is_one_clear_line(settings, message):
    with pytest.raises((ValueError, LookupError)) as caught:
        analysis.plan(**{"trace": TRACE, "slo_ms": 10, "tables": "synthetic", **settings})
    assert message in caught.value.args[0]
    assert "\n" not in caught.value.args[0]


def test_own_targets_of_requests_are_kept_in_windows(tmp_path):
    trace = load("poisson:rate=2000,duration=60", seed=0, max_tokens=128)
    trace = replace(trace, slo_s=np.where(np.arange(len(trace)) % 2, 0.001, np.nan))
    sample = windows(trace, 30_000, 0.01, 0, tmp_path)
    part = load(sample.stretches[0].file)
    assert part.slo_s is not None
    assert np.isnan(part.slo_s).mean() == pytest.approx(0.5, abs=0.01)


def test_windows_do_not_depend_on_when_the_trace_begins(tmp_path):
    trace = load(CHANGING, seed=1)
    base = 2.0**20  # a power of two: moved arrivals keep their order and all but their last digits
    moved = replace(trace, arrival_s=trace.arrival_s + base, start_s=base)
    here, there = (windows(each, 20_000, 0.1, 0, tmp_path / name) for each, name in ((trace, "here"), (moved, "there")))
    assert [each.requests for each in there.strata] == [each.requests for each in here.strata]
    for one, other in zip(here.stretches, there.stretches, strict=True):
        assert other.rate == pytest.approx(one.rate, rel=1e-6)
        assert other.since_s == pytest.approx(one.since_s, abs=1e-6)
