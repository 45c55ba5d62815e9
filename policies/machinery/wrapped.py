"""Policies around others: what a policy may leave out, called on a wrapped one where it has it."""

from __future__ import annotations

from collections.abc import Iterator, Set
from dataclasses import dataclass, fields, is_dataclass
from math import inf
from typing import Any

from policies.interface import COMPLETIONS, HEARD, Heard, Policy, View, Wait
from policies.machinery.raised import attribute, described, heed_interrupt
from traces import Trace


def chain(policy: Policy) -> Iterator[Policy]:
    """The policy and all that it wraps, outermost first."""
    yield policy
    cls: Any = type(policy)
    names = [each.name for each in fields(cls)] if is_dataclass(cls) else []
    for inner in (attribute(policy, name) for name in names):
        if inner is not None and callable(attribute(inner, "decide")):
            yield from chain(inner)


def declared(policy: Policy, name: str) -> frozenset[str] | None:
    """The set of names that a policy has as this attribute; None where it has none. ValueError for anything else."""
    try:
        found = getattr(policy, name, None)
        if found is None or (isinstance(found, Set | list | tuple) and all(isinstance(each, str) for each in found)):
            return None if found is None else frozenset(found)
        wrong = f"{name} is {found!r}"
    except BaseException as error:
        heed_interrupt(error)
        wrong = f"{name} raised {described(error)}"
    name = type(policy).__name__
    raise ValueError(f'policy {name}: {wrong}; it must be a set of names, as in frozenset({{"stops"}})')


def uses(policy: Policy) -> frozenset[str] | None:
    """The `uses` of a policy and those that it wraps; None where one of them has none."""
    found = [declared(each, "uses") for each in chain(policy)]
    return None if None in found else frozenset().union(*(each for each in found if each is not None))


def hears(policy: Policy) -> frozenset[str]:
    """The `uses` of a policy and those that it wraps, of those that have it."""
    return frozenset().union(*(declared(each, "uses") or () for each in chain(policy)))


def foresee(policy: Policy, trace: Trace) -> None:
    """Hand the future on; only an oracle takes it."""
    if (see := getattr(policy, "foresee", None)) is not None:
        see(trace)


def start(policy: Policy, view: View) -> bool:
    """Let a wrapped policy prepare itself; returns whether it must decide at every arrival."""
    if (begin := getattr(policy, "start", None)) is not None:
        begin(view)
    return bool(getattr(policy, "every_arrival", False))


def observe(policy: Policy, event: Heard) -> None:
    """Pass an event to a wrapped policy: completions, and what else its `uses` names."""
    hear = getattr(policy, "observe", None)
    name = HEARD.get(type(event), COMPLETIONS)
    if hear is not None and (name == COMPLETIONS or name in hears(policy)):
        hear(event)


def listens(policy: Policy) -> Any:
    """The `observe` of a policy; None where it has none, or only passes on what no policy within hears."""
    own: Any = policy
    while isinstance(own, Wrapper) and type(own).observe is Wrapper.observe:
        own = own.inner
    return None if attribute(own, "observe") is None else attribute(policy, "observe")


@dataclass
class Wrapper:
    """A policy around another, which is called as it would be alone."""

    inner: Policy
    every_arrival = False

    def foresee(self, trace: Trace) -> None:
        foresee(self.inner, trace)

    def start(self, view: View) -> None:
        self.every_arrival = start(self.inner, view)

    def observe(self, event: Heard) -> None:
        observe(self.inner, event)


def sooner(waits: list[Wait]) -> Wait:
    """One Wait for several policies that wait: until the earliest time, or the next arrival."""
    return Wait(until=min((each.until for each in waits), default=inf))
