"""A policy that goes wrong at some decision, memory whose loads fail, and a disk that is full."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from math import inf, nan
from typing import Any

from policies.interface import Action, Dispatch, Drop, Evict, Heard, Load, Policy, Preempt, Scale, View, Wait
from policies.machinery.wrapped import hears
from simulator.conformance.faults import Faults
from simulator.conformance.host import Host, HostClock
from simulator.core import ExecutorError, Records
from simulator.serving.link import Link
from simulator.serving.memory import Memory
from simulator.serving.passing import Passed

#: What a policy may raise.
RAISED: tuple[type[BaseException], ...] = (
    *(ValueError, KeyError, ZeroDivisionError, RecursionError, MemoryError, AssertionError, OSError),
    *(StopIteration, GeneratorExit, SystemExit),
)


def rubbish(view: View, number: int) -> Any:
    """One of many answers that make no sense at this moment."""
    requests, level, last = view.oldest(1), view.levels[-1], 10**30
    plain: list[Any] = [None, "wait", 7, Dispatch, (requests, level), [Wait()]]
    wrong: dict[Any, list[tuple[Any, ...]]] = {
        Dispatch: [
            *((each, level) for each in (None, 7, "ab", [], [-1], [last], [0.5], [0, 0], range(last))),
            *((requests, each) for each in (None, -1, str(level))),
            *((requests, level, each) for each in (99, -1, "first", [0], nan)),
            *((requests, level, None, each) for each in ("whole", 1)),
        ],
        Drop: [
            *((each,) for each in (None, [], [-1], [last], range(1, last))),
            *((requests, each) for each in (None, "a,b", "two\nlines")),
        ],
        Wait: [
            *((each,) for each in (nan, -1.0, view.now, "soon", None, 10**400)),
            *((inf, each) for each in (0, "three")),
            *((inf, None, each) for each in (99, "all")),
        ],
        Scale: [(0,), (-1,), ("two",), (0.5,)],
        Preempt: [(99,), (None,)],
        Load: [(99, "one"), (0, "nobody"), (None, None)],
        Evict: [(99, "one"), (0, "nobody"), (None, None)],
    }
    answers = plain + [kind(*each) for kind, named in wrong.items() for each in named]
    return answers[number % len(answers)]


class TroubledPolicy:
    """Decides as the policy does, until a fault strikes. patience_s: after it somebody sees that it does not return."""

    def __init__(
        self, policy: Policy, host: Host, clock: HostClock, faults: Faults, patience_s: float, seed: int
    ) -> None:
        self._policy, self._host, self._clock, self._faults = policy, host, clock, faults
        self._patience_s, self._seed = patience_s, seed
        self.uses = hears(policy)  # what the server lets it hear
        self._hears = hasattr(policy, "observe") and seed % 2 == 0  # it raises in observe, then
        if self._hears:
            self.observe = self._observe

    def __getattr__(self, name: str) -> Any:
        return getattr(self._policy, name)

    def _raises(self) -> None:
        if self._faults.strikes("policy raises"):
            raise RAISED[self._seed % len(RAISED)]("a policy\nraised")

    def _observe(self, event: Heard) -> None:
        self._raises()
        self._policy.observe(event)  # type: ignore[attr-defined]

    def decide(self, view: View) -> Action:
        faults = self._faults
        self._host.work(faults.seconds("policy slow"))
        if not self._hears:
            self._raises()
        if faults.strikes("policy never returns"):
            self._host.work(2 * self._patience_s)
            awake_s = self._host.monotonic() - self._clock.awake_since
            if awake_s < self._patience_s and "clock steps" not in faults.drawn:
                raise AssertionError(f"the loop seems to be in this step for {awake_s} s: nobody would see it")
            raise KeyboardInterrupt
        if view.waiting and faults.strikes("policy answers rubbish"):
            answer: Action = rubbish(view, self._seed)
            return answer
        return self._policy.decide(view)


class TroubledMemory(Memory):
    """Its link stalls, and some of its loads fail."""

    def __init__(self, faults: Faults, *memory: Any) -> None:
        super().__init__(*memory)
        self._faults = faults

    def load(self, action: Load, now: float) -> None:
        if self._faults.strikes("load fails"):
            raise ExecutorError(f"adapter {action.tenant!r} could not be loaded onto GPU {action.gpu}")
        link = self._on(action.gpu).link
        assert isinstance(link, Link)
        link.stall(self._faults.seconds("load slow"))
        super().load(action, now)


def on_full_disk(records: Records, faults: Faults) -> Records:
    """The same records on a disk that is full when the fault strikes."""
    ended, drops = records.ended, records.drops
    assert ended is not None

    def write(what: Callable[..., object], *named: Any) -> None:
        if faults.strikes("disk full"):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "journal")
        what(*named)

    def dropped(*row: Any) -> None:
        write(drops.append, row)

    def done(number: int) -> None:
        write(ended, number)

    records.ended, records.drops = done, Passed(dropped)
    return records
