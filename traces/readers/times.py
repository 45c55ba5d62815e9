"""Times: an arrival column of any type becomes seconds, in one way for every format."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from traces import files
from traces.typed import STAMP, TIME

PER_SECOND = {"s": 1, "ms": 1_000, "us": 1_000_000, "ns": 1_000_000_000}
UNITS = (*PER_SECOND, "iso")
#: Later times are no seconds: this is the year 5138, and epoch milliseconds passed it in 1973.
_LATEST_S = 1e11
#: A clock that is set back at the end of summer time goes back by this much.
_HOUR_S = 3600.0


def read_timed(path: Path, stamp: str, unit: str, types: Any) -> tuple[dict[str, NDArray[Any]], bool]:
    """The columns of a table, its column of times for `seconds` among them; and whether the times lack a zone."""
    if unit not in UNITS:
        raise ValueError(f"no time unit {unit!r}; choose {', '.join(UNITS)}")
    if unit != "iso":
        columns = files.read(path, {stamp: TIME, **types})
        return columns, columns[stamp].dtype.kind == "M" and _zoneless(path, stamp)
    try:
        columns = files.read(path, {stamp: STAMP, **types})
        naive = columns[stamp].dtype.kind != "M" or _zoneless(path, stamp)
    except ValueError as error:
        if "zone offset" not in str(error):
            raise
        return files.read(path, {stamp: pa.timestamp("ns", "UTC"), **types}), False
    if columns[stamp].dtype == object:
        columns[stamp], naive = _parsed(path, stamp, columns[stamp])
    return columns, naive


def seconds(
    path: Path, name: str, stamps: NDArray[Any], unit: str, *, shift: bool
) -> tuple[NDArray[np.float64], tuple[str, ...]]:
    """Seconds of a column of times, and a note on what t = 0 is.

    stamps: numbers in the unit, or date-times and durations, whose type says what they are. shift: let the first be 0,
    subtracted before anything is rounded; date-times always are. Raises ValueError for times that are missing or of
    another kind, and for numbers that cannot be in this unit.
    """
    if not len(stamps):
        return np.zeros(0), ()  # a trace without requests says so itself
    kind = stamps.dtype.kind
    if kind in "mM":
        if np.isnat(stamps).any():
            raise ValueError(f"{path}, row {int(np.isnat(stamps).argmax())}: it has no time stamp")
        ticks, per_second = stamps.view(np.int64), PER_SECOND["ns"]
        shift = shift or kind == "M"
    elif kind not in "iuf" or unit == "iso":
        valid = "a date and time; --time-unit s, ms, us or ns reads numbers" if unit == "iso" else "a number"
        valid += "; --time-unit iso reads dates" * (kind == "O" and unit != "iso")
        raise ValueError(f"{path}, row 0: {name} is {stamps.tolist()[0]!r} (must be {valid})")
    else:
        ticks, per_second = stamps, PER_SECOND[unit]
        _refuse_unit(path, name, ticks, unit)
    if not shift:
        return np.asarray(ticks if per_second == 1 else ticks / per_second, np.float64), ()
    base = _first(ticks)
    if ticks.dtype.kind in "iu" and int(ticks.max()) - int(base) >= 2**63:
        raise ValueError(f"{path}: {name} spans more than 292 years: give --time-unit s, ms or us")
    first = str(stamps.min()) if kind in "mM" else f"{base} {unit}"
    return (ticks - base) / per_second, (f"t = 0 is {first}",)


def refuse_backwards(path: Path, arrival_s: NDArray[np.float64]) -> None:
    """Raise ValueError where times without a zone go back by an hour or less: it may have been repeated."""
    steps = np.diff(arrival_s)
    back = (steps < 0) & (steps >= -_HOUR_S)
    if back.any():
        row = 1 + int(back.argmax())
        raise ValueError(
            f"{path}, request {row}: it is {-steps[row - 1]:.6g} s earlier than the row before, and the times have no "
            f"zone: at the end of summer time local clocks repeat an hour. Write times with their zone (+02:00); "
            f"--sort takes the rows of requests as they are"
        )


def _first(ticks: NDArray[Any]) -> Any:
    known = ticks[np.isfinite(ticks)]  # the trace refuses the others, by request
    return known.min() if len(known) else 0.0


def _refuse_unit(path: Path, name: str, ticks: NDArray[Any], unit: str) -> None:
    latest = max(abs(float(ticks.min())), abs(float(ticks.max())))
    if _LATEST_S <= latest / PER_SECOND[unit] < np.inf:  # the trace refuses what is not finite
        finer = [each for each in PER_SECOND if latest / PER_SECOND[each] < _LATEST_S]
        advice = f"--time-unit {finer[0]}" if finer else "--time-unit, or write it as a date"
        raise ValueError(f"{path}: {name} reaches {latest:.6g} {unit}, which is after the year 5000: give {advice}")


def _zoneless(path: Path, stamp: str) -> bool:
    """Whether a column of read date-times lacks a zone; what text is read with one needs another type."""
    if not files.is_parquet(path):
        return True
    return getattr(files.parquet_schema(path).field(stamp).type, "tz", None) is None


def _parsed(path: Path, name: str, texts: NDArray[Any]) -> tuple[NDArray[Any], bool]:
    """Texts as date-times, and whether they lack a zone."""
    try:
        array = pa.array(texts, pa.string())
        for zone in (None, "UTC"):
            try:
                return array.cast(pa.timestamp("ns", zone)).to_numpy(zero_copy_only=False), zone is None
            except pa.ArrowInvalid as error:
                if "no zone offset" not in str(error):
                    raise
    except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
        why, _, rest = str(error).splitlines()[0].partition(" as a scalar")
        valid = "a date and time" + ", with a zone as the others have" * ("expected a zone" in rest)
        raise ValueError(f"{path}: {name}: {why} (must be {valid})") from None
    raise AssertionError("unreachable: the second zone takes what the first refused")
