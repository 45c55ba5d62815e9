"""Token buckets around any policy: what comes faster than agreed is turned away, for all together or by class."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import inf

from policies.interface import Action, Drop, View
from policies.machinery.arrivals import Arrivals
from policies.machinery.wrapped import Wrapper


@dataclass
class TokenBucket(Wrapper):
    """Each request takes a token or is rejected (reason "admission"), then the inner policy decides.

    A bucket holds up to `burst` tokens and gains `rate` per second (the policer of Turner, IEEE Communications 1986;
    RFC 2697). rate: requests per second; default what all GPUs serve of the longest requests in full batches at the
    highest level. burst: default the table's largest batch. classes: each class named has a bucket of its own, as
    large, and all others share one. Exact by arrival times; carried out at the first decision after the arrival.
    """

    rate: float | None = None
    burst: float | None = None
    classes: tuple[str, ...] = ()

    uses = frozenset({"waiting", "plan", "gpus", "service", "after", "klass", "arrival"})

    def start(self, view: View) -> None:
        longest = view.service[-1][-1]
        capacity = view.gpus * max(size / longest[size] for size in range(1, len(longest)))
        self._rate = capacity if self.rate is None else self.rate
        self._burst = float(view.plan.max_batch if self.burst is None else self.burst)
        if not (0 < self._rate < inf and 1 <= self._burst < inf):
            raise ValueError(f"tokenbucket needs rate > 0 and burst >= 1, not {self._rate}, {self._burst}")
        self._all = Arrivals(view)
        self._by_class = [Arrivals(view.klass(name)) for name in self.classes]
        self._tokens = [self._burst] * (len(self.classes) + 1)  # the last is for all others
        self._counted = [0.0] * len(self._tokens)  # when each was last counted
        super().start(view)

    def decide(self, view: View) -> Action:
        new = self._all.new()
        if len(new) and (excess := self._excess(view, new)):
            return Drop(excess, "admission")
        return self.inner.decide(view)

    def _excess(self, view: View, new: Sequence[int]) -> list[int]:
        """Of the new requests those that find no token."""
        groups = [each.new() for each in self._by_class]
        named = sum(map(len, groups))
        others = () if named == len(new) else sorted(set(new).difference(*groups)) if named else new
        excess: list[int] = []
        for index, requests in enumerate([*groups, others]):
            if len(requests):
                excess += self._refused(view, index, requests)
        return sorted(excess)

    def _refused(self, view: View, index: int, requests: Sequence[int]) -> list[int]:
        """Of these, which come to one bucket in this order, those that find no token."""
        tokens, before, rate, burst = self._tokens[index], self._counted[index], self._rate, self._burst
        refused = []
        for request, arrival in zip(requests, map(view.arrival, requests), strict=True):
            tokens += (arrival - before) * rate
            before = arrival
            if tokens > burst:
                tokens = burst
            if tokens >= 1:
                tokens -= 1
            else:
                refused.append(request)
        self._tokens[index], self._counted[index] = tokens, before
        return refused
