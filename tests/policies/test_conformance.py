"""Every policy keeps the rules, and policies that break one are told which."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

import pytest

from policies import POLICIES, Dispatch, Drop, Wait, make
from policies.greedy import Greedy
from simulator.conformance import check_policy

#: What a wrapper is tried around: one that answers at once and one that waits.
INNER = ("adaptive", "timeout")


def specs():
    for name, cls in POLICIES.items():
        if "future" in getattr(cls, "needs", ()):
            continue  # an oracle breaks I5 by its nature, and is exact for one GPU and one length alone
        if "inner" in cls.__dataclass_fields__:
            yield from (f"{name}({inner})" for inner in INNER)
        else:
            yield name


@pytest.mark.parametrize("spec", [*specs(), "admission(triton(preferred=(4, 8), delay_s=0.001), max_waiting=6)"])
def test_every_policy_keeps_the_rules(spec):
    check_policy(spec)


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


class Uncopyable(OneAtATime):
    def __deepcopy__(self, memo):
        raise TypeError("not to be copied")


def test_the_pattern_of_the_bad_policies_is_a_good_one():
    check_policy(OneAtATime)


@pytest.mark.parametrize(
    ("bad", "broken"),
    [
        (Clairvoyant, "I5: what came later changed a decision before it"),
        (CountsTheFuture, "I5: what came later changed a decision before it"),
        (NewestFirst, "Nobody starves"),
        (Remembers, "I4: run again, the same object decides otherwise"),
        (Shares, "I4"),
        (WaitsForEver, "waits for what cannot come"),
        (TakesBack, "which is gone already"),
        (lambda: Secretive(2), "what its text makes decides otherwise"),
        (Uncopyable, "I4: it cannot be copied"),
    ],
)
def test_a_bad_policy_is_told_which_rule_it_breaks(bad, broken):
    with pytest.raises(AssertionError, match=broken):
        check_policy(bad)
