"""Whether a live run can be believed: what disturbed it, and a verdict with reasons."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from profiler.measuring import noise

#: A canary's median may move by so much from before the run to after it,
MAX_DRIFT = 0.01
#: threads may wait for a core so large a share of the run,
MAX_WAITING = 0.001
#: batches may take so large a share of the run beyond STALL times the median of their key,
MAX_STALLED, STALL = 0.002, 2.0
#: for so large a share of its blocks of time the device may be faster or slower than its own medians by SLOW,
MAX_SLOWED, SLOW, BLOCK_S = 0.02, 0.1, 0.25
#: and a free device's batch may begin so late, at the 99th percentile, as a share of the target.
MAX_LATE = 0.05
#: Repetitions of the canary, and the most seconds for them.
CANARIES, CANARY_S = 200, 0.25


@dataclass(frozen=True)
class Validity:
    """reasons: why the run is INVALID, none where it is VALID. Shares are of the run's seconds; None: not known.

    canary_s, canary_drift: a fixed batch's median time, and how it moved from before the run to after it.
    run_queue_delay: the threads' waits for a core, by the scheduler's statistics. stalls, stalled: batches that took
    more than twice their key's median, the loop's part included, and the time beyond it. slowed: the share of blocks of
    time in which the device had another speed. late_p50_s, late_p99_s: by how much batches began late. overhead_p50_s:
    what the loop took per batch beside the device's cycle.
    """

    reasons: tuple[str, ...]
    seconds: float
    canary_s: float | None
    canary_drift: float | None
    run_queue_delay: float | None
    stalls: int
    stalled: float
    slowed: float
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
        self.canary_s = (float("nan"), float("nan"))
        self.seconds = self.waiting = float("nan")

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Within it nothing is collected, so that no collection falls into a batch."""
        before = median_s(self._canary)
        gc.collect()
        gc.freeze()
        gc.disable()
        began, waited = time.perf_counter(), noise.run_queue_delay_s()
        try:
            yield
        finally:
            self.seconds = time.perf_counter() - began
            self.waiting = (noise.run_queue_delay_s() - waited) / self.seconds
            gc.enable()
            gc.unfreeze()
        self.canary_s = (before, median_s(self._canary))


def median_s(run: Callable[[], object]) -> float:
    """The median time of a canary, within a quarter of a second."""
    taken: list[float] = []
    began = time.perf_counter()
    while len(taken) < CANARIES and (len(taken) < 5 or time.perf_counter() - began < CANARY_S):
        start = time.perf_counter()
        run()
        taken.append(time.perf_counter() - start)
    return float(np.median(taken))


def judge(
    batches: Mapping[str, NDArray[Any]],
    keys: Sequence[Hashable],
    slo_s: float,
    seconds: float,
    waiting: float | None,
    canary_s: tuple[float, float] | None = None,
    clocked: bool = True,
) -> Validity:
    """Judge a run of so many seconds.

    batches: its columns, those of a device included. keys: what each batch ran at. waiting: the share of the time that
    threads waited for a core. canary_s: before and after the run, where there was one. clocked: whether the run was on
    the wall clock, so that lateness counts.
    """
    cycle, service, late = batches["cycle_s"], batches["service_s"], batches["late_s"]
    waiting = None if waiting is None or np.isnan(waiting) else waiting
    drift = canary_s[1] / canary_s[0] - 1 if canary_s else None
    usual = by_key(service, keys)  # with the loop's part: it may be held up as the device may
    excess = np.where(service > STALL * usual, service - usual, 0.0)
    stalled, slowed = float(excess.sum()) / seconds, slow_blocks(batches["start_s"], cycle / by_key(cycle, keys))
    late_p50, late_p99 = np.percentile(late, [50, 99]).tolist() if len(late) else (0.0, 0.0)
    reasons = []
    if drift is not None and abs(drift) > MAX_DRIFT:
        reasons.append(f"the canary drifted by {drift:+.1%} (limit {MAX_DRIFT:.0%})")
    if waiting is None:
        reasons.append("the run-queue delay is not known")
    elif waiting > MAX_WAITING:
        reasons.append(f"threads waited for a core {waiting:.2%} of the time (limit {MAX_WAITING:.1%})")
    if stalled > MAX_STALLED:
        reasons.append(f"stalls took {stalled:.2%} of the time (limit {MAX_STALLED:.1%})")
    if slowed > MAX_SLOWED:
        reasons.append(f"the device's speed was off by {SLOW:.0%} in {slowed:.0%} of the time (limit {MAX_SLOWED:.0%})")
    if clocked and late_p99 > MAX_LATE * slo_s:
        reasons.append(f"batches began {late_p99 * 1e3:.2f} ms late at p99 (limit {MAX_LATE:.0%} of the target)")
    return Validity(
        tuple(reasons),
        round(seconds, 3),
        float(np.mean(canary_s)) if canary_s else None,
        None if drift is None else round(drift, 5),
        None if waiting is None else round(waiting, 6),
        int((excess > 0).sum()),
        round(stalled, 6),
        round(slowed, 4),
        late_p50,
        late_p99,
        float(np.median(service - cycle)) if len(cycle) else 0.0,
    )


def by_key(seconds: NDArray[np.float64], keys: Sequence[Hashable]) -> NDArray[np.float64]:
    """Of each batch the median of its key."""
    groups: dict[Hashable, list[int]] = {}
    for number, key in enumerate(keys):
        groups.setdefault(key, []).append(number)
    medians = np.empty(len(seconds))
    for members in groups.values():
        medians[members] = np.median(seconds[members])
    return medians


def slow_blocks(start_s: NDArray[np.float64], ratio: NDArray[np.float64]) -> float:
    """The share of blocks in time in which the median batch was off its key's median by SLOW; 0 where nothing ran.

    This is what another guest of the host does to a processor for a second or two: too little for a stall, in the
    midst of the run, where no canary sees it.
    """
    edges = np.flatnonzero(np.diff(np.floor(start_s / BLOCK_S), prepend=-1.0))
    medians = [np.median(block) for block in np.split(ratio, edges[1:]) if len(block)]
    return float(np.mean(np.abs(np.log(medians)) > np.log1p(SLOW))) if medians else 0.0
