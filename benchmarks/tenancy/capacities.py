"""How many tenants, and how many requests per second, are served within a target: budget x skew x link."""

from __future__ import annotations

from pathlib import Path

from pandas import DataFrame

import analysis
from profiler.table import LatencyTable
from profiler.table.slower import PREFIX
from tenancy.runs import CROSSING, adapter_of, batch_of

#: Slots, exponents of popularity, factors on the time of loads.
SLOTS, EXPONENTS, LINKS = (100, 1000), (0.6, 0.9), (1.0, 4.0)
#: The target in largest batches; tenants of the highest rate; the rate of the most tenants, of what full batches serve.
BATCHES, TENANTS, LOAD = 2, 10_000, 0.7
#: More tenants than that are not looked for.
MOST = 100_000


def capacities(folder: Path, model: str, requests: int) -> DataFrame:
    """The most tenants at a rate and the highest rate with TENANTS, by cell; other links than the own are modelled.

    requests: of a run, or more, so that a steady rate lasts.
    """
    table = LatencyTable.load(folder)
    size, tokens, service_s = batch_of(table, model)
    slo_ms, rate = 1e3 * BATCHES * service_s, LOAD * size / service_s
    unit = adapter_of(table, model).bytes
    same = {"model": model, "policy": CROSSING, "slo_ms": slo_ms, "lengths": f"constant:{tokens}", "seeds": 1,
            "adapter_budget": [str(slots * unit) for slots in SLOTS]}  # fmt: skip
    most = analysis.tenants_that_fit(
        table=str(folder), trace=f"poisson:rate={rate:g},duration={requests / rate:g}", link=LINKS, most=MOST,
        tenants=[f"zipf:exponent={each}" for each in EXPONENTS], tolerance=0.1, **same,
    )  # fmt: skip
    rates = analysis.capacity(
        table=[str(folder) if factor == 1 else f"{PREFIX}{folder},times={factor:g}" for factor in LINKS],
        tenants=[f"zipf:count={TENANTS},exponent={each}" for each in EXPONENTS], requests=requests,
        tolerance=0.1, **same,
    )  # fmt: skip
    found = _cells(most, unit, "most", "limited").merge(
        _cells(rates, unit, "capacity"), on=["slots", "exponent", "link"]
    )
    return found.assign(device=table.device, slo_ms=slo_ms, rate=rate)


def _cells(found: DataFrame, unit: int, *figures: str) -> DataFrame:
    """Figures by slots, exponent and link."""
    exponent = found["tenants"].str.extract(r"exponent=([\d.]+)")[0].astype(float)
    link = found["table"].str.extract(r"times=([\d.]+)")[0].astype(float).fillna(1.0)
    own = DataFrame({"slots": found["adapter_budget"].astype(int) // unit, "exponent": exponent, "link": link})
    return own.assign(**{name: found[name] for name in figures})
