"""Every policy keeps the rules, and a policy that breaks one is an error that names it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

import pytest

from policies import POLICIES, RESIDENCY, Dispatch, Drop, Preempt, Scale, View, Wait, make, needs
from policies.batching.greedy import Greedy
from policies.interface import HEARD
from policies.machinery.wrapped import uses
from policies.pruning.adaptive.policy import Adaptive
from profiler.events import BatchPlan, Span
from simulator.conformance import check_policy


def specs():
    """Every policy; a wrapper around one that waits. Random compositions: tests/simulator/test_invariants.py."""
    for name, cls in POLICIES.items():
        if name == "partial":
            yield "partial(lru(timeout), layers=1, cost=0.1, burst=0.2)"
        elif "inner" in cls.__dataclass_fields__:
            yield f"{name}(timeout)"
        elif name in RESIDENCY:  # batches, which load nothing themselves
            yield f"lru({name}, prefetch='queue')"
        elif "future" not in needs(make(name)):  # an oracle refuses what it is not exact for
            yield name


#: What the defaults do not exercise, and compositions.
MORE = (
    "tokenbucket(codel(predicted(timeout), target_s=0.001, interval_s=0.005), classes=('gold',))",
    "buckets(adaptive, edges=(20, 40))",
    "router(shepherd, rule='least-backlog')",
    "admission(router(timeout, rule='two-choices'), max_waiting=20)",
    "strict(timeout, classes=('gold', 'silver', 'bronze'))",
    "autoscale(router(timeout), interval_s=0.002, look_back_s=0.002, up_delay_s=0.002, down_delay_s=0.002, most=5)",
    "weighted(adaptive, classes=('gold', 'silver', 'bronze'), weights=(3, 2, 1))",
    "admission(slora(greedy))",
    "router(lru(greedy, prefetch='queue'), rule='shortest')",
    "lfu(buckets(greedy), prefetch='popular')",
)


@pytest.mark.parametrize("spec", [*specs(), *MORE])
def test_every_policy_keeps_the_rules(spec):
    check_policy(spec, seeds=range(1))


def test_an_oracle_keeps_the_rules_where_it_is_exact():
    def exact(case):
        plan = case.table.plan("students-2x8")
        rows = [row for level in case.table.levels("students-2x8") for row in case.table.service(level, plan).tolist()]
        grows = len(plan.tokens) == 1 and all(row == sorted(row) for row in rows)
        if case.gpus == 1 and grows and case.trace.slo_s is None:
            tried.append(case.name)
        return case.name in tried

    tried = []
    check_policy("optimum", seeds=range(0, 80, 4), only=exact)
    assert len(tried) >= 3


def test_a_policy_comes_as_text_as_an_object_or_as_what_makes_one():
    check_policy("greedy(max_batch=3)", seeds=[1])
    check_policy(make("greedy(max_batch=3)"), seeds=[1])
    check_policy(Greedy, seeds=[1])
    with pytest.raises(AssertionError, match="3 is neither a policy"):
        check_policy(3)


@dataclass
class OneAtATime:
    """Right; the bad ones below differ from it in one thing each."""

    def decide(self, view):
        return Dispatch(view.oldest(1), view.levels[0])


class Clairvoyant(OneAtATime):
    """Looks at when the next request will come."""

    def decide(self, view):
        soon = view._backlog.next_arrival() < view.now + 1e-3
        return Dispatch(view.oldest(1), view.levels[0 if soon else -1])


class CountsTheFuture(OneAtATime):
    """Looks at how many requests there will be."""

    def decide(self, view):
        return Dispatch(view.oldest(1), view.levels[view._backlog.total % len(view.levels)])


class NewestFirst(OneAtATime):
    """Starves the oldest."""

    def decide(self, view):
        return Dispatch(list(view.oldest(view.waiting))[-1:], view.levels[0])


@dataclass
class Remembers(OneAtATime):
    """Its state is not reset by a start."""

    served: int = field(default=0, init=False)

    def decide(self, view):
        self.served += 1
        return Dispatch(view.oldest(1), view.levels[self.served % len(view.levels)])


class Shares(OneAtATime):
    """Its state is the class's, so a copy shares it."""

    served: ClassVar[list[int]] = []

    def decide(self, view):
        self.served.append(1)
        return Dispatch(view.oldest(1), view.levels[len(self.served) % len(view.levels)])


class WaitsForEver(OneAtATime):
    def decide(self, view):
        return Wait()


class TakesBack(OneAtATime):
    """Answers what it has dropped."""

    def decide(self, view):
        self.dropped = getattr(self, "dropped", None) or view.oldest(1)
        if view.waiting and self.dropped[0] == view.oldest(1)[0]:
            return Drop(self.dropped)
        return Dispatch(self.dropped, view.levels[0])


class Secretive(OneAtATime):
    """A constructor whose arguments are no fields, so that its text makes another policy."""

    def __init__(self, size=1):
        self.size = size

    def decide(self, view):
        return Dispatch(view.oldest(self.size), view.levels[0])


class Discreet(OneAtATime):
    """Declares less than it uses."""

    uses = frozenset({"oldest", "levels"})

    def decide(self, view):
        return Dispatch(view.oldest(1), view.levels[0 if view.rate(1.0) > 2 else -1])


class ReadsALine(OneAtATime):
    """Does not declare what it reads of a length bucket."""

    uses = frozenset({"oldest", "levels", "bucket"})

    def decide(self, view):
        return Dispatch(view.oldest(1), view.levels[0 if view.bucket(0).waiting > 2 else -1])


class ForgetsTheLate(Adaptive):
    """Does not declare that it reads the oldest arrival of the late requests."""

    uses = Adaptive.uses - {"oldest_arrival"}


class Eavesdrops(OneAtATime):
    """Does not declare that it observes completions."""

    uses = frozenset({"oldest", "levels"})

    def observe(self, event):
        self.last = event.finish


class Uncopyable(OneAtATime):
    def __deepcopy__(self, memo):
        raise TypeError("not to be copied")


def test_the_pattern_of_the_bad_policies_is_a_good_one():
    check_policy(OneAtATime)


@pytest.mark.parametrize(
    ("bad", "broken"),
    [
        (Clairvoyant, "I5"),
        (CountsTheFuture, "I5"),
        (NewestFirst, "starve"),
        (Remembers, "I4.*same object"),
        (Shares, "I4"),
        (WaitsForEver, "cannot come"),
        (TakesBack, r"named request \d+"),
        (Discreet, r"view\.rate\b.*`uses`"),
        (ReadsALine, r"line\.waiting\b.*`uses`"),
        (ForgetsTheLate, r"line\.oldest_arrival\b"),
        (lambda: POLICIES["hpa"](ForgetsTheLate()), r"line\.oldest_arrival\b"),
        (Eavesdrops, "finish of a completion"),
        (lambda: Secretive(2), "its text"),
        (Uncopyable, "I4.*copied"),
    ],
)
def test_a_policy_that_breaks_a_rule_is_an_error_that_names_it(bad, broken):
    with pytest.raises(AssertionError, match=broken):
        check_policy(bad)


def test_every_policy_declares_uses_that_exist():
    known = {name for name in (*dir(View), *View.__annotations__) if not name.startswith("_")}
    for name, cls in POLICIES.items():
        assert cls.uses <= known | {*HEARD.values(), "future"}, name


def test_a_wrapper_uses_what_it_and_its_inner_policy_use():
    wrapper = make("codel(strict(greedy))")
    assert uses(wrapper) == POLICIES["codel"].uses | POLICIES["strict"].uses | POLICIES["greedy"].uses
    assert uses(OneAtATime()) is None


@dataclass
class ChangesItsMind:
    """Stops every second batch when the next request comes, and runs the others layer by layer."""

    every_arrival = True
    needs = frozenset({"preempt", "layers"})

    def start(self, view):
        self.batches, self.whole, self.progress = 0, {}, {}

    def decide(self, view):
        if not view.idle:
            return Preempt(0) if self.whole.pop(0, False) else Wait()
        self.batches += 1
        head, gpu = view.oldest(1), view.idle[0]
        self.whole[gpu] = bool(self.batches % 2)
        if self.whole[gpu]:
            return Dispatch(head, view.levels[-1], gpu)
        first = self.progress.get(head[0], 0)
        self.progress[head[0]] = 1 - first
        return Dispatch(head, view.levels[-1], gpu, BatchPlan(span=Span(first, first + 1)))


@dataclass
class Breathes:
    """One GPU more in a crowd, one less in a calm."""

    needs = frozenset({"scale"})

    def decide(self, view):
        wanted = min(4, 1 + view.waiting // 8)
        if wanted != view.gpus:
            return Scale(wanted)
        return Dispatch(view.oldest(1), view.levels[-1]) if view.waiting and view.idle else Wait()


@pytest.mark.parametrize("policy", [ChangesItsMind, Breathes])
def test_requests_that_come_back_and_gpus_that_come_and_go_are_no_breach_of_the_rules(policy):
    check_policy(policy, seeds=range(6))
