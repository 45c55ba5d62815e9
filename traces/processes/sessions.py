"""Sessions: tenants that ask several times in a row, leave, and may come back; fitted to a recorded order."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from traces.arrivals import bounded
from traces.locality import RULES, SHARES, hit_ratios, lru
from traces.shared.sums import dot

Codes = NDArray[np.int64]
#: A session of a tenant ends when an LRU cache of this share of the tenants, or of so many, would have forgotten it.
NEAR, FEWEST = 0.01, 8
#: A fit looks at this many requests at most, the first ones; and draws this often for every number of sessions.
MOST, DRAWS = 50_000, 2
#: Requests per tenant are kept as at most this many values.
VALUES = 200


@dataclass(frozen=True)
class Sessions:
    """Tenants with locality: each asks in sessions, of which `active` are under way at a time.

    requests, shares: of how many requests per tenant, ascending, and how many of the tenants have so many. exponent: a
    tenant of r requests has r ** exponent sessions on average. near, far: between two sessions of a tenant lie so many
    sessions of others, each scale from near to far as likely. Which of the active sessions asks next is chance. missed:
    the largest difference of a hit ratio (LRU, LFU, Belady; 1, 5, 10 % of the tenants) that the fit leaves.
    """

    requests: tuple[float, ...]
    shares: tuple[float, ...]
    exponent: float
    near: float
    far: float
    active: int
    missed: float = 0.0

    def __post_init__(self) -> None:
        if not self.requests or len(self.requests) != len(self.shares):
            raise ValueError(f"sessions: {len(self.requests)} requests and {len(self.shares)} shares; as many of both")
        if min(self.requests) < 1 or min(self.shares) < 0 or abs(sum(self.shares) - 1) > 1e-4:
            raise ValueError("sessions: requests per tenant must be at least 1, and their shares sum to 1")
        if not (0 <= self.exponent <= 1 and 0 < self.near <= self.far < np.inf and self.active >= 1):
            raise ValueError("sessions: exponent must lie in 0 to 1, near be positive, at most far, active at least 1")

    def draw(self, rng: np.random.Generator, count: int, tenants: int | None = None) -> Codes:
        """The tenant of each of so many requests, as a number from 0.

        tenants: how many there are; the default grows with the requests, as new ones go on coming. Requests per tenant
        are the quantiles themselves, in random order, so that runs differ less than with independent draws.
        """
        bounded(count)
        per_tenant = float(dot(self.requests, self.shares))
        if tenants is None:
            tenants = max(1, round(count / per_tenant))
        often = count / (tenants * per_tenant)
        places = (rng.permutation(tenants) + 0.5) / tenants
        own = np.take(self.requests, np.searchsorted(np.cumsum(self.shares)[:-1], places))
        sessions = np.maximum(1, _rounded(rng, often * own**self.exponent))
        asks = np.maximum(sessions, _rounded(rng, often * own))
        last = sessions.cumsum()
        owner, total = np.repeat(np.arange(tenants), sessions), int(last[-1])
        more = np.repeat(np.arange(tenants), asks - sessions)
        longer = last[more] - 1 - (rng.random(len(more)) * sessions[more]).astype(np.int64)
        length = 1 + np.bincount(longer, minlength=total)
        gap = self.near * np.exp(rng.random(total) * np.log(self.far / self.near)) / total
        first = last - sessions
        gap[first] = rng.random(tenants)
        begins = gap.cumsum()
        begins = (begins - np.repeat(begins[first] - gap[first], sessions)) % 1
        order = np.argsort(begins, kind="stable")
        return self._interleaved(rng, owner[order], length[order], count)

    def _interleaved(self, rng: np.random.Generator, owner: Codes, length: Codes, count: int) -> Codes:
        """The requests of sessions, in the order of their begins, `active` at a time; then all over again."""
        tenants, left = owner.tolist(), length.tolist()
        active = list(range(min(self.active, len(left))))
        asked, following = [], len(active)
        for chance in rng.random(count).tolist():
            at = int(chance * len(active))
            session = active[at]
            asked.append(tenants[session % len(tenants)])
            left[session] -= 1
            if not left[session]:
                if following == len(left):
                    left += length.tolist()
                active[at] = following
                following += 1
        return np.array(asked, np.int64)


def _rounded(rng: np.random.Generator, values: NDArray[np.float64]) -> Codes:
    """Up or down by chance, so that means stay."""
    return np.floor(values + rng.random(len(values))).astype(np.int64)


def fit_sessions(tenants: NDArray[Any]) -> Sessions:
    """Fit sessions to the order of tenants.

    The number of active sessions is the one whose draws miss the hit ratios of LRU, LFU and Belady least. Tenants that
    ask independently of each other have no sessions: `missed` shows that, and `zipf` fits them better.

    Raises ValueError for fewer than 100 requests, or where no tenant comes back.
    """
    _, asked = np.unique(np.asarray(tenants, object).astype(str)[:MOST], return_inverse=True)
    if len(asked) < 100:
        raise ValueError(f"{len(asked)} requests are too few to fit tenants (100)")
    count, order = int(asked.max()) + 1, asked.tolist()
    begins = np.flatnonzero(~np.array(lru(order, max(FEWEST, round(NEAR * count)))))
    if len(asked) == count:
        raise ValueError("no tenant asks twice: there is no locality to fit")
    requests = np.sort(np.bincount(asked)).astype(np.float64)
    gaps = _gaps(asked[begins])
    near, far = np.quantile(gaps, [0.05, 0.95]).tolist() if len(gaps) else (1.0, 1.0)
    values, shares = _kept(requests)
    exponent = _exponent(requests, len(begins))
    wanted = _flat(order)
    best, least = None, np.inf
    for active in range(1, 2 * _concurrent(asked, begins) + 2):
        model = Sessions(values, shares, exponent, near, far, active)
        runs = [_flat(model.draw(np.random.default_rng(seed), len(asked), count).tolist()) for seed in range(DRAWS)]
        missed = float(np.abs(np.mean(runs, axis=0) - wanted).max())
        if missed < least:
            best, least = model, missed
    assert best is not None
    return replace(best, missed=least)


def _flat(asked: list[int]) -> NDArray[np.float64]:
    ratios = hit_ratios(asked)
    return np.array([ratios[f"{share:.0%}"][name] for share in SHARES for name in RULES])


def _gaps(owners: Codes) -> Codes:
    """Of sessions in order, how many begin between one of a tenant and its next."""
    order = np.argsort(owners, kind="stable")
    again = owners[order][1:] == owners[order][:-1]
    found: Codes = np.diff(order)[again]
    return found


def _concurrent(asked: Codes, begins: Codes) -> int:
    """How many sessions are under way at a time: those that have begun and will ask again, on average."""
    ends: dict[int, int] = {}
    session, last = np.full(int(asked.max()) + 1, -1), np.zeros(len(begins), np.int64)
    starts = set(begins.tolist())
    following = 0
    for place, tenant in enumerate(asked.tolist()):
        if place in starts:
            session[tenant] = following
            following += 1
        ends[session[tenant]] = place
    last[list(ends)] = list(ends.values())
    return max(1, round(float((last - begins + 1).sum()) / len(asked)))


def _exponent(requests: NDArray[np.float64], sessions: int) -> float:
    """The power of the requests per tenant that sums to the number of sessions."""
    low, high = 0.0, 1.0
    for _ in range(50):
        middle = (low + high) / 2
        low, high = (middle, high) if (requests**middle).sum() < sessions else (low, middle)
    return low


def _kept(requests: NDArray[np.float64]) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """The values of sorted requests and their shares; neighbours are merged where they are too many."""
    values, counts = np.unique(requests, return_counts=True)
    while len(values) > VALUES:
        odd = len(values) % 2
        pairs, many = values[odd:].reshape(-1, 2), counts[odd:].reshape(-1, 2)
        merged = (pairs * many).sum(1) / many.sum(1)
        values, counts = np.concatenate([values[:odd], merged]), np.concatenate([counts[:odd], many.sum(1)])
    return tuple(values.tolist()), tuple((counts / counts.sum()).tolist())


def named(codes: NDArray[np.int64]) -> NDArray[Any]:
    """Numbers as names."""
    # Taking Python strings is ten times as fast as taking NumPy's.
    return np.take(np.arange(int(codes.max()) + 1).astype(str).astype(object), codes)
