"""Policies that break a rule: the run ends with one line that names the policy and what it did."""

from __future__ import annotations

import re

import numpy as np
import pytest
from conftest import formula_table
from doubles import Says, batches, run, trace

from policies import Dispatch, Drop, Scale, Wait, make
from policies.batching.greedy import Greedy
from simulator import simulate
from simulator.core import PolicyError

OTHER = formula_table(lambda *_: 1.0, students=(1, 2, 3)).levels("students-2x8")


def complaint(answer, *arrivals, **named):
    """The complaint about a policy that answers so; three requests wait at 0.25 s, one more comes later."""
    with pytest.raises(PolicyError) as caught:
        run(Says(answer), trace(*(arrivals or (0.25, 0.25, 0.25, 9))), **named)
    message = str(caught.value)
    assert re.match(r"policy Says at \d+\.\d{6} s ", message), message
    return message


def dispatch(requests, **named):
    return lambda view, _: Dispatch(requests, view.levels[-1], **named)


@pytest.mark.parametrize(
    ("requests", "message"),
    [
        (range(4), "request 3.*arrived"),
        ([3], "request 3.*arrived"),
        ([99], "request 99.*arrived"),
        ([-1], "request -1.*arrived"),
        (range(2, -2, -1), "request -1.*arrived"),
        ([0, 1, 0], "request 0.*twice"),
        ([0], "request 0.*twice"),
        ([], "no requests"),
        (range(0), "no requests"),
        (range(9), "9 requests.* 8"),
        (7, "7"),
        ("ab", "'ab'"),
        ([0.5], "0.5"),
        ([None], "None"),
        (range(10**30), "range"),
        ((1 / 0 for _ in "ab"), "generator"),
        (np.full((3, 2), 7), "whole numbers"),
    ],
)
def test_a_dispatch_of_requests_that_do_not_wait_is_an_error(requests, message):
    assert re.search(message, complaint(dispatch(requests)))


@pytest.mark.parametrize(
    ("gpu", "message"),
    [
        (2, r"GPU 2\b.*\[0, 1\]"),
        (-1, r"GPU -1\b.*\[0, 1\]"),
        ("first", r"GPU first\b.*\[0, 1\]"),
        (np.array([0, 1]), r"GPU \[0 1\].*\[0, 1\]"),
    ],
)
def test_a_dispatch_to_a_gpu_that_is_not_there_is_an_error(gpu, message):
    assert re.search(message, complaint(dispatch([0], gpu=gpu), gpus=2))


@pytest.mark.parametrize("gpu", [np.int64(1), 1.0, True])
def test_the_gpu_of_a_batch_is_recorded_as_a_number(gpu):
    report = run(Says(lambda view, _: Dispatch(view.oldest(1), view.levels[-1], gpu)), trace(0), gpus=2)
    assert [type(row[2]) for row in report.records.batches] == [int]


@pytest.mark.parametrize("wait", [Wait("soon"), Wait(10**400), Wait(waiting="3"), Wait(waiting=2.5), Wait(bucket=[])])
def test_a_wait_that_makes_no_sense_is_an_error(wait):
    complaint(lambda view, _: wait)


@pytest.mark.parametrize("wrong", [SystemExit(0), GeneratorExit(), StopIteration(), ValueError("two\nlines")])
@pytest.mark.parametrize("where", ["start", "decide", "observe"])
def test_whatever_a_policy_raises_ends_the_run_in_a_line(wrong, where):
    class Exits(Greedy):
        pass

    def raises(self, *_):
        raise wrong

    setattr(Exits, where, raises)
    with pytest.raises(ValueError) as caught:
        run(Exits(), trace(0))
    assert caught.value is wrong or re.search(rf"raised .*{type(wrong).__name__}: ?[^\n]*$", str(caught.value))


def test_ctrl_c_in_a_policy_is_not_its_mistake():
    def answer(view, _):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(Says(answer), trace(0))


def test_a_dispatch_to_a_busy_gpu_is_an_error():
    one = complaint(lambda view, _: Dispatch(view.oldest(1), view.levels[-1], 1), gpus=2)
    assert re.search(r"GPU 1\b.*\[0\]", one)
    every = Says(lambda view, _: Dispatch(view.oldest(1), view.levels[-1]), every_arrival=True)
    with pytest.raises(PolicyError, match="busy GPUs"):
        run(every, trace(0, 0))


@pytest.mark.parametrize("level", [None, 1, "students-2x8/2", OTHER[0], OTHER[2]])
def test_a_dispatch_at_a_level_that_is_not_the_views_is_an_error(level):
    assert "view.levels" in complaint(lambda view, _: Dispatch(view.oldest(1), level))


@pytest.mark.parametrize(
    ("drop", "message"),
    [
        (Drop([]), "no requests"),
        (Drop([3]), "request 3.*arrived"),
        (Drop([0, 0]), "request 0.*twice"),
        (Drop(1), "1"),
        (Drop(range(1, 10**12)), "so many wait: 3"),
        (Drop([0], None), "None"),
        (Drop([0], "a,b"), "a,b"),
        (Drop([0], "a\nb"), "reason"),
    ],
)
def test_a_drop_of_requests_that_do_not_wait_is_an_error(drop, message):
    assert re.search(message, complaint(lambda view, _: drop))


def test_what_was_dropped_cannot_be_dispatched():
    assert "request 1," in complaint(lambda view, number: Drop([1]) if number == 1 else Dispatch([1], view.levels[-1]))


@pytest.mark.parametrize("answer", [None, 0, "wait", (), ([0], None), Dispatch, [Drop([0])]])
def test_an_answer_that_is_none_of_the_three_is_an_error(answer):
    assert "Dispatch, Wait, Drop" in complaint(lambda view, _: answer)


class Raises(Greedy):
    """Raises in one of its methods."""

    def start(self, view):
        super().start(view)
        if self.max_batch == 1:
            raise RuntimeError("in start")

    def decide(self, view):
        if self.max_batch == 2:
            return {}["in decide"]
        return super().decide(view)

    def observe(self, completion):
        if self.max_batch == 3:
            raise RuntimeError("in observe")


@pytest.mark.parametrize(("where", "method"), [(1, "start"), (2, "decide"), (3, "observe")])
def test_a_policy_that_raises_is_named_with_file_and_line(where, method):
    with pytest.raises(PolicyError, match=rf"policy Raises .*in {method}.*test_misbehaving\.py, line \d+\)"):
        run(Raises(max_batch=where), trace(0))


class OwnInterrupt(KeyboardInterrupt):
    """A policy's own: Ctrl-C is a KeyboardInterrupt itself."""


class Leaves(Greedy):
    """Raises in one of its methods what is no Exception, or calls exit()."""

    where, what = "", SystemExit
    every_arrival = property(lambda self: self.leave("every_arrival"))

    def leave(self, where):
        if self.where == where:
            exit() if self.what is None else _raise(self.what)
        return False

    def start(self, view):
        self.leave("start")
        super().start(view)

    def decide(self, view):
        self.leave("decide")
        return super().decide(view)

    def observe(self, completion):
        self.leave("observe")

    def foresee(self, trace):
        self.leave("foresee")

    def __deepcopy__(self, memo):
        self.leave("copied")
        return self


def _raise(what):
    raise what("of its own")


@pytest.mark.parametrize("what", [None, SystemExit, GeneratorExit, OwnInterrupt])
@pytest.mark.parametrize("where", ["start", "decide", "observe", "foresee", "copied", "every_arrival"])
def test_whatever_a_policy_raises_is_its_error(where, what):
    policy = Leaves()
    policy.where, policy.what = where, what
    policy.needs = frozenset({"future"} if where == "foresee" else ())
    with pytest.raises(
        PolicyError, match=r"policy Leaves .*(SystemExit|GeneratorExit|OwnInterrupt).*test_misbehaving\.py"
    ):
        run(policy, trace(0))


def test_ctrl_c_within_a_policy_is_ctrl_c():
    policy = Leaves()
    policy.where, policy.what = "decide", KeyboardInterrupt
    with pytest.raises(KeyboardInterrupt):
        run(policy, trace(0))


@pytest.mark.parametrize(
    "wrong", [3, "stops", {1, 2}, [None], property(lambda self: 1 / 0), property(lambda self: exit())]
)
@pytest.mark.parametrize("name", ["needs", "uses"])
def test_needs_and_uses_that_are_no_set_of_names_are_refused(name, wrong):
    kind = type("Wrong", (Greedy,), {name: wrong, "observe": lambda self, event: None})
    with pytest.raises(ValueError, match=rf"policy Wrong: {name} "):
        run(kind(), trace(0))


@pytest.mark.parametrize("gpus", [10**9, 10**20, 0, -1, 1.5])
def test_a_fleet_that_cannot_be_is_refused_at_once(gpus):
    policy = Says(lambda view, _: Scale(gpus))
    policy.needs = frozenset({"scale"})
    with pytest.raises(PolicyError, match="scales to"):
        run(policy, trace(0))


def test_the_line_of_a_mistake_about_the_view_is_the_policys():
    with pytest.raises(PolicyError, match=r"bucket 7\b.*test_misbehaving\.py, line \d+\)"):
        run(Says(lambda view, _: view.bucket(7)), trace(0))
    with pytest.raises(PolicyError, match=r"column tenant.*test_misbehaving\.py, line \d+\)"):
        run(Says(lambda view, _: view.tenant("a")), trace(0))


def test_an_error_of_a_policy_is_one_line():
    message = complaint(lambda view, _: 1 / 0)
    assert "ZeroDivisionError" in message
    assert "\n" not in message


def test_parameters_that_do_not_fit_the_table_are_plain_errors():
    with pytest.raises(ValueError, match=r"max_batch is 9.* 8"):
        run(make("greedy(max_batch=9)"), trace(0))


def test_the_policy_that_was_passed_stays_as_it_is():
    policy = make("aimd(target_s=5)")
    before = dict(vars(policy))
    run(policy, trace(0, 0, 0))
    assert vars(policy) == before


@pytest.mark.parametrize("kind", [list, tuple, np.array, lambda requests: range(requests[0], requests[-1] + 1)])
def test_requests_may_be_any_sequence_of_numbers(kind):
    report = run(Says(lambda view, _: Dispatch(kind(list(view.oldest(2))), view.levels[-1])), trace(0, 0, 0))
    assert batches(report) == [(0, [0, 1]), (1, [2])]


def test_requests_from_the_middle_leave_a_hole():
    order = [[1, 3], [0], [2, 4]]
    report = run(Says(lambda view, number: Dispatch(order[number - 1], view.levels[-1])), trace(0, 0, 0, 0, 0))
    assert batches(report) == [(0, [1, 3]), (1, [0]), (2, [2, 4])]


def test_a_policy_that_reuses_its_list_does_not_rewrite_what_happened():
    chosen: list[int] = []

    def answer(view, _):
        chosen[:] = list(view.oldest(2))[::-1]
        return Dispatch(chosen, view.levels[-1])

    assert batches(run(Says(answer), trace(0, 0, 0, 0))) == [(0, [0, 1]), (1, [2, 3])]


@pytest.mark.parametrize(
    "named",
    [
        {"gpus": 0},
        {"gpus": 10**20},
        {"slo_s": 0},
        {"slo_s": 1e300},
        {"slo_s": 1e-300},
        {"slo_s": np.nan},
        {"slo_s": np.inf},
        {"model": "bert"},
    ],
)
def test_a_run_that_makes_no_sense_is_refused(named):
    with pytest.raises((ValueError, LookupError), match=f"{next(iter(named))}"):
        run(Greedy(), trace(0), **named)


def test_a_table_of_many_lengths_charges_each_its_own_time():
    """More lengths than a byte can number."""
    many = formula_table(lambda k, b, t: 1e3 * t, batches=(1,), tokens=range(1, 301))
    report = simulate(trace(0.0, 1.0, tokens=[300, 44]), "none", many, slo_s=1)
    assert report.requests["padded_tokens"].tolist() == [300, 44]
    assert report.batches["service_s"].tolist() == pytest.approx([0.3, 0.044])


class Foreign:
    """A value that raises whatever is done with it."""

    def _raise(self, *_):
        raise OwnInterrupt("of its own")

    __repr__ = __str__ = __format__ = __eq__ = __hash__ = __len__ = __iter__ = __gt__ = __lt__ = __index__ = _raise


@pytest.mark.parametrize(
    "answer",
    [
        lambda view: Dispatch(Foreign(), view.levels[-1]),
        lambda view: Dispatch([Foreign()], view.levels[-1]),
        lambda view: Dispatch(view.oldest(1), Foreign()),
        lambda view: Dispatch(view.oldest(1), view.levels[-1], Foreign()),
        lambda view: Wait(Foreign()),
        lambda view: Drop(view.oldest(1), Foreign()),
    ],
)
def test_what_the_values_of_an_action_raise_is_the_error_of_the_policy(answer):
    with pytest.raises(PolicyError, match=r"policy Says .*OwnInterrupt.*test_misbehaving\.py"):
        run(Says(lambda view, _: answer(view)), trace(0))


def test_an_error_whose_message_raises_is_named_by_its_type():
    class Silent(Exception):
        def __str__(self):
            raise OwnInterrupt

    assert "Silent" in complaint(lambda view, _: (_ for _ in ()).throw(Silent()))
