"""Policies around others: what a policy may leave out, called on a wrapped one where it has it."""

from __future__ import annotations

from dataclasses import dataclass
from math import inf

from policies.interface import Completion, Policy, View, Wait
from traces import Trace


def foresee(policy: Policy, trace: Trace) -> None:
    """Hand the future on; only an oracle takes it."""
    see = getattr(policy, "foresee", None)
    if see is not None:
        see(trace)


def start(policy: Policy, view: View) -> bool:
    """Let a wrapped policy prepare itself; returns whether it must decide at every arrival."""
    begin = getattr(policy, "start", None)
    if begin is not None:
        begin(view)
    return bool(getattr(policy, "every_arrival", False))


def observe(policy: Policy, event: Completion) -> None:
    """Tell a wrapped policy of a completion."""
    learn = getattr(policy, "observe", None)
    if learn is not None:
        learn(event)


@dataclass
class Wrapper:
    """A policy around another, which learns all that it would learn alone."""

    inner: Policy
    every_arrival = False

    def foresee(self, trace: Trace) -> None:
        foresee(self.inner, trace)

    def start(self, view: View) -> None:
        self.every_arrival = start(self.inner, view)

    def observe(self, event: Completion) -> None:
        observe(self.inner, event)


def sooner(waits: list[Wait]) -> Wait:
    """One Wait for several policies that wait: until the first time, or until anybody arrives."""
    return Wait(until=min((each.until for each in waits), default=inf))
