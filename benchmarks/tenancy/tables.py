"""Tables of devices that nobody measured: the assumed rates of reference/tenants.md, section 5.3."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from profiler.table import LatencyTable
from profiler.table.writing import write_table

MODEL, LAYERS, TOKENS, BYTES = "teacher-6x768", 6, 128, 1_190_000
SIZES = (1, 2, 4, 8, 16, 32, 64)
#: Of every batch, whatever its size.
FIXED_US = 350.0


class Card(NamedTuple):
    """A device: its name, and the microseconds of a request's six layers at 128 tokens and of a tenant's load."""

    device: str
    request_us: float
    load_us: float


CARDS = {"h200": Card("NVIDIA H200, assumed rates", 27.9, 21.6), "t4": Card("NVIDIA T4, assumed rates", 447.0, 99.0)}


def assumed(folder: Path, name: str) -> LatencyTable:
    """Write the table of a card into a folder: one length, adapters in all layers, which add nothing to a batch."""
    card = CARDS[name]
    same = {"model": MODEL, "tokens": TOKENS}
    rows = [same | {"students": 1, "depth": LAYERS, "hidden": 768, "batch": size,
                    "latency_us": FIXED_US + card.request_us * size} for size in SIZES]  # fmt: skip
    own = same | {"kind": "bottleneck-64", "bytes": BYTES, "load_us": card.load_us, "layers": LAYERS, "extra_us": 0.0}
    adapters = [own | {"distinct": size, "batch": size} for size in SIZES]
    return write_table(folder / f"{name}-assumed", rows, {"device": card.device, "kind": "modelled"}, adapters=adapters)
