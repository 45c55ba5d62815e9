"""The table of adapters: what a tenant's adapter takes of memory, of the link, and of a batch's time."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from profiler.table.reading import read_rows

COLUMNS = {"model": str, "kind": str, "bytes": int, "load_us": float}
COLUMNS |= {"distinct": int, "batch": int, "tokens": int, "extra_us": float}


class Adapter(NamedTuple):
    """One whole tenant: its resident bytes (all adapter layers and its head), and the seconds that the link takes."""

    bytes: int
    load_s: float


@dataclass(frozen=True, eq=False)
class AdapterTable:
    """Rows of these COLUMNS. extra_us: what the adapters of so many distinct tenants add to a batch.

    A model's first kind is its default. Raises ValueError for a kind of two sizes and for what is there twice.
    """

    rows: tuple[tuple[str, str, int, float, int, int, int, float], ...]

    def __post_init__(self) -> None:
        first: dict[tuple[str, str], Adapter] = {}
        for number, (model, kind, size, load_us, distinct, batch, _, extra_us) in enumerate(self.rows):
            where = f"adapter table, row {number}"
            if not (0 < load_us < np.inf and 0 <= extra_us < np.inf):
                raise ValueError(f"{where}: load_us is {load_us} (must be positive), extra_us {extra_us} (0 or more)")
            if distinct > batch:
                raise ValueError(f"{where}: {distinct} distinct tenants in a batch of {batch}")
            if first.setdefault((model, kind), Adapter(size, load_us * 1e-6)) != (size, load_us * 1e-6):
                raise ValueError(f"{where}: bytes and load_us of {model} {kind} are others than above")
        if len({(*row[:2], *row[4:7]) for row in self.rows}) < len(self.rows):
            raise ValueError("adapter table: a model, kind, distinct, batch and tokens are there twice")

    def adapters(self, model: str) -> dict[str, Adapter]:
        """What one tenant of each kind of a model takes, the default first. Raises LookupError where it has none."""
        found = {row[1]: Adapter(row[2], row[3] * 1e-6) for row in self.rows if row[0] == model}
        if not found:
            known = ", ".join(dict.fromkeys(row[0] for row in self.rows)) or "none"
            raise LookupError(f"adapters.csv has none for {model}; it has {known}: profile its adapters")
        return found

    def extra_s(self, model: str, kind: str, distinct: int, batch: int, tokens: int) -> float:
        """What so many distinct tenants add to a batch: the measured length, then batch, then tenants next above.

        Raises LookupError where nothing above was measured.
        """
        above = [
            ((row[6], row[5], row[4]), row[7])
            for row in self.rows
            if row[:2] == (model, kind) and row[6] >= tokens and row[5] >= batch and row[4] >= distinct
        ]
        if not above:
            raise LookupError(
                f"adapters.csv has no {model} {kind} for {distinct} distinct tenants at batch {batch}, {tokens} "
                f"tokens: profile it"
            )
        return min(above)[1] * 1e-6

    @classmethod
    def read(cls, path: Path) -> AdapterTable:
        return cls(read_rows(path, COLUMNS))
