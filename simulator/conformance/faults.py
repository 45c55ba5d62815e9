"""What can go wrong in a world, what a run may end with because of it, and when it strikes: all from a seed."""

from __future__ import annotations

from collections import Counter
from typing import NamedTuple

import numpy as np

#: How a run may end: all requests were served or dropped; it was shut down, and what ran was finished; with the error
#: of a policy, of an executor, of a disk; or by hand, by a second Ctrl-C, where nothing else helps.
ENDS = ("served", "shut down", "PolicyError", "ExecutorError", "OSError", "KeyboardInterrupt")
#: What can go wrong, and what else than `served` a run may then end with.
FAULTS = {
    "clock steps": "ExecutorError",  # forward beyond the patience, every batch has taken too long
    "host slow": "",
    "device stalls": "ExecutorError",
    "device raises": "ExecutorError",
    "event lost": "ExecutorError",
    "event doubled": "ExecutorError",
    "event early": "ExecutorError",  # DONE before what comes before it
    "event late": "ExecutorError",
    "event misnamed": "ExecutorError",
    "event at no time": "ExecutorError",
    "load fails": "ExecutorError",
    "load slow": "ExecutorError",
    "disk full": "OSError",
    "policy slow": "",
    "policy raises": "PolicyError",
    "policy answers rubbish": "PolicyError",
    "policy never returns": "KeyboardInterrupt",
    "shutdown": "shut down",
}
LOADS = ("load fails", "load slow")
#: Of these a run never survives one that has struck.
FATAL = ("device raises", "event at no time", "load fails", "policy raises", "policy answers rubbish")
#: Seconds of a fault: below what a policy notices, about a target, about a batch that is stuck, far beyond it.
SIZES = (1e-4, 1e-2, 5.0, 1000.0)


class Fault(NamedTuple):
    """at: the occasion that it strikes at first, from 0. every: after how many again; 0: never. size: seconds."""

    at: int
    every: int
    size: float


class Faults:
    """The faults of one world. memory: whether adapters are loaded in it. struck: which have struck so far."""

    def __init__(self, rng: np.random.Generator, memory: bool) -> None:
        names = [name for name in FAULTS if memory or name not in LOADS] + 4 * memory * [*LOADS]
        count = int(rng.choice([0, 1, 1, 1, 2, 3]))
        self.drawn = {
            names[place]: Fault(
                int(rng.integers(12)), int(rng.choice([0, 0, 1, 3])), float(rng.choice(SIZES) * rng.uniform(0.5, 1.5))
            )
            for place in rng.choice(len(names), count, replace=False)
        }
        self.struck: set[str] = set()
        self._occasions: Counter[str] = Counter()

    def strikes(self, name: str) -> Fault | None:
        """The fault if it strikes at this occasion, the next one of its kind."""
        if (fault := self.drawn.get(name)) is None:
            return None
        past = self._occasions[name] - fault.at
        self._occasions[name] += 1
        if past < 0 or (past and (not fault.every or past % fault.every)):
            return None
        self.struck.add(name)
        return fault

    def seconds(self, name: str) -> float:
        """The size of the fault if it strikes at this occasion, else 0."""
        fault = self.strikes(name)
        return 0.0 if fault is None else fault.size

    def strikes_at_all(self, name: str) -> Fault | None:
        """The fault if it was drawn; it strikes once, at a moment and not at an occasion."""
        if name in self.drawn:
            self.struck.add(name)
        return self.drawn.get(name)
