"""Adaptive student pruning: batch and level by what the time that they take is worth."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from itertools import chain
from math import inf
from typing import NamedTuple

from policies.interface import Dispatch, Drop, View, Wait
from policies.machinery.deadlines import Alone, hopeless
from policies.machinery.limits import batch_limit
from policies.pruning.adaptive.choices import BatchChoice, Choices
from policies.pruning.adaptive.company import Together, company
from policies.pruning.adaptive.latecomers import LateComers
from policies.pruning.adaptive.traffic import TargetsSeen, TrafficSeen
from profiler.table.plan import PACKED

DROPS = ("none", "hopeless")
#: Where less than so many times of the oldest request's batch are left for it, other lengths are looked at.
HURRY = 2.0
#: Of those of other lengths that a batch makes late for sure, this part is a loss beyond what was to be expected.
OTHERS = 0.25


class Considered(NamedTuple):
    """A batch to choose: of lengths from bucket low to high, of which `size` wait. slack: of its oldest, in seconds."""

    low: int
    high: int
    size: int
    slack: float
    choice: BatchChoice


class GivenUp(NamedTuple):
    """The batch for which some were given up, and when. anew: whether the others are weighed once more without them."""

    now: float
    batch: Considered
    anew: bool


@dataclass
class Adaptive:
    """The batch and the level that lose least: now, and by the time they take from those behind and those to come.

    An idle GPU serves the oldest request that can still be on time, with those of like length whose company costs less
    than a batch of their own. For every level and batch size the loss is the accuracy that these answers lack, plus all
    of it for those that would be late in this batch, plus what is to be expected afterwards: an `Outlook` knows what a
    backlog costs at the present arrival rate, and so what a second of the GPU is worth. In calm traffic that is
    nothing, and the full ensemble answers; as traffic grows, students are left out just so far that those behind are on
    time; beyond that, as much is answered as can be.

    drop: "none" serves every request: one that missed its deadline waits behind all others, for a place in a batch that
    would be padding, or until no other waits and its time is worth little; "hopeless" drops them. window: the arrival
    rate is that of so many SLOs, as far as their last quarter does not contradict it by two standard deviations.
    max_batch: default the table's largest. An SLO is the run's, or the tightest of the requests' own seen lately.

    It never waits while a request can be on time. Where only a part of the queue is in view (inside `buckets`,
    `classes` or a router), "none" serves in order. Re-implemented from the published description of student parallelism
    (arXiv 2408.12526), whose own rule is not public; this one is ours, close to the semi-Markov decision processes of
    arXiv 2301.12865.
    """

    drop: str = "none"
    window: float = 8.0
    max_batch: int | None = None
    uses = frozenset(
        {"now", "waiting", "levels", "plan", "gpus", "slo_s", "service", "oldest", "after", "by_deadline", "bucket"}
        | {"waiting_by_bucket", "kind", "longest", "deadline", "rate", "oldest_arrival", "arrival", "tokens"}
    )

    def start(self, view: View) -> None:
        """Prepare for a run."""
        if self.drop not in DROPS:
            raise ValueError(f"drop is {self.drop!r}; it must be one of {', '.join(DROPS)}")
        if not self.window > 0:
            raise ValueError(f"adaptive needs window > 0, not {self.window}")
        self._largest = batch_limit(self.max_batch, view.plan)
        buckets, self._packed = len(view.plan.tokens), view.plan.layout == PACKED
        # In packed batches all lengths go together, so there is one line.
        apart = buckets > 1 and not self._packed
        self._lines = [view.bucket(index) for index in range(buckets)] if apart else [view]
        self._late = LateComers(self._lines) if self.drop == "none" and hasattr(view, "after") else None
        self._alone = Alone.fastest(view)
        self._alone_s = self._alone.seconds
        began, self._targets, self._slo_s = view.now, TargetsSeen(view.slo_s, self._alone_s), view.slo_s
        self._aims = cache(lambda slo_s: (Choices(view, self._largest, slo_s), TrafficSeen(slo_s, self.window, began)))
        self._choices, self._seen = self._aims(self._slo_s)
        self._level, self._next_look = self._choices.order[0], view.now
        self._before: GivenUp | None = None
        self._slowest_alone = max(self._alone_s)
        sizes = [size for size in view.plan.batches if size < self._largest]
        rows = [each[:1] if self._packed else each for each in view.service]  # one kind: always together
        self._together = Together(rows, [*sizes, self._largest])

    def decide(self, view: View) -> Dispatch | Drop | Wait:
        """The next batch, or what to drop before it."""
        if self.drop == "hopeless":
            lost = hopeless(view, self._alone)
            if lost:
                return Drop(lost, "hopeless")
        if view.now >= self._next_look:
            self._look(view)
        late = self._late
        if (late is None or not late.waiting) and self._before is None:
            usual = self._at_once(view)
            if usual is not None:
                return usual
        counts = view.waiting_by_bucket() if len(self._lines) > 1 else [view.waiting]
        head = view.by_deadline(1)[0]
        at, slack = view.kind((head,)), view.deadline(head) - view.now
        if late is not None and (late.waiting or slack < self._alone_s[at]):
            heads, counts = self._others(view, late, counts)
            if not heads:
                return self._late_batch(view, late)
            head = min(heads)
            at, slack = view.kind((head,)), view.deadline(head) - view.now
        if slack < self._alone_s[at]:
            slack = self._slo_s  # that one is late whatever we do: judge by those that can still be on time
        batch = self._batch(view, counts, at, slack, slack)
        if HURRY * batch.choice.seconds > slack and len(counts) > 1:
            batch = self._instead(view, counts, batch, slack)
        before, self._before = self._before, None
        if before is not None and before.now == view.now and (not before.anew or batch.choice.seconds > batch.slack):
            batch = before.batch
        if batch.choice.seconds > batch.slack:
            lost = self._too_old(view, batch.low, batch.high, view.now + batch.choice.seconds)
            anew = view.gpus == 1 and batch.size == sum(counts)
            if lost or (anew and before is None and self._late is not None):
                self._before = GivenUp(view.now, batch, anew)
                return Drop(lost, "hopeless") if lost else self.decide(view)
        low, high, (level, size, seconds, _) = batch.low, batch.high, batch.choice
        together = seconds <= batch.slack and batch.size == view.waiting  # all lengths go, and none is late
        requests = view.oldest(size) if together else self._oldest(low, high, size)
        if not requests:
            return self.decide(view)  # all of them were too old for that batch
        self._level = level
        return Dispatch(self._with_the_late(view, requests), view.levels[level])

    def _at_once(self, view: View) -> Dispatch | None:
        """The batch where all go together and none is late: the usual case of `decide`, without its detours."""
        waiting = view.waiting
        slack = view.deadline(view.by_deadline(1)[0]) - view.now
        if slack < self._slowest_alone or waiting > self._together[self._level]:
            return None
        oldest = view.oldest(waiting)
        level, size, seconds, _ = self._choices.best(view.kind(oldest), waiting, waiting, slack, slack)
        if seconds > slack:
            return None
        self._level = level
        return Dispatch(oldest if size >= waiting else view.oldest(size), view.levels[level])

    def _look(self, view: View) -> None:
        """Learn the target, the traffic and the lengths anew."""
        self._slo_s = self._targets.look(view)
        self._choices, self._seen = self._aims(self._slo_s)
        self._seen.look(view)
        self._next_look = self._seen.next_look
        self._choices.look(view)
        self._choices.attend(self._seen.traffic)

    def _batch(self, view: View, counts: Sequence[int], at: int, slack: float, least: float) -> Considered:
        """The best for the oldest of a length bucket, which has so much slack; least: the oldest of all has."""
        waiting = sum(counts)
        if self._packed:
            return self._in_order(view, waiting, slack, least)
        low, high, size = company(view.service[self._level], counts, at, self._largest)
        choice = self._choices.best(high, size, waiting, slack, least)
        if choice.size > size:
            choice = choice._replace(size=size, seconds=view.service[choice.level][high][size])
        return Considered(low, high, size, slack, choice)

    def _in_order(self, view: View, waiting: int, slack: float, least: float) -> Considered:
        """The best where all lengths go together: the oldest."""
        requests = self._first(0, min(waiting, self._largest))
        size = len(requests)
        choice = self._choices.best(view.kind(requests), size, waiting, slack, least)
        size = min(size, choice.size)
        seconds = view.service[choice.level][view.kind(requests[:size])][size]
        return Considered(0, 0, len(requests), slack, choice._replace(size=size, seconds=seconds))

    def _instead(self, view: View, counts: Sequence[int], batch: Considered, least: float) -> Considered:
        """Where the oldest is in a hurry, a request may have to be lost: the batch of any length that loses least."""
        best, regret = batch, self._regret(view, counts, batch)
        for bucket, count in enumerate(counts):
            if not count or batch.low <= bucket <= batch.high:
                continue
            first = self._first(bucket, 1)
            slack = view.deadline(first[0]) - view.now if first else -inf
            if slack >= self._alone_s[bucket]:
                other = self._batch(view, counts, bucket, slack, least)
                if (its := self._regret(view, counts, other)) < regret:
                    best, regret = other, its
        return best

    def _regret(self, view: View, counts: Sequence[int], batch: Considered) -> float:
        """A batch's regret, and a part of the loss of those of other lengths that cannot be on time after it."""
        regret, taken = batch.choice.regret, batch.choice.seconds / self._slo_s
        if regret == inf:
            return inf
        end, late = view.now + batch.choice.seconds, 0
        for bucket, count in enumerate(counts):
            if count and not batch.low <= bucket <= batch.high:
                oldest = self._first(bucket, self._largest)
                late += bisect_left(oldest, end + self._alone_s[bucket], key=view.deadline)
        total = (regret * taken if regret > 0 else regret) + OTHERS * self._choices.worst * late
        return total / taken if total > 0 else total

    def _first(self, bucket: int, n: int) -> Sequence[int]:
        """The oldest n of a bucket, without the late comers."""
        late = self._late
        return late.others(bucket, n) if late is not None and late.waiting else self._lines[bucket].oldest(n)

    def _oldest(self, low: int, high: int, size: int) -> Sequence[int]:
        """The oldest `size` of these buckets, without the late comers."""
        found = [self._first(bucket, size) for bucket in range(low, high + 1)]
        if low == high:
            return found[0]
        merged = [*chain.from_iterable(found)]
        merged.sort()
        return merged[:size]

    def _too_old(self, view: View, low: int, high: int, end: float) -> list[int]:
        """Pass over those that would be late at `end`: returns those to drop; the others are late comers now."""
        if self._late is None:
            requests = self._oldest(low, high, self._largest) if self.drop == "hopeless" else ()
            return [request for request in requests if view.deadline(request) < end]
        for bucket in range(low, high + 1):
            self._late.pass_over(view, bucket, end)
        return []

    def _others(self, view: View, late: LateComers, counts: Sequence[int]) -> tuple[list[int], list[int]]:
        """The oldest of every bucket, and how many wait there, without those that cannot be on time any more."""
        for bucket, count in enumerate(counts):
            if count:
                late.pass_over(view, bucket, view.now + self._alone_s[self._kind(view, bucket)])
        counts = late.less(counts)
        heads = [late.others(bucket, 1) for bucket, count in enumerate(counts) if count]
        return [head[0] for head in heads if head], counts

    def _late_batch(self, view: View, late: LateComers) -> Dispatch | Drop | Wait:
        """Late comers alone, since no other waits; nothing where the time is worth more for those to come."""
        bucket, seen = late.oldest_bucket(), self._seen
        kind = view.kind(view.oldest(min(late.waiting, self._largest))) if self._packed else bucket
        found = self._choices.for_late(kind, min(late.waiting, self._largest), seen.quiet)
        if found is None:
            return Wait(seen.next_look)
        level, size = found
        requests = late.take(bucket, size)
        return Dispatch(sorted(requests), view.levels[level]) if requests else self.decide(view)

    def _with_the_late(self, view: View, requests: Sequence[int]) -> Sequence[int]:
        """These, with late comers in the places that would be filler."""
        late = self._late
        if late is None or not late.waiting:
            return requests
        room, more = view.plan.padded_batch(len(requests)) - len(requests), view.kind(requests)
        if self._packed and room:
            more, room = 0, self._fitting(view, requests, [each for each in view.oldest(room) if late.has(0, each)])
        return sorted([*late.take(more, room), *requests]) if room else requests

    def _fitting(self, view: View, requests: Sequence[int], more: Sequence[int]) -> int:
        """How many of these change nothing of what a packed batch runs at."""
        own, added = list(map(view.tokens, requests)), list(map(view.tokens, more))
        at = view.plan.key(1, own)
        return next((n for n in range(len(added), 0, -1) if view.plan.key(1, [*own, *added[:n]]) == at), 0)

    def _kind(self, view: View, bucket: int) -> int:
        """The kind of the oldest of a line alone."""
        if not self._packed:
            return bucket
        first = self._first(bucket, 1)
        return view.kind(first) if first else 0
