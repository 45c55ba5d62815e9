"""CascadeServe: the Pareto front of cascades, the gear of every rate, and when gears shift; all worked out by hand."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from conftest import formula_table
from devices import batches, linear, run

from policies import make
from policies.machinery.cascades import Cascade, front, of_recorded
from policies.pruning.cascadeserve import CascadeServe
from profiler.answers.recorded import Answers
from profiler.events import Cut
from profiler.table import Predictions
from simulator import simulate
from simulator.conformance import check_policy
from traces import Trace

MODEL, SIZES = "students-2x8", (1, 2, 3, 4)


@pytest.fixture
def recorded(tmp_path: Path) -> Path:
    """Two prefixes on four texts that are learned from, and four others (every first row), all of them right."""
    label = np.zeros(8, np.int64)
    answer = np.array([[0, 0, 0, 0, 0, 1, 0, 1], [0, 0, 0, 0, 0, 0, 0, 1]])
    margin = np.array([[1, 0.97, 1, 0.97, 1, 0.6, 1, 0.1]] * 2, np.float32)
    names, place = np.full(8, "held-out", object), np.arange(8)
    more = {"teacher_answer": label, "teacher_confidence": margin[0], "about": {"model": MODEL, "task": "toy"}}
    path = tmp_path / "items.parquet"
    Answers(np.full(8, 9, np.int32), label, names, place, answer, (1 + margin) / 2, margin, **more).write(path)
    return path


def timed(accuracy=lambda k: 0.5):
    """k students take k (1 + b / 2) s for b requests."""
    seconds = linear(1, 0.5)
    return formula_table(
        lambda *key: 1e6 * seconds(*key), students=(1, 2), batches=SIZES, tokens=(16,), accuracy=accuracy, model=MODEL
    )


def known(accuracy=lambda k: 0.5):
    """What a policy knows of this table."""
    table = timed(accuracy)
    return Predictions(table, table.levels(MODEL), table.plan(MODEL))


def test_a_cascade_comes_to_what_its_recorded_answers_do(recorded):
    found = {each.plan.cuts: each for each in of_recorded(Answers.read(recorded), known().levels, 2, "") if each.plan}
    # Of the rows 1, 3, 5, 7 two are certain of 0.7 and right; the second student gets one of the other two right.
    unsure = found[Cut(1, 0.7), Cut(2, 0.0)]
    assert (unsure.left, unsure.accuracy) == ((1.0, 0.5), 0.75)
    # Three are certain of 0.5, one of them wrongly, and the last is wrong at both.
    eager = found[Cut(1, 0.5), Cut(2, 0.0)]
    assert (eager.left, eager.accuracy) == ((1.0, 0.25), 0.5)
    # 4 take 3 s, and those of which 2 are left 2 s more; 1 takes 1.5 s, and half of that again.
    assert [unsure.seconds(known().service, 0, size) for size in (1, 4)] == [2.25, 5.0]


def test_the_front_has_what_is_more_accurate_than_all_that_is_faster(recorded):
    predictions = known()
    found = list(of_recorded(Answers.read(recorded), predictions.levels, 2, ""))
    kept = front(found, predictions.service)
    assert [(each.plan and each.plan.cuts, each.accuracy) for each in kept] == [
        (None, 0.5),
        ((Cut(1, 0.7), Cut(2, 0.0)), 0.75),  # both students take 6 s for 4, and are right as often
    ]
    unknown = [Cascade.whole(level) for level in known(accuracy=None).levels]
    assert front(unknown, predictions.service) == unknown


@pytest.mark.parametrize(
    ("slo_s", "gears"),
    [(10.0, [(2, 1), (2, 1), (2, 2), (2, 4), (1, 2)]), (8.5, [(2, 1), (2, 1), (2, 2), (1, 2), (1, 2)])],
)
def test_each_range_has_the_most_accurate_cascade_that_serves_it_with_the_least_batch(recorded, slo_s, gears):
    """The cascade takes 2.25, 3.5, 4.25 and 5 s for 1 to 4, one student 1.5, 2, 2.5 and 3 s.

    At 0.57 a second 1 in 2.25 s is too slow, 2 in 3.5 s are not; at 0.76 it takes 4, the first of which waits 3.95 s
    for the others, 8.95 s in all; at 0.95 not even these are enough, but 2 in 2 s by one student are.
    """
    predictions = known()
    policy = make(f"cascadeserve(ranges=5, qps_max=0.95, items={str(recorded)!r})")
    assert isinstance(policy, CascadeServe)
    view = SimpleNamespace(
        levels=predictions.levels, service=predictions.service, plan=predictions.plan, gpus=1, slo_s=slo_s
    )
    found, width = policy.gear_plan(view)
    assert width == pytest.approx(0.19)
    assert [(cascade.level.students, least) for cascade, least in found] == gears
    view.gpus = 2  # of which each has half the rate
    assert [(cascade.level.students, least) for cascade, least in policy.gear_plan(view)[0]][:4] == [(2, 1)] * 4


def test_the_ranges_end_where_the_fastest_is_at_its_limit(recorded):
    # One student serves 4 in 3 s, and 2 in 2 s where 2.5 s are the target.
    predictions, policy = known(), make(f"cascadeserve(ranges=1, items={str(recorded)!r})")
    for slo_s, most in ((10.0, 4 / 3), (2.25, 1.0), (1.0, 1 / 1.5)):
        view = SimpleNamespace(
            levels=predictions.levels, service=predictions.service, plan=predictions.plan, gpus=1, slo_s=slo_s
        )
        assert policy.gear_plan(view)[1] == pytest.approx(most)


#: Two students take 2 s, one takes 1 s; up to 1 a second pairs of two students are enough, up to 2 pairs of one.
TWO = {"seconds": lambda k, b, t: float(k), "students": (1, 2), "accuracy": lambda k: 0.8 + k / 20, "slo_s": 10}
SPEC = "cascadeserve(ranges=2, qps_max=2.0, max_batch=2, period_s=10.0, alpha={})"


def test_a_batch_waits_for_the_least_of_its_gear_but_not_too_long():
    assert batches(SPEC.format(0), [0, 3], **TWO) == [(3, 2)]
    assert batches(SPEC.format(0), [0], **TWO) == [(8, 1)]


def test_the_rate_shifts_the_gear_once_a_period():
    arrivals = [*np.arange(1, 16) * 0.5, 10, 10.25, *(np.arange(4) + 24)]
    found = run(SPEC.format(0), arrivals, **TWO).batches
    students = dict(zip(found["start_s"].tolist(), found["students"].tolist(), strict=True))
    # At 10.5 s 17 came in the last 10 s; at 24 s the last rate that counts is of one in 10 s.
    assert {count for start, count in students.items() if start < 10} == {2}
    assert {count for start, count in students.items() if 11 <= start < 20} == {1}
    assert {count for start, count in students.items() if start > 24} == {2}


def test_while_the_queue_is_long_against_the_rate_no_lower_gear_is_taken():
    # Of 40 that come within 10 s, 10 are served by then and 20 by 20 s, when nothing has come for 10 s.
    arrivals = np.arange(40) * 0.25
    for alpha, last in ((8.0, 1), (0.0, 2)):
        found = run(SPEC.format(alpha), arrivals, **TWO).batches
        assert set(found["students"][found["start_s"] < 10]) == {2}
        assert set(found["students"][(found["start_s"] > 10) & (found["start_s"] < 20)]) == {1}
        assert set(found["students"][found["start_s"] > 20]) == {last}


def test_requests_that_are_not_certain_go_on_within_their_batch(recorded):
    trace = Trace(np.zeros(2), np.full(2, 9), item=np.array([1, 7]))
    spec = f"cascadeserve(ranges=1, qps_max=0.2, items={str(recorded)!r})"
    report = simulate(trace, spec, timed(), slo_s=10)
    assert report.requests["students"].tolist() == [1, 2]
    assert report.requests["finish_s"].tolist() == [2.0, 3.5]
    assert report.summary["accuracy"] == 0.5  # the second student is wrong, too


def test_it_keeps_the_rules_with_recorded_answers_and_plans_all_that_it_dispatches(recorded):
    check_policy(f"cascadeserve(items={str(recorded)!r})", seeds=range(2))
    predictions = known()
    policy = make(f"cascadeserve(items={str(recorded)!r})")
    plans = list(policy.plans(predictions.levels, predictions.service))
    assert [(each.bucket, each.size) for each in plans] == [(0, size) for size in SIZES]
    assert {each.plan.cuts for each in plans} == {(Cut(1, 0.7), Cut(2, 0.0))}


@pytest.mark.parametrize(
    "wrong", ["ranges=0", "alpha=-1.0", "period_s=0.0", "qps_max=0.0", "qps_max=5e-324", "stages=0"]
)
def test_values_out_of_range_are_refused(wrong):
    with pytest.raises(ValueError, match="cascadeserve needs"):
        run(f"cascadeserve({wrong})", [0])


def test_far_beyond_the_last_range_the_last_gear_serves(recorded):
    spec = "cascadeserve(items={!r}, qps_max={})"
    assert batches(spec.format(str(recorded), 1e-320), [0, 0.1]) == batches(spec.format(str(recorded), 1e-3), [0, 0.1])


def test_answers_of_another_model_are_refused_by_name(recorded):
    with pytest.raises(ValueError, match=MODEL):
        simulate(Trace(np.zeros(1), np.full(1, 9)), f"cascadeserve(items={str(recorded)!r})", "synthetic")
