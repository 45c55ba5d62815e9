"""Record a policy's decisions and check that it reads only what it declares."""

from __future__ import annotations

from typing import Any

from policies import needs
from policies.interface import HEARD, Action, Dispatch, Drop, Heard, Line, Policy, View, Wait
from policies.machinery.wrapped import foresee, hears, start, uses
from traces import Trace

#: (time, action) with plain values in the action; equal logs are equal decisions.
Log = list[tuple[float, tuple[Any, ...]]]
#: What of the View gives lines.
LINES = ("bucket", "klass", "tenant")


class WatchedView:
    """A View that raises AttributeError for every name but these, as do its lines."""

    def __init__(self, view: View | Line, allowed: frozenset[str]) -> None:
        self._watched, self._allowed = view, allowed

    def __getattr__(self, name: str) -> Any:
        if name not in self._allowed:
            of = "view" if hasattr(self._watched, "now") else "line"
            raise AttributeError(f"it reads {of}.{name}, which its `uses` does not name")
        found = getattr(self._watched, name)
        return (lambda named: WatchedView(found(named), self._allowed)) if name in LINES else found


class Unread:
    """A Completion that may be handed on, but not read."""

    def __init__(self, event: Heard) -> None:
        self._event = event

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(f"it reads {name} of a completion, but its `uses` does not name completions")


class WatchedPolicy:
    """Decides as the policy does, keeps what it decided, and is run in place, not as a copy."""

    def __init__(self, policy: Policy) -> None:
        self.policy = policy
        self.log: Log = []
        self.needs = needs(policy)
        self.uses = hears(policy)  # what the server lets it hear
        self._uses = uses(policy)
        self._view: Any = None
        if hasattr(policy, "observe"):
            self.observe = self._observe

    def __getattr__(self, name: str) -> Any:
        return getattr(self.policy, name)

    def __deepcopy__(self, memo: dict[int, Any]) -> WatchedPolicy:
        return self

    def foresee(self, trace: Trace) -> None:
        foresee(self.policy, trace)

    def start(self, view: View) -> None:
        self._view = view if self._uses is None else WatchedView(view, self._uses)
        start(self.policy, self._view)

    def decide(self, view: View) -> Action:
        action = self.policy.decide(self._view)
        self.log.append((view.now, _plain(action)))
        return action

    def _observe(self, event: Heard) -> None:
        unread = self._uses is not None and HEARD[type(event)] not in self._uses
        observe = self.policy.observe  # type: ignore[attr-defined]
        observe(Unread(event) if unread else event)


def _plain(action: Any) -> tuple[Any, ...]:
    if isinstance(action, Dispatch):
        return "Dispatch", tuple(action.requests), str(action.level), action.gpu, action.plan
    if isinstance(action, Drop):
        return "Drop", tuple(action.requests), action.reason
    if isinstance(action, Wait):
        return "Wait", action.until, action.waiting, action.bucket
    return (type(action).__name__, *action) if isinstance(action, tuple) else (repr(action),)
