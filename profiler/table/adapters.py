"""The table of adapters: what a tenant's adapter takes of memory, of the link, and of a batch's time."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from profiler.table.reading import read_columns, read_rows

COLUMNS = {"model": str, "kind": str, "bytes": int, "load_us": float}
COLUMNS |= {"distinct": int, "batch": int, "tokens": int, "extra_us": float}
#: Columns that a file may have beside these.
MORE: dict[str, type] = {"layers": int, "disk_us": float, "way": str}
#: How adapters are applied where a file does not say which way was the fastest.
WAY = "gather_bmm"


class Adapter(NamedTuple):
    """One whole tenant: its resident bytes (all adapter layers and its head), and the seconds that the link takes.

    layers: how many of the model's layers have adapters, the last ones; 0: all. disk_s: to read it from the disk.
    """

    bytes: int
    load_s: float
    layers: int = 0
    disk_s: float = 0.0


@dataclass(frozen=True, eq=False)
class AdapterTable:
    """Rows of these COLUMNS. extra_us: what the adapters of so many distinct tenants add to a batch.

    A model's first kind is its default. layers, disk_us: of each row, where they are known (see `Adapter`). way: how
    the adapters of each row were applied, by the names of `profiler.models.adapters.WAYS`; no simulation uses it.
    Raises ValueError for a kind of two sizes and for what is there twice.
    """

    rows: tuple[tuple[str, str, int, float, int, int, int, float], ...]
    layers: tuple[int, ...] = ()
    disk_us: tuple[float, ...] = ()
    way: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        first: dict[tuple[str, str], Adapter] = {}
        for number, (model, kind, _, load_us, distinct, batch, _, extra_us) in enumerate(self.rows):
            where = f"adapter table, row {number}"
            if not (0 < load_us < np.inf and 0 <= extra_us < np.inf):
                raise ValueError(f"{where}: load_us is {load_us} (must be positive), extra_us {extra_us} (0 or more)")
            if distinct > batch:
                raise ValueError(f"{where}: {distinct} distinct tenants in a batch of {batch}")
            adapter = self._adapter(number)
            if not 0 <= adapter.disk_s < np.inf:
                raise ValueError(f"{where}: disk_us is {adapter.disk_s * 1e6} (must be 0 or more)")
            if first.setdefault((model, kind), adapter) != adapter:
                names = ", ".join(("bytes", "load_us", "layers", "disk_us"))
                raise ValueError(f"{where}: one of {names} of {model} {kind} is another than above")
        if len({(*row[:2], *row[4:7]) for row in self.rows}) < len(self.rows):
            raise ValueError("adapter table: a model, kind, distinct, batch and tokens are there twice")

    def adapters(self, model: str) -> dict[str, Adapter]:
        """What one tenant of each kind of a model takes, the default first. Raises LookupError where it has none."""
        found = {row[1]: self._adapter(number) for number, row in enumerate(self.rows) if row[0] == model}
        if not found:
            known = ", ".join(dict.fromkeys(row[0] for row in self.rows)) or "none"
            raise LookupError(f"adapters.csv has none for {model}; it has {known}: profile its adapters")
        return found

    def extra_s(self, model: str, kind: str, distinct: int, batch: int, tokens: int) -> float:
        """What so many distinct tenants add to a batch: the measured length, then batch, then tenants next above.

        Raises LookupError where nothing above was measured.
        """
        return self.rows[self._above(model, kind, distinct, batch, tokens)][7] * 1e-6

    def applied(self, model: str, kind: str, distinct: int, batch: int, tokens: int) -> str:
        """The way that was the fastest for such a batch; as for `extra_s`."""
        return self.way[self._above(model, kind, distinct, batch, tokens)] if self.way else WAY

    def _above(self, model: str, kind: str, distinct: int, batch: int, tokens: int) -> int:
        """The row that stands for such a batch."""
        above = [
            ((row[6], row[5], row[4]), number)
            for number, row in enumerate(self.rows)
            if row[:2] == (model, kind) and row[6] >= tokens and row[5] >= batch and row[4] >= distinct
        ]
        if not above:
            raise LookupError(
                f"adapters.csv has no {model} {kind} for {distinct} distinct tenants at batch {batch}, {tokens} "
                f"tokens: profile it"
            )
        return min(above)[1]

    @property
    def key(self) -> tuple[object, ...]:
        """Everything that can change a run."""
        return (self.rows, *filter(None, (self.layers, self.disk_us)))

    @classmethod
    def read(cls, path: Path) -> AdapterTable:
        more = {name: kind for name, kind in MORE.items() if name in read_columns(path, ())}
        found = {name: tuple(row[0] for row in read_rows(path, {name: kind})) for name, kind in more.items()}
        return cls(read_rows(path, COLUMNS), **found)

    def _adapter(self, number: int) -> Adapter:
        _, _, size, load_us, *_ = self.rows[number]
        layers = self.layers[number] if self.layers else 0
        return Adapter(size, load_us * 1e-6, layers, self.disk_us[number] * 1e-6 if self.disk_us else 0.0)


def slower_beside(meta: Mapping[str, Any], model: str) -> float:
    """By which factor a batch of a model takes longer while an adapter is loaded, as metadata has it; else 1."""
    own = meta.get("adapters", {}).get(model, {})
    return float(max(1.0, own.get("beside", {}).get("compute", 1.0)))
