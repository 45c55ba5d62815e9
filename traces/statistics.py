"""Statistics of a trace: how much, how bursty at which time scale, how long the requests are."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from traces.readers.findings import findings
from traces.trace import Trace

#: Windows in seconds over which requests are counted.
DISPERSION_WINDOWS = (0.01, 0.1, 1.0, 10.0, 60.0)
RATE_WINDOWS = (1.0, 10.0, 60.0)


@dataclass(frozen=True)
class Counts:
    """Requests per window of one length, from the start of the trace's time; a last incomplete window is left out.

    Kept sparse: `busy` holds the counts of windows that are not empty, `index` which they are.
    """

    window_s: float
    windows: int
    index: NDArray[np.int64]
    busy: NDArray[np.int64]

    @classmethod
    def of(cls, trace: Trace, window_s: float) -> Counts:
        start, _ = trace.window
        # The last arrival of a trace without a declared duration closes its last window.
        windows = int((trace.seconds or 0.0) / window_s * (1 + 1e-12))
        place = ((trace.arrival_s - start) / window_s).astype(np.int64)
        place = place[: np.searchsorted(place, windows)]
        firsts = np.flatnonzero(np.diff(place, prepend=-1))
        return cls(window_s, windows, place[firsts], np.diff(firsts, append=len(place)))

    @property
    def mean(self) -> float:
        return float(self.busy.sum()) / self.windows

    @property
    def variance(self) -> float:
        """Of the sample: divided by windows - 1."""
        squares = float(np.square(self.busy, dtype=np.float64).sum())
        return (squares - self.windows * self.mean**2) / (self.windows - 1)

    @property
    def dispersion(self) -> float | None:
        """Variance over mean (1 for Poisson); None for fewer than two windows or no requests."""
        return self.variance / self.mean if self.windows > 1 and len(self.busy) else None

    @property
    def zero_share(self) -> float | None:
        """Share of windows without a request."""
        return 1 - len(self.busy) / self.windows if self.windows else None

    @property
    def autocorrelation(self) -> float | None:
        """Between neighbouring windows; None where all are equal or there are fewer than three."""
        if self.windows < 3 or not len(self.busy) or self.variance <= 0:
            return None
        follows = np.flatnonzero(np.diff(self.index) == 1)
        products = float((self.busy[follows].astype(np.float64) * self.busy[follows + 1]).sum())
        first = float(self.busy[0]) if self.index[0] == 0 else 0.0
        last = float(self.busy[-1]) if self.index[-1] == self.windows - 1 else 0.0
        pairs, mean = self.windows - 1, self.mean
        sums = 2 * float(self.busy.sum()) - first - last
        return (products - mean * sums + pairs * mean**2) / (pairs * self.variance)

    def rate_quantile(self, share: float) -> float | None:
        """Requests per second that this share of the windows does not exceed (by rank); 1 gives the busiest."""
        if not self.windows:
            return None
        rank = _rank(self.windows, share) - (self.windows - len(self.busy))
        return float(np.partition(self.busy, rank)[rank]) / self.window_s if rank >= 0 else 0.0


@dataclass(frozen=True)
class Statistics:
    """What `python -m traces stats` shows; times in seconds, rates in requests/s, None where undefined.

    dispersion: by window length, variance over mean of the counts. peak and percentiles: rates by window length.
    zero_share and autocorrelation (lag 1): of counts over 1 s. gap_cv: of the gaps between arrivals.
    tokens: quantiles of the lengths by name. notes: what was done to the trace, and what is odd about it.
    """

    source: str
    requests: int
    seconds: float | None
    rate: float | None
    dispersion: dict[str, float | None]
    autocorrelation: float | None
    zero_share: float | None
    gap_cv: float | None
    zero_gap_share: float
    rates: dict[str, dict[str, float | None]]
    tokens: dict[str, float]
    tenants: int | None = None
    notes: tuple[str, ...] = field(default=())


def statistics(trace: Trace) -> Statistics:
    """Describe a trace."""
    gaps = np.diff(trace.arrival_s)
    mean_gap = float(gaps.mean()) if len(gaps) else 0.0
    counts = {seconds: Counts.of(trace, seconds) for seconds in DISPERSION_WINDOWS}
    quantiles = {"p50": 0.5, "p95": 0.95, "p99": 0.99, "busiest": 1.0}
    at = np.partition(trace.tokens, sorted({_rank(len(trace), q) for q in quantiles.values()}))
    return Statistics(
        source=trace.source,
        requests=len(trace),
        seconds=trace.seconds,
        rate=trace.rate,
        dispersion={f"{seconds:g}": counts[seconds].dispersion for seconds in DISPERSION_WINDOWS},
        autocorrelation=counts[1.0].autocorrelation,
        zero_share=counts[1.0].zero_share,
        gap_cv=float(gaps.std()) / mean_gap if mean_gap > 0 else None,
        zero_gap_share=float(np.count_nonzero(gaps == 0)) / max(1, len(gaps)),
        rates={
            f"{seconds:g}": {name: counts[seconds].rate_quantile(share) for name, share in quantiles.items()}
            for seconds in RATE_WINDOWS
        },
        tokens={"mean": float(trace.tokens.mean())}
        | {("max" if name == "busiest" else name): float(at[_rank(len(trace), q)]) for name, q in quantiles.items()},
        tenants=None if trace.tenant is None else len(set(trace.tenant.tolist())),
        notes=(*trace.notes, trace.observed, *(n for n in findings(trace.arrival_s) if n not in trace.notes)),
    )


def _rank(count: int, share: float) -> int:
    return max(0, int(np.ceil(share * count)) - 1)
