"""The backlog's indices, kept lazily, against recounts: requests go in order or not, come back, and are forgotten."""

from __future__ import annotations

import math
from array import array

import numpy as np
import pytest

from simulator.core import PolicyError
from simulator.endpoint.backlog import OpenBacklog
from simulator.queue.backlog import Backlog
from traces import Trace

SLO_S = 0.02


class Model:
    """A backlog and what is true of it. remembered: None for a backlog of a trace, else what an endpoint's keeps."""

    def __init__(self, seed: int, remembered: int | None) -> None:
        self.rng = rng = np.random.default_rng(seed)
        n = self.n = int(rng.choice([30, 120, 400]))
        count = int(rng.choice([1, 2, 5, 300]))
        self.buckets = rng.integers(max(0, count - 6), count, n)
        self.arrivals = np.round(rng.exponential(1e-3, n).cumsum(), 3)
        self.slo = rng.choice([SLO_S, 0.001, 0.05], n) if seed % 2 else np.full(n, SLO_S)
        self.klass = rng.choice(["gold", "silver"], n)
        self.remembered, self.count = remembered, count
        self.arrived, self.left, self.taken = 0, set[int](), list[list[int]]()
        self.asks = {name: rng.choice([0, 5, 40, 10**9]) for name in ("bucket", "klass")}
        if remembered is not None:
            self.backlog: Backlog = OpenBacklog(count, SLO_S, remembered)
        else:
            own = np.where(self.slo == SLO_S, np.nan, self.slo) if seed % 2 else None
            trace = Trace(self.arrivals, np.full(n, 5, np.int32), klass=self.klass, slo_s=own)
            self.backlog = Backlog(trace, self.buckets.astype(np.intp), count, SLO_S)

    def arrive(self) -> None:
        new = min(self.n, self.arrived + int(self.rng.choice([0, 0, 1, 2, 5, 30])))
        if isinstance(self.backlog, OpenBacklog):
            for r in range(self.arrived, new):
                self.backlog.append(self.arrivals[r], 5, int(self.buckets[r]), float(self.slo[r]), str(self.klass[r]))
        now = float(self.arrivals[new - 1]) if new else 0.0
        self.backlog.admit(now)
        self.arrived = new if self.remembered is not None else int(np.searchsorted(self.arrivals, now, side="right"))

    @property
    def waiting(self) -> list[int]:
        return [request for request in range(self.arrived) if request not in self.left]

    @property
    def first(self) -> int:
        """The first request that is remembered."""
        return self.backlog.arrivals.first if self.remembered is not None else 0  # type: ignore[attr-defined]

    def check(self, step: int) -> None:
        backlog, waiting = self.backlog, self.waiting
        assert backlog.waiting == len(waiting)
        if self.rng.random() < 0.5:
            self.same(backlog, waiting)
        for name, codes in (("bucket", self.buckets), ("klass", self.klass)):
            for code in np.unique(codes).tolist() if step >= self.asks[name] else ():
                if self.rng.random() < 0.3:
                    mine = [request for request in waiting if codes[request] == code]
                    line = backlog.line(name, code)
                    assert line.waiting == len(mine)
                    self.same(line, mine)
        if self.rng.random() < 0.3:
            counts = np.bincount(self.buckets[waiting].astype(int), minlength=self.count)
            assert list(backlog.waiting_by_bucket()) == counts.tolist()
        if self.rng.random() < 0.3:
            order = sorted(waiting, key=lambda request: (self.arrivals[request] + self.slo[request], request))
            assert list(backlog.by_deadline(4)) == order[:4]

    def same(self, line: object, mine: list[int]) -> None:
        for n in (0, 1, 2, 7, 999):
            assert list(line.oldest(n)) == mine[:n]  # type: ignore[attr-defined]
            request = int(self.rng.integers(-1, self.arrived + 2))
            found = list(line.after(request, n))  # type: ignore[attr-defined]
            assert found == [each for each in mine if each > request][:n]
        assert line.oldest_arrival == (self.arrivals[mine[0]] if mine else math.inf)  # type: ignore[attr-defined]

    def refuse(self) -> None:
        """What a policy must not name is an error, and changes nothing."""
        named: list[object] = [[], [self.arrived], [-1], range(self.arrived, self.arrived + 1), range(-1, 1)]
        if lost := [request for request in self.left if request >= self.first]:
            request = int(self.rng.choice(lost))
            named += [[request], range(request, request + 1), array("q", [request])]
        for requests in named:
            with pytest.raises(PolicyError):
                self.backlog.take(requests)  # type: ignore[arg-type]

    def act(self) -> None:
        backlog, waiting, n = self.backlog, self.waiting, int(self.rng.choice([1, 2, 5, 17]))
        if self.taken and self.rng.random() < 0.2:
            requests = self.taken.pop(int(self.rng.integers(len(self.taken))))
            if min(requests) >= self.first:
                backlog.give_back(requests)
                self.left -= set(requests)
        elif waiting:
            some = int(self.rng.choice(waiting))
            ways = [
                lambda: backlog.oldest(n),
                lambda: backlog.oldest(n),
                lambda: self.rng.permutation(waiting)[:n].tolist(),
                lambda: backlog.line("bucket", int(self.buckets[some])).oldest(n),
                lambda: backlog.line("klass", str(self.klass[some])).oldest(n),
                lambda: backlog.by_deadline(n),
                lambda: backlog.after(some - 1, n),
            ]
            found = ways[self.rng.integers(2 if self.n == 30 else len(ways))]()
            assert backlog.take(found) == max(self.buckets[list(found)])
            self.left |= set(found)
            self.taken.append(list(found))


@pytest.mark.parametrize("remembered", [None, 3, 50])
@pytest.mark.parametrize("seed", range(16))
def test_the_backlog_equals_a_recount(seed: int, remembered: int | None) -> None:
    model = Model(seed, remembered)
    for step in range(120):
        model.arrive()
        model.check(step)
        if step % 10 == 0:
            model.refuse()
        model.act()
