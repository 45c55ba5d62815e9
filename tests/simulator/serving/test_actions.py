"""Preempt, Scale and batches of some layers: requests come back, GPUs come and go, nothing is lost."""

from __future__ import annotations

import numpy as np
import pytest
from doubles import Says, batches, run, seconds_table, trace

from policies import Dispatch, Preempt, Scale, Wait
from profiler.events import BatchPlan, Span
from simulator import simulate
from simulator.conformance.cases import formula

STOPS = {"every_arrival": True, "needs": frozenset({"preempt"})}
SCALES = {"every_arrival": True, "needs": frozenset({"scale"})}


def test_a_preempted_batch_ends_then_and_its_requests_wait_again_in_their_place():
    def newest_first(view, _):
        if not view.idle:
            return Preempt(0) if view.now == 0.25 and view.waiting == 1 else Wait()
        return Dispatch(view.oldest(view.waiting), view.levels[-1])

    report = run(Says(newest_first, **STOPS), trace(0, 0, 0.25))
    assert report.batches["start_s"].tolist() == [0, 0.25]
    assert report.batches["finish_s"].tolist() == [0.25, 1.25]
    assert report.batches["size"].tolist() == [2, 3]
    assert report.batches["answered"].tolist() == [False, True]
    assert report.requests["batch"].tolist() == [1, 1, 1]
    assert report.summary["batches"] == 2
    assert report.summary["utilisation"] == 1


def test_preempted_requests_are_back_in_their_lines_and_by_deadline():
    seen = []

    def answer(view, _):
        if not view.idle:
            return Preempt(0) if view.now == 0.5 else Wait()
        if view.now == 0.5:
            seen.append((list(view.bucket(0).oldest(9)), list(view.bucket(1).oldest(9)), list(view.by_deadline(9))))
            seen.append(view.waiting_by_bucket())
            return Dispatch(view.by_deadline(9), view.levels[-1])
        assert view.waiting_by_bucket() == [1, 1]
        return Dispatch(list(view.by_deadline(9)), view.levels[-1])

    requests = trace(0, 0, 0.5, tokens=[9, 40, 9], slo_s=np.array([9.0, 5.0, 1.0]))
    run(Says(answer, **STOPS), requests)
    assert seen == [([0, 2], [1], [2, 1, 0]), [2, 1]]


def test_a_policy_that_preempts_for_ever_is_stopped():
    def restless(view, _):
        return Dispatch(view.oldest(1), view.levels[-1]) if view.idle else Preempt(0)

    with pytest.raises(ValueError, match="does not settle"):
        run(Says(restless, **STOPS), trace(0, 0))


def test_preempting_an_idle_gpu_is_an_error():
    with pytest.raises(ValueError, match="preempts GPU 1"):
        run(Says(lambda view, _: Preempt(1), **STOPS), trace(0), gpus=2)


def test_what_the_executor_does_not_offer_is_refused_before_the_run():
    class Plain:
        offers = frozenset()

    with pytest.raises(ValueError, match="needs 'preempt'"):
        run(Says(lambda view, _: Wait(), **STOPS), trace(0), executor=Plain())


def test_an_added_gpu_serves_after_its_cold_start_and_the_highest_goes_first():
    def answer(view, _):
        if view.now == 0 and view.gpus == 1:
            return Scale(2)
        if view.now >= 3 and view.gpus == 2:
            return Scale(1)
        return Dispatch(view.oldest(1), view.levels[-1]) if view.idle and view.waiting else Wait()

    report = run(Says(answer, **SCALES), trace(0, 0, 0, 0, 3), cold_start_s=0.5)
    assert report.batches["gpu"].tolist() == [0, 1, 0, 1, 0]
    assert report.batches["start_s"].tolist() == [0, 0.5, 1, 1.5, 3]
    # Two from 0 to 3, then one until 4.
    assert report.summary["gpu_seconds"] == 7
    assert report.summary["utilisation"] == 5 / 7


def test_a_gpu_that_is_too_many_finishes_its_batch():
    def answer(view, _):
        if view.now == 0.5 and view.gpus == 2:
            return Scale(1)
        return Dispatch(view.oldest(1), view.levels[-1]) if view.idle and view.waiting else Wait()

    report = run(Says(answer, **SCALES), trace(0, 0, 0.5, 0.5), gpus=2)
    assert report.batches["gpu"].tolist() == [0, 1, 0, 0]
    assert report.batches["start_s"].tolist() == [0, 0, 1, 2]
    assert report.summary["gpu_seconds"] == 4


def test_a_gpu_that_is_wanted_again_before_it_was_removed_stays():
    def answer(view, _):
        if view.now == 0.5:
            return Scale(1) if view.gpus == 2 else Wait()
        if view.now == 0.75 and view.gpus == 1:
            return Scale(2)
        return Dispatch(view.oldest(1), view.levels[-1]) if view.idle and view.waiting else Wait()

    report = run(Says(answer, **SCALES), trace(0, 0, 0.5, 0.75), gpus=2)
    assert report.batches["start_s"].tolist() == [0, 0, 1, 1]


def test_scaling_policies_are_asked_while_nothing_waits_and_the_run_still_ends():
    asked = []

    def answer(view, _):
        asked.append(view.now)
        if view.waiting and view.idle:
            return Dispatch(view.oldest(1), view.levels[-1])
        return Wait(until=view.now + 1)

    run(Says(answer, **SCALES), trace(0, 5000))
    assert asked[:4] == [0, 0, 1, 2]
    assert asked[-1] == 5000


def test_scaling_without_declaring_it_is_an_error():
    with pytest.raises(ValueError, match="declare needs"):
        run(Says(lambda view, _: Scale(2)), trace(0))


def test_layers_take_their_share_and_the_requests_wait_for_the_rest():
    table = seconds_table()
    depth = table.levels("students-2x8")[-1].depth
    progress: dict[int, int] = {}

    def answer(view, _):
        first = progress.get(0, 0)
        progress[0] = first + 1
        return Dispatch(view.oldest(2), view.levels[-1], plan=BatchPlan(span=Span(first, first + 1)))

    report = run(Says(answer, needs=frozenset({"layers"})), trace(0, 0), table)
    assert depth == 2
    assert batches(report) == [(0, []), (0.5, [0, 1])]
    assert report.requests["finish_s"].tolist() == [1, 1]
    assert report.summary["students_mean"] == 2
    assert report.batches["answered"].tolist() == [False, True]


def test_layers_that_a_level_does_not_have_are_an_error():
    policy = Says(
        lambda view, _: Dispatch(view.oldest(1), view.levels[-1], plan=BatchPlan(span=Span(1, 3))),
        needs=frozenset({"layers"}),
    )
    with pytest.raises(ValueError, match="dispatched layers 1 to 3"):
        run(policy, trace(0))


def test_the_future_is_given_to_policies_that_need_it_before_they_start():
    got = []

    class Knows(Says):
        def foresee(self, requests):
            got.append(len(requests))

        def start(self, view):
            got.append("start")

    simulate(
        trace(0, 1, 2),
        Knows(lambda view, _: Dispatch(view.oldest(9), view.levels[-1]), needs=frozenset({"future"})),
        formula([1], [16], [64]),
    )
    assert got == [3, "start"]
