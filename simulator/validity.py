"""Whether a live run can be believed: what disturbed it, and a verdict with reasons."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from profiler import noise

#: A canary's median may move by so much from before the run to after it,
MAX_DRIFT = 0.01
#: threads may wait for a core so large a share of the run,
MAX_WAITING = 0.001
#: batches may take so large a share of the run beyond STALL times the median of their key,
MAX_STALLED, STALL = 0.002, 2.0
#: and a free device's batch may begin so late, at the 99th percentile, as a share of the target.
MAX_LATE = 0.05
#: Repetitions of the canary, and the most seconds for them.
CANARIES, CANARY_S = 200, 0.25


@dataclass(frozen=True)
class Validity:
    """reasons: why the run is INVALID, none where it is VALID. Shares are of the run's seconds; None: not known.

    canary_drift: of a fixed batch's median time, from before the run to after it. run_queue_delay: the threads' waits
    for a core, by the scheduler's statistics. stalls, stalled: batches that took more than twice their key's median,
    and the time beyond it. late_p50_s, late_p99_s: by how much batches began late. overhead_p50_s: what the loop took
    per batch beside the device's cycle.
    """

    reasons: tuple[str, ...]
    seconds: float
    canary_drift: float
    run_queue_delay: float | None
    stalls: int
    stalled: float
    late_p50_s: float
    late_p99_s: float
    overhead_p50_s: float

    @property
    def valid(self) -> bool:
        return not self.reasons

    def __str__(self) -> str:
        return "VALID" if self.valid else f"INVALID: {'; '.join(self.reasons)}"

    def as_dict(self) -> dict[str, Any]:
        """Plain values for a JSON file."""
        return {"valid": self.valid, **asdict(self)}


class Watch:
    """Watches a run from before it to after it. canary: runs a fixed small batch on the device."""

    def __init__(self, canary: Callable[[], object]) -> None:
        self._canary = canary
        self.seconds = self.drift = self.waiting = float("nan")

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Within it nothing is collected, so that no collection falls into a batch."""
        before = self._median()
        gc.collect()
        gc.freeze()
        gc.disable()
        began, waited = time.perf_counter(), noise.run_queue_delay_s()
        try:
            yield
        finally:
            self.seconds = time.perf_counter() - began
            self.waiting = noise.run_queue_delay_s() - waited
            gc.enable()
            gc.unfreeze()
        self.drift = self._median() / before - 1

    def verdict(
        self, batches: Mapping[str, NDArray[Any]], keys: Sequence[tuple[Any, ...]], slo_s: float, clocked: bool
    ) -> Validity:
        """What is to be said of the run. batches: its columns, those of a device included; keys: what each ran at.

        clocked: whether the run was on the wall clock, so that lateness counts.
        """
        cycle, late, service = batches["cycle_s"], batches["late_s"], batches["service_s"]
        excess = stalls(cycle, keys)
        share = self.waiting / self.seconds
        late_p50, late_p99 = np.percentile(late, [50, 99]).tolist() if len(late) else (0.0, 0.0)
        stalled = float(excess.sum()) / self.seconds
        reasons = []
        if abs(self.drift) > MAX_DRIFT:
            reasons.append(f"the canary drifted by {self.drift:+.1%} (limit {MAX_DRIFT:.0%})")
        if np.isnan(share):
            reasons.append("the run-queue delay is not known on this system")
        elif share > MAX_WAITING:
            reasons.append(f"threads waited for a core {share:.2%} of the time (limit {MAX_WAITING:.1%})")
        if stalled > MAX_STALLED:
            reasons.append(f"stalls took {stalled:.2%} of the time (limit {MAX_STALLED:.1%})")
        if clocked and late_p99 > MAX_LATE * slo_s:
            reasons.append(f"batches began {late_p99 * 1e3:.2f} ms late at p99 (limit {MAX_LATE:.0%} of the target)")
        return Validity(
            tuple(reasons),
            round(self.seconds, 3),
            round(self.drift, 5),
            None if np.isnan(share) else round(share, 6),
            int((excess > 0).sum()),
            round(stalled, 6),
            late_p50,
            late_p99,
            float(np.median(service - cycle)) if len(cycle) else 0.0,
        )

    def _median(self) -> float:
        taken: list[float] = []
        began = time.perf_counter()
        while len(taken) < CANARIES and (len(taken) < 5 or time.perf_counter() - began < CANARY_S):
            start = time.perf_counter()
            self._canary()
            taken.append(time.perf_counter() - start)
        return float(np.median(taken))


def stalls(seconds: NDArray[np.float64], keys: Sequence[tuple[Any, ...]]) -> NDArray[np.float64]:
    """Seconds of each batch beyond its key's median, where it took more than STALL times that; else 0."""
    groups: dict[tuple[Any, ...], list[int]] = {}
    for number, key in enumerate(keys):
        groups.setdefault(key, []).append(number)
    excess = np.zeros(len(seconds))
    for members in groups.values():
        own = seconds[members]
        median = np.median(own)
        excess[members] = np.where(own > STALL * median, own - median, 0.0)
    return excess
