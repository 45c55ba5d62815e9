"""Exits simulated: who leaves where and when, by brute force; what a ramp costs; what a policy learns, and when."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from exit_doubles import LAYERS, MODEL, made_up, table, traffic, write

from policies.batching.greedy import Greedy
from policies.interface import Dispatch, Final, Policy, Release, View
from profiler.answers.recorded import Answers
from profiler.events import BatchPlan, Cut
from profiler.table import Deployment
from simulator import simulate
from simulator.core import PolicyError
from simulator.executors.exits import Exits
from simulator.queue.backlog import Backlog
from simulator.reporting.report import Report
from simulator.reporting.summary import busy_seconds
from traces import Trace

RAMPS = ((3, 0.9), (7, 0.95), (9, 0.8))


@dataclass
class Planning:
    """Greedy, with one plan for every batch; hears what it names."""

    plan: BatchPlan | None = None
    uses: frozenset[str] = frozenset({"waiting", "levels", "oldest", "now", "plan"})
    needs: frozenset[str] = frozenset({"exits"})
    inner: Policy = field(default_factory=lambda: Greedy(max_batch=6))
    heard: list[tuple[float, Any]] = field(default_factory=list)

    def start(self, view: View) -> None:
        self.inner.start(view)
        self._view = view

    def decide(self, view: View) -> Any:
        action = self.inner.decide(view)
        return replace(action, plan=self.plan) if type(action) is Dispatch else action

    def observe(self, event: object) -> None:
        HEARD.append((self._view.now, event))


HEARD: list[tuple[float, Any]] = []


@pytest.fixture(scope="module")
def items() -> Answers:
    return made_up(served=3000, tuning=500)


@pytest.fixture(scope="module")
def recorded(items: Answers, tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(write(tmp_path_factory.mktemp("exits") / "items.parquet", items))


def planned(recorded: str, ramps: Any = RAMPS, sure: str = "result", by: str = "confidence") -> BatchPlan:
    cuts = [Cut(layer, least, "layers", by) for layer, least in ramps]
    return BatchPlan((*cuts, Cut(LAYERS, 0.0, "layers", by)), sure, recorded)


def run(plan: BatchPlan | None, trace: Trace, *uses: str, times: Any = None, **how: Any) -> Report:
    policy: Any = Planning(plan, Planning.uses | set(uses))
    HEARD.clear()
    return simulate(trace, policy, table() if times is None else times, slo_s=1.0, **how)


def left(items: Answers, row: int, ramps: Any = RAMPS) -> int:
    """The layer at which a request leaves: the first ramp whose confidence is above its threshold, else the last."""
    return next((layer for layer, least in ramps if float(items.confidence[layer - 1, row]) > least), LAYERS)


def times_of(report: Report, number: int) -> tuple[float, Any, int]:
    """What a batch takes whole, the times of its layers, and its bucket."""
    deployment = Deployment.of(table())
    _, _, _, _, bucket, requests = report.records.batches[number]
    at = deployment.predictions
    return at.service[0][bucket][len(requests)], at.layers[0][bucket][len(requests)], bucket


def test_answers_leave_where_and_when_brute_force_says(items: Answers, recorded: str) -> None:
    trace = traffic(items, requests=600, load=0.7)
    report = run(planned(recorded), trace)
    requests = report.request_columns()
    for request, row in enumerate(trace.item.tolist()):
        layer = left(items, row)
        number = int(requests["batch"][request])
        whole, (end, ramp, release), _ = times_of(report, number)
        assert requests["exit"][request] == layer
        answer = items.teacher_answer[row] if layer == LAYERS else items.answer[layer - 1, row]
        assert requests["agrees"][request] == (answer == items.teacher_answer[row])
        assert requests["correct"][request] == (answer == items.label[row])
        spent = sum(ramp[each - 1] for each, _ in RAMPS if each <= layer)
        full = whole + sum(ramp[each - 1] for each, _ in RAMPS)
        after = full if layer == LAYERS else min(full, end[layer - 1] + spent + release[layer - 1])
        assert requests["finish_s"][request] - requests["start_s"][request] == pytest.approx(after, rel=1e-9)
        assert report.batch_columns["service_s"][number] == pytest.approx(full, rel=1e-9)
    found = report.summary
    assert found["agreement"] == requests["agrees"].mean() < 1
    assert found["label_accuracy"] == found["accuracy"] == pytest.approx(requests["correct"].mean())
    assert found["exit_layer_mean"] == requests["exit"].mean() < LAYERS


def test_ties_stay(items: Answers, recorded: str) -> None:
    trace = traffic(items, requests=50)
    tie = float(items.confidence[6, trace.item[7]])
    for least, leaves in ((tie, False), (np.nextafter(tie, 0), True)):
        exits = run(planned(recorded, ((7, least),)), trace).request_columns()["exit"]
        assert (exits[7] == 7) == leaves


def test_higher_thresholds_never_let_more_leave(items: Answers, recorded: str) -> None:
    trace, before = traffic(items, requests=500), None
    for least in (0.5, 0.7, 0.9, 0.99, 1.0):
        exits = run(planned(recorded, ((5, least), (8, least))), trace).request_columns()["exit"]
        assert before is None or (exits >= before).all()
        before = exits
    assert (before == LAYERS).all()


def test_no_ramps_are_the_plain_run_bit_for_bit(items: Answers, recorded: str) -> None:
    trace = traffic(items, requests=2000, load=0.9)
    plain, bare = (run(plan, trace) for plan in (None, planned(recorded, ())))
    ours, theirs = plain.request_columns(), bare.request_columns()
    for name in set(ours):
        assert np.array_equal(ours[name], theirs[name]), name
    assert {name: bare.summary[name] for name in plain.summary if "accuracy" not in name} == {
        name: value for name, value in plain.summary.items() if "accuracy" not in name
    }
    assert bare.summary["agreement"] == 1.0
    assert bare.summary["exit_layer_mean"] == LAYERS


def test_the_time_of_ramps_delays_the_queue_unless_counted_as_the_paper_does(items: Answers, recorded: str) -> None:
    trace, dear = traffic(items, requests=2000, load=0.9), table(ramp=0.05)
    plan = planned(recorded, tuple((layer, 1.0) for layer in (3, 6, 9)))
    plain, honest = run(None, trace, times=dear), run(plan, trace, times=dear)
    legacy = run(plan, trace, times=dear, legacy_accounting=True)
    assert honest.summary["wait_mean_s"] > 1.05 * plain.summary["wait_mean_s"]
    assert np.array_equal(legacy.times["start_s"], plain.times["start_s"])
    extra = 0.15 * (plain.times["finish_s"] - plain.times["start_s"])
    assert legacy.times["finish_s"] == pytest.approx(plain.times["finish_s"] + extra)
    assert busy_seconds(honest) > busy_seconds(plain)
    with pytest.raises(ValueError, match="legacy"):
        simulate(trace, "greedy", dear, legacy_accounting=True)


def test_those_that_are_left_go_on_in_a_smaller_batch(items: Answers, recorded: str) -> None:
    trace = traffic(items, requests=800, load=1.5)
    report = run(planned(recorded, sure="compact"), trace)
    known = Deployment.of(table()).predictions
    buckets = known.plan.buckets(trace.tokens)
    finish, exits = report.times["finish_s"], report.request_columns()["exit"]
    assert report.summary["batch_mean"] > 2
    for start, done, _, _, _, requests in report.records.batches:
        ids, before, now = np.asarray(requests), 0, start
        for layer in (*(each for each, _ in RAMPS), LAYERS):
            bucket, count = int(buckets[ids].max()), len(ids)
            end, ramp, release = known.layers[0][bucket][count]
            until = known.service[0][bucket][count] if layer == LAYERS else end[layer - 1] + ramp[layer - 1]
            now += until - (end[before - 1] if before else 0.0)
            leaving = np.array([left(items, int(trace.item[each])) == layer for each in ids])
            out = now + (0 if layer == LAYERS else release[layer - 1])
            assert finish[ids[leaving]] == pytest.approx(out)
            assert (exits[ids[leaving]] == layer).all()
            ids, before = ids[~leaving], layer
            if not len(ids):
                break
        assert done == pytest.approx(out)
    assert busy_seconds(report) < 0.95 * busy_seconds(run(planned(recorded), trace))


def test_a_truncated_batch_ends_at_its_last_ramp(items: Answers, recorded: str) -> None:
    trace = traffic(items, requests=300)
    cuts = planned(recorded).cuts
    plan = BatchPlan((*cuts[:2], cuts[2]._replace(least=0.0)), "truncate", recorded)
    report = run(plan, trace)
    requests = report.request_columns()
    expected = [min(9, left(items, row)) for row in trace.item.tolist()]
    assert requests["exit"].tolist() == expected
    answer = items.answer[np.array(expected) - 1, trace.item]
    assert (requests["agrees"] == (answer == items.teacher_answer[trace.item])).all()
    number = int(requests["batch"][expected.index(9)])
    _, (end, ramp, release), _ = times_of(report, number)
    spent = sum(ramp[layer - 1] for layer, _ in RAMPS)
    assert report.batch_columns["service_s"][number] == pytest.approx(end[8] + spent + release[8])


def test_a_request_leaves_by_a_streak_or_where_it_agrees(items: Answers, recorded: str) -> None:
    trace, layers = traffic(items, requests=300), range(1, LAYERS)
    streak = run(planned(recorded, [(layer, 3.0) for layer in layers], by="streak"), trace).request_columns()
    agrees = run(planned(recorded, [(layer, 1.0) for layer in layers], by="agrees"), trace).request_columns()
    for request, row in enumerate(trace.item.tolist()):
        own = items.answer[: LAYERS - 1, row].tolist()
        alike = [layer for layer in range(3, LAYERS) if len(set(own[layer - 3 : layer])) == 1]
        assert streak["exit"][request] == (alike[0] if alike else LAYERS)
        right = [layer for layer in layers if own[layer - 1] == items.teacher_answer[row]]
        assert agrees["exit"][request] == (right[0] if right else LAYERS)
    assert agrees["agrees"].all()


def test_ramps_that_are_off_and_other_requests_change_nothing(items: Answers) -> None:
    """What no active ramp saw is NaN; so are the requests of other chunks, which come later."""
    known, rows = Deployment.of(table()).predictions, items.served[:2000]
    lengths = items.tokens[rows]
    waiting = Backlog(Trace(np.zeros(len(rows)), lengths), known.plan.buckets(lengths), len(known.plan.tokens), 1.0)
    blind = items.confidence.copy()
    blind[[layer for layer in range(LAYERS) if layer + 1 not in dict(RAMPS)]] = np.nan
    blind[:, rows[1100:]] = np.nan
    found = []
    for own in (items, replace(items, confidence=blind)):
        exits = Exits(known, own, rows, waiting.kind, hears=frozenset({"finals", "releases"}))
        plan = exits.known(planned("x"), known.levels[0])
        batches = [exits.run(at, plan, 1, range(at, at + 5), 1.0) for at in range(0, 1000, 5)]
        found.append(repr(batches))
    assert found[0] == found[1]


@pytest.mark.parametrize("sure", ["result", "compact"])
def test_a_policy_learns_of_final_answers_when_they_are_there(items: Answers, recorded: str, sure: str) -> None:
    trace = traffic(items, requests=300, load=1.2)
    report = run(planned(recorded, sure=sure), trace, "finals", "completions", "releases")
    finals = [(now, event) for now, event in HEARD if type(event) is Final]
    by_batch = {tuple(row[5]): number for number, row in enumerate(report.records.batches)}
    assert len(finals) == len(by_batch)
    for now, event in finals:
        number = by_batch[tuple(event.requests)]
        _, (_, _, release), _ = times_of(report, number)
        done = report.batch_columns["finish_s"][number]
        assert now == event.time
        assert done < now <= done + 1.01 * max(release)
        rows = trace.item[np.asarray(event.requests)]
        ramps = event.ramps
        assert ramps is not None
        assert ramps.layers == tuple(layer for layer, _ in RAMPS)
        exits = np.array([left(items, row) for row in rows.tolist()])
        assert [(*ramps.layers, LAYERS)[place] for place in ramps.left] == exits.tolist()
        gone = (sure == "compact") & (exits < np.array(ramps.layers)[:, None])
        assert np.array_equal(np.isnan(ramps.confidence), gone)
        own = items.confidence[np.array(ramps.layers)[:, None] - 1, rows]
        assert (ramps.confidence[~gone] == own[~gone]).all()
        known = (sure == "result") | (exits == LAYERS)
        assert np.array_equal(ramps.final, np.where(known, items.teacher_answer[rows], -1))
        assert "correct" not in event.columns
    assert any(type(event) is Release and set(event.columns) == {"exit", "confidence"} for _, event in HEARD)


def test_plans_that_cannot_run_are_refused(items: Answers, recorded: str, tmp_path: Path) -> None:
    trace, plan = traffic(items, requests=20), planned(recorded)
    other = write(tmp_path / "other.parquet", replace(items, about={**items.about, "model": "another"}))
    for bad, times, said in (
        (plan, table(layers=False), "layers.csv"),
        (BatchPlan(plan.cuts[:-1], "result", recorded), table(), "12 layers"),
        (BatchPlan(plan.cuts, "return", recorded), table(), "return"),
        (planned(str(other)), table(), "another"),
    ):
        with pytest.raises(PolicyError, match=said):
            run(bad, trace, times=times)
    with pytest.raises(ValueError, match="confidence"):
        BatchPlan((Cut(3, 0.5, "layers"), Cut(12, 0.0, "layers")), recorded=recorded)


def test_releases_are_the_same_whether_a_policy_observes_them_or_not(items: Answers, recorded: str) -> None:
    trace = traffic(items, requests=500)
    ours, theirs = (run(planned(recorded), trace, *uses) for uses in ((), ("releases",)))
    assert ours.summary == theirs.summary
    for name, column in ours.request_columns().items():
        assert np.array_equal(column, theirs.request_columns()[name]), name
    assert ours.requests["model"].eq(MODEL).all()


@pytest.mark.parametrize("sure", ["result", "compact", "truncate"])
@pytest.mark.parametrize("gpus", [1, 2])
def test_what_is_worked_out_after_a_run_is_what_events_would_have_said(
    items: Answers, recorded: str, sure: str, gpus: int
) -> None:
    """Who hears of releases gets events; nobody else does, and the columns of the output are the same."""
    plan = planned(recorded, sure=sure)
    plan = replace(plan, cuts=plan.cuts[:-1]) if sure == "truncate" else plan
    trace = traffic(items, requests=800, load=1.1 * gpus)
    told, quiet = (run(plan, trace, *uses, gpus=gpus).request_columns() for uses in (("releases", "finals"), ()))
    assert set(told) == set(quiet)
    for name in told:
        if told[name].dtype.kind == "f":
            np.testing.assert_allclose(quiet[name], told[name], rtol=1e-12, atol=1e-12, err_msg=name)
        else:
            assert np.array_equal(quiet[name], told[name]), name
