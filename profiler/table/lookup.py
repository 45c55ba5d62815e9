"""The table of looked-up lower layers: what the look-up takes, and what the layers that it stands for would."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from profiler.table.reading import read_rows

COLUMNS = {"model": str, "layers": int, "entries": int, "batch": int, "tokens": int}
COLUMNS |= {"lookup_us": float, "lower_us": float, "window_us": float}


class LookupTimes(NamedTuple):
    """Of one batch, in seconds. lookup_s: of the look-up. lower_s: of the layers that it stands for.

    window_s: to compute the entry of one window, of many at once.
    """

    lookup_s: float
    lower_s: float
    window_s: float


@dataclass(frozen=True, eq=False)
class LookupTable:
    """Rows of these COLUMNS. layers: how many of the first layers are looked up. entries: of the table of windows.

    updates: windows per second that are computed and inserted while others are served; no file says that.
    Raises ValueError for times that cannot be, for a model of which two numbers of layers are looked up, and for a row
    that is there twice.
    """

    rows: tuple[tuple[str, int, int, int, int, float, float, float], ...]
    updates: float = 0.0

    def __post_init__(self) -> None:
        layers: dict[str, int] = {}
        for number, (model, own, *_, lookup_us, lower_us, window_us) in enumerate(self.rows):
            where = f"lookup.csv, row {number}"
            if not all(0 < each < 1e12 for each in (lookup_us, lower_us, window_us)):
                raise ValueError(
                    f"{where}: lookup_us is {lookup_us}, lower_us {lower_us}, window_us {window_us} (must be positive)"
                )
            if layers.setdefault(model, own) != own:
                raise ValueError(f"{where}: {own} layers of {model} are looked up here, {layers[model]} above")
        if len({row[:5] for row in self.rows}) < len(self.rows):
            raise ValueError("lookup.csv: a model, layers, entries, batch and tokens are there twice")

    def layers(self, model: str) -> int:
        """How many of a model's first layers are looked up. Raises LookupError where it has no rows."""
        found = [row[1] for row in self.rows if row[0] == model]
        if not found:
            known = ", ".join(dict.fromkeys(row[0] for row in self.rows)) or "none"
            raise LookupError(
                f"lookup.csv has none for {model}; it has {known}: python -m profiler tenants measures it"
            )
        return found[0]

    def window_s(self, model: str) -> float:
        """Seconds to compute the entry of one window. Raises LookupError as `layers`."""
        self.layers(model)
        return next(row[7] for row in self.rows if row[0] == model) * 1e-6

    def entries(self, model: str) -> tuple[int, ...]:
        """The sizes of tables that were measured for a model, ascending."""
        return tuple(sorted({row[2] for row in self.rows if row[0] == model}))

    def times(self, model: str, entries: int, batch: int, tokens: int) -> LookupTimes:
        """Those of a measured key, with the smallest measured table of at least so many entries.

        Raises LookupError where none was measured.
        """
        key = (model, batch, tokens)
        found = [(row[2], row[5:]) for row in self.rows if (row[0], *row[3:5]) == key and row[2] >= entries]
        if not found:
            sizes = ", ".join(map(str, self.entries(model))) or "none"
            raise LookupError(
                f"lookup.csv has no {model} with {entries} entries at batch {batch}, {tokens} tokens; its tables have "
                f"{sizes}: python -m profiler tenants measures others"
            )
        return LookupTimes(*(us * 1e-6 for us in min(found)[1]))

    @classmethod
    def read(cls, path: Path) -> LookupTable:
        return cls(read_rows(path, COLUMNS))
