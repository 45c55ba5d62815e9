"""Comparisons: the same arrivals for all, honest replications, a ceiling labelled with its kind."""

from __future__ import annotations

import csv
import io
import re

import numpy as np
import pandas
import pytest
from conftest import EPYC

from analysis.__main__ import main
from analysis.commands.compare import text
from analysis.comparisons.comparison import compare
from analysis.comparisons.statistics import mean_intervals, warm_up
from analysis.sweeps.cells import summary_from
from policies import POLICIES, RESIDENCY
from simulator import simulate
from simulator.settings import Settings, prepare
from traces import load, write

SETTING = {"table": "synthetic", "lengths": "constant:tokens=64", "trace": "mmpp:duration=0.06,stays=0.02/0.02"}


def test_each_replication_is_the_run_with_its_seed():
    compared = compare("greedy;adaptive", replications=3, load=0.8, seed=5, **SETTING)
    for policy in ("greedy", "adaptive"):
        runs = [
            prepare(
                Settings(policy, **SETTING, rate=compared.settings.rate, slo_ms=compared.settings.slo_ms, seed=seed)
            )
            for seed in (5, 6, 7)
        ]
        expected = [each.run().summary["accuracy_weighted_goodput"] for each in runs]
        assert compared.values[policy].tolist() == expected
    assert compared.replicated == "seeds 5 to 7"


def test_equal_policies_do_not_differ_at_all_and_the_reference_is_the_first():
    compared = compare("greedy;triton;nexus", replications=3, load=0.8, **SETTING)
    standings = compared.standings.set_index("policy")
    assert compared.reference == "greedy"
    ends = ["difference_low", "difference", "difference_high"]
    assert (standings.loc[["triton", "greedy"], ends] == 0).all(axis=None)
    assert standings.loc["nexus", "difference_low"] > 0
    assert standings["accuracy_weighted_goodput"].is_monotonic_decreasing


def test_the_optimum_reaches_all_of_itself_and_others_less():
    compared = compare(["adaptive", "optimum"], replications=2, load=0.9, **SETTING)
    assert compared.ceiling.kind == "exact"
    best, other = compared.standings.itertuples()
    assert (best.policy, best.reached) == ("optimum", pytest.approx(1.0, abs=1e-12))
    assert other.reached < 1
    bounded = compare(["optimum"], replications=2, load=0.9, exact_requests=0, **SETTING)
    assert bounded.ceiling.kind == "bound"
    assert bounded.standings["reached"][0] <= 1


def test_some_replications_may_have_the_exact_optimum_and_others_a_bound():
    lengths = [len(prepare(Settings(**SETTING, rate=8000, seed=seed)).trace) for seed in range(4)]
    compared = compare("greedy", replications=4, rate=8000, exact_requests=sum(lengths) // 4, **SETTING)
    assert compared.ceiling.kind == "exact or bound"


def test_what_does_not_run_here_is_listed_with_the_reason():
    compared = compare("greedy;optimum", replications=2, load=0.5, **SETTING | {"gpus": 2})
    assert compared.standings["policy"].tolist() == ["greedy"]
    assert list(compared.refused) == ["optimum"]
    assert "one GPU" in compared.refused["optimum"]
    with pytest.raises(ValueError, match=r"reference optimum.*one GPU"):
        compare("greedy;optimum", reference="optimum", replications=1, load=0.5, **SETTING | {"gpus": 2})


def test_all_are_the_online_policies_and_adaptive_their_reference():
    compared = compare("all", replications=2, load=0.3, **SETTING)
    shown = {each.partition("(")[0] for each in compared.standings["policy"]} | set(compared.refused)
    bounds = {"optimum", "oracle_agree", "oracle_static"}
    assert {name for name in POLICIES if name not in RESIDENCY} - bounds <= shown
    assert not bounds & shown
    assert compared.reference == "adaptive"
    assert not (compared.standings["reached"] > 1 + 1e-9).any()


def test_ninety_nine_percent_on_time_needs_enough_requests():
    short, long, over = (
        compare("adaptive", replications=2, trace="poisson", table="synthetic", slo_ms=20, load=load, duration=duration)
        for load, duration in ((0.2, 0.02), (0.2, 0.2), (5, 0.2))
    )
    assert [each.standings["verdict"][0] for each in (short, long, over)] == ["undecided", "valid", "invalid"]


POISSON = {"table": "synthetic", "lengths": "constant:tokens=64", "slo_ms": 20}


def test_the_warm_up_of_steady_traffic_is_left_out_alike_for_all():
    policies = ["greedy", "none", "timeout(timeout_s=0.005)"]  # at the highest level, whose accuracy is 1
    setting = POISSON | {"trace": "poisson:duration=1", "rate": 900.0, "slo_ms": 2}
    compared = compare(policies, replications=3, exact_requests=1000, warm_up=True, **setting)
    values = {policy: [] for policy in policies}
    cuts = []
    for seed in range(3):
        prepared = prepare(Settings(**setting, seed=seed))
        reports = {policy: prepared.run(policy) for policy in policies}
        first = max(warm_up(each.times["finish_s"] - each.trace.arrival_s) for each in reports.values())
        cuts.append(first)
        for policy, each in reports.items():
            values[policy].append((each.requests["outcome"][first:] == "ok").mean())
    assert {policy: found.tolist() for policy, found in compared.values.items()} == {
        policy: pytest.approx(found, abs=1e-12) for policy, found in values.items()
    }
    assert re.search(rf"seeds 0 to 2.* {min(cuts)} to {max(cuts)} requests", compared.replicated)
    assert compared.ceiling.kind == "exact or bound"  # a bound where it may begin without a backlog


def test_figures_from_the_first_request_on_are_those_of_the_run():
    report = prepare(Settings("adaptive", **POISSON, trace="poisson:duration=0.3", rate=9000.0)).run()
    found = summary_from(report, 0)
    assert found == {name: pytest.approx(report.summary[name], rel=1e-12) for name in found}


def test_a_run_without_a_steady_state_has_no_figures_of_one():
    setting = POISSON | {"trace": "poisson:duration=0.2", "rate": 12_000.0}
    compared = compare("adaptive;greedy", replications=2, exact_requests=0, warm_up=True, **setting)
    assert compared.standings["policy"].tolist() == ["adaptive"]
    assert "no steady state" in compared.refused["greedy"]


@pytest.mark.parametrize("trace", [None, "mmpp:duration=0.1", "burst:duration=0.1"])
def test_bursts_are_no_warm_up(trace):
    with pytest.raises(ValueError, match="steady traffic only"):
        compare("greedy", replications=1, exact_requests=0, warm_up=True, trace=trace, **POISSON)


def test_layers_and_more_gpus_are_not_held_against_the_ceiling():
    compared = compare("lazybatching", replications=1, load=0.3, **SETTING)
    assert np.isnan(compared.standings["reached"][0])


def test_windows_of_a_recorded_file_are_its_replications(tmp_path):
    arrivals = np.sort(np.random.default_rng(0).uniform(0, 0.4, 800))
    path = tmp_path / "recorded.csv"
    path.write_text("arrival_s,tokens\n" + "".join(f"{each!r},60\n" for each in arrivals.tolist()))
    compared = compare("fixed;adaptive", replications=4, trace=str(path), table="synthetic", slo_ms=4.0)
    assert "4 consecutive windows" in compared.replicated
    whole = prepare(Settings("adaptive", trace=str(path), table="synthetic", slo_ms=4.0)).run()
    assert compared.values["adaptive"].mean() == pytest.approx(whole.summary["accuracy_weighted_goodput"], abs=0.02)
    path.write_text("arrival_s,tokens\n0,9\n0.1,9\n9,9\n")
    with pytest.raises(ValueError, match=r"window 2 of 3 .*no requests"):
        compare("fixed", replications=3, trace=str(path), table="synthetic")


def test_windows_that_lack_the_backlog_of_the_trace_have_no_interval(tmp_path):
    path = tmp_path / "overload.parquet"
    write(load("mmpp:rate=8000,duration=1,levels=1/2,stays=0.15/0.03", lengths="constant:tokens=64", seed=1), path)
    setting = {"trace": str(path), "table": "synthetic", "slo_ms": 6}
    found = compare("greedy;nexus", replications=4, **setting)
    standings = found.standings.set_index("policy")
    whole = prepare(Settings("greedy", **setting)).run().summary["accuracy_weighted_goodput"]
    assert standings.loc["greedy", "accuracy_weighted_goodput"] > 1.5 * whole  # windows say too much
    own, difference = (
        [f"{name}_{end}" for end in ("low", "high")] for name in ("accuracy_weighted_goodput", "difference")
    )
    assert standings.loc["greedy", own].isna().all()
    assert standings.loc["nexus", own].notna().all()
    assert standings.loc["nexus", difference].isna().all()  # paired with what has none
    assert found.replicated.endswith("greedy")
    assert text(found).count("unknown") == 2


@pytest.mark.parametrize("offered", [0.6, 1.05, 4.0])
def test_intervals_over_seeds_hold_in_deep_overload_too(offered):
    setting = {"trace": "burst:duration=0.3,start=0.1,length=0.05", "table": "synthetic", "slo_ms": 6}
    setting |= {"lengths": "constant:tokens=64", "load": offered}
    values = [
        prepare(Settings("greedy", seed=seed, **setting)).run().summary["accuracy_weighted_goodput"]
        for seed in range(60)
    ]
    drawn = np.random.default_rng(0).choice(values, (4, 2000))
    found = mean_intervals(drawn)
    assert np.mean((found["low"] <= np.mean(values)) & (found["high"] >= np.mean(values))) > 0.9


def test_equal_replications_have_no_interval_in_print():
    setting = {"trace": "constant:duration=0.1", "lengths": "constant:tokens=64", "table": "synthetic", "load": 0.2}
    *_, one, other = text(compare("greedy;nexus", replications=3, **setting)).splitlines()
    assert "all equal" in one
    assert "all equal" in other


def test_drawn_times_have_no_ceiling():
    compared = compare("greedy", replications=2, trace="poisson:duration=3", load=0.3, service_noise="profiled")
    assert compared.ceiling is None
    assert np.isnan(compared.standings["reached"][0])


def test_a_table_without_accuracies_is_compared_by_attainment(tmp_path):
    path = tmp_path / "bare.csv"
    rows = [f"students-2x8,{k},2,8,{b},16,{100 * k + 20 * b}" for k in (1, 2) for b in (1, 2, 4)]
    path.write_text("\n".join(["model,students,depth,hidden,batch,tokens,latency_us", *rows]) + "\n")
    setting = {"table": str(path), "trace": "poisson:duration=0.2", "lengths": "constant:tokens=9", "load": 1.2}
    compared = compare("adaptive", replications=2, **setting)
    standing = compared.standings.iloc[0]
    assert np.isnan(standing.accuracy)
    assert standing.accuracy_weighted_goodput == pytest.approx(standing.attainment)
    assert 0 < standing.reached <= 1


def test_processes_change_nothing():
    pytest.importorskip("joblib")
    one, two = (compare("greedy;adaptive", replications=2, load=0.8, jobs=jobs, **SETTING) for jobs in (1, 2))
    pandas.testing.assert_frame_equal(one.standings, two.standings, check_exact=True)


@pytest.mark.parametrize(
    ("named", "message"),
    [
        ({"policies": ""}, "no policies"),
        ({"policies": "greedy", "replications": 0}, "replications is 0.* 1"),
        ({"policies": "greedy", "gpus": 0}, "gpus is 0.* 1"),
        ({"policies": "greedy", "slo": 3}, "setting slo;.*trace, trace_format"),
        ({"policies": "gready"}, "no policy 'gready'"),
        ({"policies": "greedy", "reference": "best"}, "no policy 'best'"),
    ],
)
def test_bad_input_is_refused_in_words(named, message):
    with pytest.raises((ValueError, LookupError), match=message):
        compare(**named)


FLAGS = ["--trace", "poisson:duration=0.02", "--load", "0.5", "--table", "synthetic", "--lengths", "constant:tokens=64"]
ALONE = ["--reference", "none"]


def test_the_command_prints_a_line_per_policy(capsys):
    assert main(["compare", "--policies", "greedy;adaptive;optimum", *FLAGS, "--seeds", "2", *ALONE]) == 0
    out = capsys.readouterr().out
    assert "runs    seeds 0 to 1\nceiling " in out
    assert "exact optimum" in out
    assert re.search("^policy .*regret .*from greedy", out, re.MULTILINE)
    assert "accuracies: illustrative (not measured)" in out
    assert {line.split()[0] for line in out.splitlines()[7:]} == {"greedy", "adaptive", "optimum"}


def test_the_spread_of_one_replication_is_unknown(capsys):
    assert main(["compare", "--policies", "greedy", *FLAGS, "--replications", "1", *ALONE]) == 0
    out = capsys.readouterr().out
    assert "(seed 0)" in out
    assert "unknown" in out.splitlines()[-1]


def test_rows_are_written_and_printed_as_csv(tmp_path, capsys):
    out = tmp_path / "rows.csv"
    command = ["compare", "--policies", "greedy;adaptive", *FLAGS, "--seeds", "2", "--csv", "--out", str(out)]
    assert main(command) == 0
    printed = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    written = list(csv.DictReader(io.StringIO(out.read_text())))
    for one, other in zip(printed, written, strict=True):
        assert one["policy"] == other["policy"]
        assert float(one["difference_low"]) == float(other["difference_low"])
    assert printed[0]["ceiling_kind"] == "exact"


def test_the_command_refuses_in_one_line(tmp_path, capsys):
    assert main(["compare", "--policies", "gready", *FLAGS]) == 2
    assert capsys.readouterr().err.startswith("error: no policy 'gready'")
    assert main(["compare", *FLAGS, "--out", str(tmp_path / "rows.txt")]) == 2
    assert ".parquet or .csv" in capsys.readouterr().err


def test_the_regret_is_what_the_ceiling_is_above_the_policy():
    compared = compare("greedy;nexus", table="synthetic", trace="poisson:duration=0.02", load=0.9, slo_ms=5,
                       replications=2)  # fmt: skip
    first, second = compared.standings.itertuples()
    for row in (first, second):
        assert row.regret == pytest.approx(row.ceiling - row.accuracy_weighted_goodput)
        assert row.reached == pytest.approx(1 - row.regret / row.ceiling)
    assert 0 <= first.regret <= second.regret


SERVED = {"table": EPYC, "trace": "poisson:duration=3", "load": 0.8, "slo_ms": 100.0, "task": "sst2"}


def test_standing_rivals_run_on_the_requests_of_every_replication():
    compared = compare("slackfit;adaptive", replications=2, rivals=True, **SERVED)
    rivals = compared.rivals.set_index("serves")
    assert set(rivals.index) == {"teacher-6x384", "students-2x384", "students+teacher"}
    for serves in ("teacher-6x384", "students+teacher"):
        row, values = rivals.loc[serves], []
        for seed in (0, 1):
            its = {
                "table": EPYC,
                "rate": compared.settings.rate,
                "slo_ms": 100.0,
                "seed": seed,
                "trace": SERVED["trace"],
            }
            trace = prepare(Settings(**its)).trace
            own = simulate(trace, row.policy, EPYC, model=row.model, task="sst2", slo_s=0.1)
            values.append(own.summary["accuracy_weighted_goodput"])
        assert row.accuracy_weighted_goodput == pytest.approx(np.mean(values), abs=1e-12)
    assert "students" in compared.right
    alone = compare("slackfit;adaptive", replications=2, **SERVED)
    assert alone.rivals.empty
    pandas.testing.assert_frame_equal(alone.standings, compared.standings)


def test_the_command_shows_the_rivals_and_which_is_right(capsys):
    flags = ["--trace", "poisson:duration=3", "--load", "0.8", "--seeds", "2"]
    assert main(["compare", *flags]) == 0
    shown = capsys.readouterr().out
    assert re.search("^rival .*serves$", shown, re.MULTILINE)
    assert {"teacher-12x384", "single+teacher"} <= {each.split()[-1] for each in shown.splitlines() if each}
    assert main(["compare", *flags, *ALONE]) == 0
    assert "rival" not in capsys.readouterr().out
