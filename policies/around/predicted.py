"""Admission by predicted finish around any policy: a request that would be late behind the queue is rejected."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from operator import mul

from policies.interface import Action, Drop, View
from policies.machinery.arrivals import Arrivals
from policies.machinery.wrapped import Wrapper


@dataclass
class Predicted(Wrapper):
    """Reject what would miss the deadline behind those that wait, then let the inner policy decide.

    AlpaServe's check (OSDI'23, its simulator's controller): when a request comes, predict its finish; beyond its
    deadline, reject it (reason "admission"). The prediction: what the GPUs still run, plus the least time per request
    of all that wait, spread over the GPUs, plus a batch of its own. At the fastest level, so that only those are
    rejected that pruning cannot save either; full=True: at the highest, for an inner policy that does not prune.
    Simplified: AlpaServe predicts without batching, this with full batches; judged once, at the first decision after
    the arrival.
    """

    full: bool = False

    uses = frozenset({"now", "waiting", "gpus", "service", "after", "waiting_by_bucket", "kind", "deadline", "free_at"})

    def start(self, view: View) -> None:
        rows = view.service[-1 if self.full else 0]
        self._alone_s = [row[1] for row in rows]
        self._share = [min(row[size] / size for size in range(1, len(row))) for row in rows]
        self._arrivals = Arrivals(view)
        super().start(view)

    def decide(self, view: View) -> Action:
        new = self._arrivals.new()
        if len(new) and (late := self._late(view, new)):
            return Drop(late, "admission")
        return self.inner.decide(view)

    def _late(self, view: View, new: Sequence[int]) -> list[int]:
        """Of the new requests those that would be late, each behind those that were let in before it."""
        share = self._share
        buckets = [view.kind((request,)) for request in new]
        ahead_s = sum(map(mul, view.waiting_by_bucket(), share)) - sum(share[bucket] for bucket in buckets)
        ahead_s += sum(view.free_at(gpu) - view.now for gpu in range(view.gpus))
        late = []
        for request, bucket in zip(new, buckets, strict=True):
            if view.now + ahead_s / view.gpus + self._alone_s[bucket] > view.deadline(request):
                late.append(request)
            else:
                ahead_s += share[bucket]
        return late
