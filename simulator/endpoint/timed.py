"""A policy in service: it decides as ever, and how long that takes is told."""

from __future__ import annotations

from collections.abc import Callable
from time import perf_counter
from typing import Any

from policies.interface import Action, Policy, View
from policies.machinery.wrapped import hears


class Timed:
    """Another policy to all who ask, whose decisions are timed. told: called with the seconds of each."""

    def __init__(self, policy: Policy, told: Callable[[float], object]) -> None:
        self._policy, self._told = policy, told
        self.uses = hears(policy)  # what the server lets it hear

    def __getattr__(self, name: str) -> Any:
        return getattr(self._policy, name)

    def decide(self, view: View) -> Action:
        began = perf_counter()
        action = self._policy.decide(view)
        self._told(perf_counter() - began)
        return action


def timed(policy: Policy, told: Callable[[float], object]) -> Policy:
    """The policy, timed; of a class with its own class's name, by which errors name it."""
    named: type[Timed] = type(type(policy).__name__, (Timed,), {})
    return named(policy, told)
