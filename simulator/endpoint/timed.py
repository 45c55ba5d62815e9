"""Time a policy's decide() calls."""

from __future__ import annotations

from collections.abc import Callable
from time import perf_counter
from typing import Any

from policies.interface import Action, Policy, View
from policies.machinery.wrapped import hears


class Timed:
    """Decides as the policy does. on_decided: called with the seconds of each decision."""

    def __init__(self, policy: Policy, on_decided: Callable[[float], object]) -> None:
        self._policy, self._on_decided = policy, on_decided
        self.uses = hears(policy)  # what the server lets it hear

    def __getattr__(self, name: str) -> Any:
        return getattr(self._policy, name)

    def decide(self, view: View) -> Action:
        began = perf_counter()
        action = self._policy.decide(view)
        self._on_decided(perf_counter() - began)
        return action


def timed(policy: Policy, on_decided: Callable[[float], object]) -> Policy:
    """The policy, timed; of a class with its own class's name, by which errors name it."""
    named: type[Timed] = type(type(policy).__name__, (Timed,), {})
    return named(policy, on_decided)
