"""Many tenants: a renewal process for each client and window, merged into one trace."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from traces import files
from traces.arrivals import Rng, bounded, gap_family, positive, renewal_process
from traces.draft import Draft

Array = NDArray[np.float64]


class TenantTable(NamedTuple):
    """Rate, family and shape per client and window, as ServeGen publishes them; one row per cell, arrays of one length.

    start_s: where the window begins. client: its name. rate: requests/s. family: Gamma or Weibull. shape: of the gaps.
    window_s: the length of every window. Mean gaps are 1 / rate: the published Weibull scales fit it only roughly.
    """

    start_s: Array
    client: NDArray[Any]
    rate: Array
    family: NDArray[Any]
    shape: Array
    window_s: float

    @property
    def seconds(self) -> float:
        return float(self.start_s.max()) + self.window_s

    @classmethod
    def read(cls, path: Path) -> TenantTable:
        """From a CSV file with window_s, client, rate_rps, iat_cv, family and optionally p1 (the shape)."""
        types = {"window_s": pa.float64(), "client": pa.string(), "rate_rps": pa.float64(), "iat_cv": pa.float64()}
        types |= {"family": pa.string()} | ({"p1": pa.float64()} if "p1" in files.header(path) else {})
        read = files.read_csv(path, types)
        if not len(read["client"]):
            raise ValueError(f"{path} has a header only: at least one client is needed")
        numbers = [read[name] for name in ("window_s", "rate_rps", "iat_cv")]
        bad = np.any([~np.isfinite(n) | (n < 0) for n in numbers], axis=0) | (read["iat_cv"] == 0)
        if bad.any():
            raise ValueError(
                f"{path}, row {int(bad.argmax())}: windows, rates and cvs must be numbers, and cv positive"
            )
        families = [gap_family(str(name)) for name in read["family"]]
        shape = read.get("p1")
        if shape is None:
            shape = np.array([f.shape(cv) for f, cv in zip(families, read["iat_cv"].tolist(), strict=True)])
        steps = np.diff(np.unique(read["window_s"]))
        window_s = float(steps.min()) if len(steps) else 600.0
        return cls(read["window_s"], read["client"], read["rate_rps"], read["family"], shape, window_s)

    def cells(self, start: float, end: float) -> Iterator[tuple[int, float, float]]:
        """The rows that are active between two times, and from when to when; the table repeats after its end."""
        bounded((end - start) / self.seconds, "turns of the table")
        for turn in range(int(start // self.seconds), math.ceil(end / self.seconds)):
            begins = self.start_s + turn * self.seconds
            for row in np.flatnonzero((begins < end) & (begins + self.window_s > start) & (self.rate > 0)).tolist():
                yield row, max(float(begins[row]), start), min(float(begins[row]) + self.window_s, end)


def tenants(
    rng: Rng,
    *,
    table: str | None = None,
    rate: float | None = None,
    clients: int = 50,
    zipf: float = 1.0,
    cv: float = 1.5,
    family: str = "gamma",
    start: float = 0.0,
    duration: float = 60.0,
) -> Draft:
    """Requests of many clients, each a Gamma or Weibull renewal process; the `tenant` column names the client.

    `table`: rate, cv and family per client and window (ServeGen's columns), from `start` on. Without one, `clients`
    with Zipf rates (the k-th in proportion to k^-zipf), all of one `cv` and `family`, 1000 requests/s by default.
    """
    positive(duration=duration, rate=rate, start=start or None)
    if table is None:
        made = zipf_tenants(clients, zipf, cv, family, duration)
        rate = 1000.0 if rate is None else rate
    else:
        made = TenantTable.read(Path(table))
    cells = list(made.cells(start, start + duration))
    expected = sum(made.rate[row] * (last - first) for row, first, last in cells) / duration
    if not expected > 0:
        raise ValueError(f"no client is active from {start:g} to {start + duration:g} s")
    factor = 1.0 if rate is None else rate / expected
    bounded(factor * expected * duration)
    pieces = [
        renewal_process(
            rng, gap_family(str(made.family[row])), float(made.shape[row]), factor * made.rate[row], last - first
        )
        + (first - start)
        for row, first, last in cells
    ]
    names, owner = np.unique(made.client.astype(str), return_inverse=True)
    # Taking Python strings is ten times as fast as taking NumPy's.
    names = names.astype(object)
    arrivals, owners = merge(pieces, [int(owner[row]) for row, _, _ in cells], duration)
    active = len({made.client[row] for row, _, _ in cells})
    notes = () if table is None else (f"rates of {active} clients from {table}",)
    return Draft(arrivals, {"tenant": np.take(names, owners)}, duration, notes)


def merge(pieces: list[Array], owners: list[int], end: float) -> tuple[Array, NDArray[np.int64]]:
    """All arrivals in order, and the owner of each.

    Time and owner are packed into one integer, so that one fast sort orders both, ties too. Times below `end` keep 63
    bits less those of the owner: for up to 1024 owners all that a float has.
    """
    bits = max(owners).bit_length()
    steps = 2.0 ** (62 - bits)
    owned = zip(pieces, owners, strict=True)
    packed = np.concatenate([((piece * (steps / end)).astype(np.int64) << bits) | owner for piece, owner in owned])
    packed.sort()
    arrivals: Array = (packed >> bits) * np.float64(end / steps)
    packed &= (1 << bits) - 1
    return arrivals, packed


def zipf_tenants(clients: int, zipf: float, cv: float, family: str, seconds: float) -> TenantTable:
    """Clients with Zipf popularity in one window: the total rate is 1."""
    positive(cv=cv)
    if not 1 <= clients <= 10_000_000 or not 0 <= zipf <= 100:
        raise ValueError(f"clients is {clients}, zipf {zipf} (must be from 1 to 10,000,000, and from 0 to 100)")
    weight = np.arange(1, clients + 1, dtype=np.float64) ** -zipf
    shape = np.full(clients, gap_family(family).shape(cv))
    names = np.arange(clients).astype(str)
    return TenantTable(np.zeros(clients), names, weight / weight.sum(), np.full(clients, family), shape, seconds)
