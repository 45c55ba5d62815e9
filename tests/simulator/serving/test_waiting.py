"""What a Wait means (DESIGN section 3), on a device on which every batch takes one second."""

from __future__ import annotations

import re
from math import inf, nan

import numpy as np
import pytest
from doubles import Says, batches, run, seconds_table, trace

from policies import Dispatch, Drop, Wait
from simulator.core import PolicyError


def all_of(view):
    return Dispatch(view.oldest(view.waiting), view.levels[-1])


def waiting_once(wait):
    """Waits once, then takes all; `asked` has the times of the questions."""
    asked = []

    def answer(view, number):
        asked.append(view.now)
        return wait(view) if number == 1 else all_of(view)

    return Says(answer, times=asked)


def test_a_wait_ends_at_its_time():
    policy = waiting_once(lambda view: Wait(until=0.375))
    assert batches(run(policy, trace(0, 5))) == [(0.375, [0]), (5, [1])]


def test_a_wait_with_a_time_ends_also_with_one_more_request():
    assert batches(run(waiting_once(lambda view: Wait(until=9)), trace(0, 0.5))) == [(0.5, [0, 1])]


def test_a_bare_wait_ends_with_one_more_request():
    assert batches(run(waiting_once(lambda view: Wait()), trace(0, 0, 0.5, 0.75))) == [(0.5, [0, 1, 2]), (1.5, [3])]


def test_a_wait_for_a_number_ends_when_so_many_wait():
    requests = trace(0, 0.25, 0.5, 0.75)
    assert batches(run(waiting_once(lambda view: Wait(waiting=3)), requests)) == [(0.5, [0, 1, 2]), (1.5, [3])]


def test_of_a_time_and_a_number_the_first_to_come_ends_a_wait():
    requests = trace(0, 0.25, 0.5)
    assert batches(run(waiting_once(lambda view: Wait(0.375, 3)), requests)) == [(0.375, [0, 1]), (1.375, [2])]
    assert batches(run(waiting_once(lambda view: Wait(0.75, 2)), requests)) == [(0.25, [0, 1]), (1.25, [2])]


def test_arrivals_at_the_time_of_the_alarm_are_in_the_view():
    assert batches(run(waiting_once(lambda view: Wait(0.5, 9)), trace(0, 0.5, 0.5))) == [(0.5, [0, 1, 2])]


def test_a_wait_for_a_bucket_counts_that_bucket_alone():
    requests = trace(0, 0.25, 0.5, 0.75, 1.0, tokens=[9, 9, 40, 9, 40])
    two_long = waiting_once(lambda view: Wait(waiting=2, bucket=1))
    assert batches(run(two_long, requests)) == [(1.0, [0, 1, 2, 3, 4])]
    one_more_long = waiting_once(lambda view: Wait(bucket=1))
    assert batches(run(one_more_long, requests))[0] == (0.5, [0, 1, 2])


def test_a_completion_ends_a_wait_of_the_other_gpu():
    """One GPU works from 0 to 1; the other waits for what never comes, and is asked again at 1."""
    times = []

    def answer(view, number):
        times.append(view.now)
        if number == 1:
            return Dispatch(view.oldest(1), view.levels[-1])
        return Wait(waiting=9) if len(view.idle) == 1 else all_of(view)

    report = run(Says(answer), trace(0, 0), gpus=2)
    assert times == [0, 0, 1]
    assert batches(report) == [(0, [0]), (1, [1])]


def test_a_wait_while_a_gpu_works_may_be_one_that_nothing_else_ends():
    def answer(view, number):
        return Wait() if number == 2 else Dispatch(view.oldest(1), view.levels[-1])

    assert batches(run(Says(answer), trace(0, 0), gpus=2)) == [(0, [0]), (1, [1])]


def test_one_wait_stands_for_all_idle_gpus():
    asked = waiting_once(lambda view: Wait(until=0.5))
    run(asked, trace(0), gpus=4)
    assert asked.times == [0, 0.5]


def test_the_policy_is_not_asked_while_nothing_waits_or_all_gpus_work():
    asked = []
    policy = Says(lambda view, _: asked.append(view.now) or all_of(view))
    run(policy, trace(0, 0.25, 0.5, 7))
    assert asked == [0, 1, 7]


def test_a_policy_for_every_arrival_is_asked_while_all_gpus_work():
    times = []

    def answer(view, _):
        times.append((view.now, len(view.idle), view.waiting))
        return all_of(view) if view.idle else Wait()

    run(Says(answer, every_arrival=True), trace(0, 0.25, 0.5, 7))
    assert times == [(0, 1, 1), (0.25, 0, 1), (0.5, 0, 2), (1, 1, 2), (7, 1, 1)]


def test_a_policy_for_every_arrival_may_drop_while_all_gpus_work():
    def answer(view, _):
        if view.idle:
            return all_of(view)
        return Drop(view.oldest(1), "admission") if view.waiting > 1 else Wait()

    report = run(Says(answer, every_arrival=True), trace(0, 0.25, 0.5, 0.75))
    assert report.requests["outcome"].tolist() == ["ok", "rejected", "rejected", "ok"]


@pytest.mark.parametrize("until", [0.0, 0.1, -inf, np.float64(0.1)])
def test_a_wait_in_the_past_is_an_error(until):
    with pytest.raises(PolicyError, match=rf"policy Says at 0\.100000 s .*{re.escape(str(until))}"):
        run(Says(lambda view, _: Wait(until=until)), trace(0.1))


@pytest.mark.parametrize("waiting", [0, 1, 2, -1])
def test_a_wait_for_what_is_there_is_an_error(waiting):
    with pytest.raises(PolicyError, match=f" {waiting} requests.* 2 "):
        run(Says(lambda view, _: Wait(waiting=waiting)), trace(0.1, 0.1))


@pytest.mark.parametrize("wait", [Wait(waiting=3), Wait(inf, 99), Wait(bucket=1)])
def test_a_wait_that_nothing_can_end_is_an_error(wait):
    with pytest.raises(PolicyError, match=r"policy Says .*cannot come.* 2 "):
        run(Says(lambda view, _: wait), trace(0.1, 0.1))


def test_a_policy_that_only_sets_alarms_is_an_error():
    with pytest.raises(PolicyError, match=r"1000 times.* 2 requests"):
        run(Says(lambda view, _: Wait(until=view.now + 0.1)), trace(0, 0))


@pytest.mark.parametrize("named", [{"gpus": 1}, {"gpus": 2}, {"scales": True}])
def test_a_policy_whose_waits_are_over_in_no_time_is_an_error(named):
    """While a batch runs, on one GPU or beside an idle one, and where nothing waits until the next request."""

    def answer(view, number):
        if view.waiting and len(view.idle) == view.gpus:
            return Dispatch(view.oldest(1), view.levels[-1])
        return Wait(np.nextafter(view.now, inf))

    needs = frozenset({"scale"}) if named.pop("scales", False) else frozenset()
    with pytest.raises(PolicyError, match=r"1000 times.*microsecond"):
        run(Says(answer, needs=needs, every_arrival=True), trace(0.1, 0.1, 3600), **named)


def test_a_policy_may_poll_every_millisecond_for_as_long_as_a_batch_takes():
    polls = Says(lambda view, _: Dispatch(view.oldest(1), view.levels[-1]) if view.idle else Wait(view.now + 1e-4))
    polls.every_arrival = True
    assert batches(run(polls, trace(0, 0))) == [(0, [0]), (1, [1])]


def test_a_policy_that_waits_for_each_of_many_arrivals_is_not_cut_short():
    requests = trace(*np.arange(1500) / 1e3)
    report = run(
        Says(lambda view, _: all_of(view) if view.waiting == 1500 else Wait()),
        requests,
        table=seconds_table(batches=(1, 1500)),
    )
    assert report.batches["size"].tolist() == [1500]


@pytest.mark.parametrize(
    ("wait", "message"),
    [
        (Wait(until=nan), "nan"),
        (Wait(waiting=2.5), "2.5"),
        (Wait(waiting="3"), "'3'"),
        (Wait(until="soon"), "'soon'"),
        (Wait(until=9, bucket=2), "bucket 2"),
        (Wait(until=9, bucket=-1), "bucket -1"),
        (Wait(until=9, bucket=300), "bucket 300"),
    ],
)
def test_a_wait_that_makes_no_sense_is_an_error_that_names_the_policy(wait, message):
    def answer(view, number):
        assert number < 50, "went on waiting"
        return wait

    with pytest.raises(PolicyError, match=f"policy Says at .*{message}"):
        run(Says(answer), trace(0, 0))
