"""CascadeServe's gear plan (Kossmann and others, arXiv 2406.14424): a cascade and a least batch for every rate."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from policies.interface import Dispatch, Planned, View, Wait
from policies.machinery.cascades import Cascade, Service, front, of_recorded
from policies.machinery.deadlines import latest_start
from policies.machinery.limits import batch_limit
from policies.machinery.recorded import recorded_answers
from profiler.table import Level


@dataclass
class CascadeServe:
    """Every period_s the rate picks a gear: a cascade, and how many must wait before all that wait are served.

    Offline (its section 4, for an SLO on latency): a cascade answers a request at the first prefix of students whose
    certainty, the margin of its likeliest answer, is high enough; of those with up to `stages` prefixes, the ones on
    the Pareto front of accuracy and throughput are kept. The rates up to qps_max (default: what the fastest serves) are
    split into `ranges`; each has the most accurate cascade for which some least batch, tried from 1 on, serves its
    highest rate within the SLO, waiting to fill included; where none can, the fastest. Online (section 5): no gear of a
    lower rate is taken while the rate is below `alpha` times the queue.

    Accuracies and margins are those of recorded answers (`items`, else shipped ones), of the rows for learning; a model
    without any, and any with stages=1, has its levels alone, as in the source's ablation without cascades. Simplified:
    the models of a cascade are prefixes of one ensemble, and a request that is not sure goes on within its batch, where
    the source has a queue and a least batch per model; all GPUs have all models, so nothing is placed; arrivals are
    taken as even and lengths as the greatest where the source simulates; no request waits to fill a batch beyond the
    last moment for the SLO.
    """

    ranges: int = 10
    qps_max: float | None = None
    stages: int = 3
    alpha: float = 8.0
    period_s: float = 0.1
    items: str | None = None
    max_batch: int | None = None
    needs = frozenset({"stops"})
    uses = frozenset(
        {"now", "waiting", "gpus", "levels", "plan", "service", "slo_s", "rate", "oldest", "deadline", "kind"}
    )

    def start(self, view: View) -> None:
        known = self.ranges >= 1 and (self.qps_max is None or self.qps_max / self.ranges > 0)
        if not (known and self.alpha >= 0 and self.period_s > 0):
            raise ValueError(f"cascadeserve needs ranges >= 1, alpha >= 0, period_s > 0 and qps_max > 0: {self}")
        self._largest = batch_limit(self.max_batch, view.plan)
        self._service = view.service
        self._gears, self._width = self.gear_plan(view)
        self._at, self._measure_at = 0, 0.0

    def plans(self, levels: Sequence[Level], service: Service) -> Iterator[Planned]:
        """Every batch of a cascade on the Pareto front."""
        for cascade in self._front(levels, service):
            if cascade.plan is not None:
                for bucket, row in enumerate(service[cascade.level.index]):
                    for size in range(1, len(row)):
                        yield Planned(cascade.level, bucket, size, cascade.plan)

    def decide(self, view: View) -> Dispatch | Wait:
        if view.now >= self._measure_at:
            self._measure_at = view.now + self.period_s
            rate = view.rate(self.period_s)
            at = int(min(rate / self._width, self.ranges - 1))
            if at > self._at or rate >= self.alpha * view.waiting:
                self._at = at
        cascade, least = self._gears[self._at]
        batch = view.oldest(self._largest)
        if view.waiting < least:
            due = latest_start(view.deadline(batch[0]), cascade.seconds(self._service, view.kind(batch), len(batch)))
            if view.now < due:
                return Wait(until=min(due, self._measure_at), waiting=least)
        return Dispatch(batch, cascade.level, plan=cascade.plan)

    def gear_plan(self, view: View) -> tuple[list[tuple[Cascade, int]], float]:
        """The gear of every range of rates, a cascade with its least batch; and how wide the ranges are, per second."""
        cascades, sizes = self._front(view.levels, view.service), range(1, batch_limit(self.max_batch, view.plan) + 1)
        seconds = [[cascade.seconds(view.service, -1, size) for size in sizes] for cascade in cascades]
        rates = [size / each for size, each in zip(sizes, seconds[0], strict=True) if each <= view.slo_s]
        width = (self.qps_max or view.gpus * max(rates, default=1 / seconds[0][0])) / self.ranges

        def gear(rate: float) -> tuple[Cascade, int]:
            for cascade, its in zip(reversed(cascades), reversed(seconds), strict=True):
                for size, each in zip(sizes, its, strict=True):
                    if (size - 1) / rate + each <= view.slo_s and size * view.gpus >= rate * each:
                        return cascade, size
            return cascades[0], 1

        return [gear((at + 1) * width) for at in range(self.ranges)], width

    def _front(self, levels: Sequence[Level], service: Service) -> list[Cascade]:
        if self.stages < 1:
            raise ValueError(f"cascadeserve needs stages >= 1, not {self.stages}")
        recorded = recorded_answers("cascadeserve", self.items, levels) if self.stages > 1 else None
        if recorded is None:
            return front([Cascade.whole(level) for level in levels], service)
        path, items = recorded
        own = [each for each in levels if each.model == items.about["model"] and each.students <= items.stages]
        others = [Cascade.whole(each) for each in levels if each not in own]
        return front([*others, *of_recorded(items, own, self.stages, path)], service)
