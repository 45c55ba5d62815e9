"""How to read a file, where it does not say so itself."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Reading:
    """What the caller says about a file. None: as the format has it.

    bin_s: seconds per row of counts. seed: places the arrivals within a bin. sort: allow rows out of order.
    columns: our column name -> the file's. time_unit: of the column of times, one of `traces.readers.times.UNITS`.
    """

    bin_s: float | None = None
    seed: int = 0
    sort: bool = False
    columns: Mapping[str, str] = field(default_factory=dict)
    time_unit: str | None = None
