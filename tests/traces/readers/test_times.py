"""Times of every type, in every format, become the same seconds; what cannot be times is refused alike."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from datetime import date, datetime, timedelta, timezone
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from traces import Trace, load

COLUMNS = {"arrival": "at", "tokens": "n"}
PARIS_SUMMER, PARIS_WINTER = (timezone(timedelta(hours=hours)) for hours in (2, 1))


def csv(folder: Path, times: Sequence[Any]) -> Path:
    path = folder / "t.csv"
    path.write_text("at,n\n" + "".join(f"{time},8\n" for time in times))
    return path


def jsonl(folder: Path, times: Sequence[Any]) -> Path:
    path = folder / "t.jsonl"
    path.write_text("".join(json.dumps({"at": time, "n": 8}) + "\n" for time in times))
    return path


def parquet(folder: Path, times: Sequence[Any], kind: pa.DataType | None = None) -> Path:
    path = folder / "t.parquet"
    pq.write_table(pa.table({"at": pa.array(times, kind), "n": [8] * len(times)}), path)
    return path


def read(path: Path, unit: str | None = None) -> Trace:
    return load(path, columns=COLUMNS, time_unit=unit)


each_format = pytest.mark.parametrize("written", [csv, jsonl, parquet])
Written = Callable[[Path, Sequence[Any]], Path]


@each_format
@pytest.mark.parametrize(("unit", "digits"), [("s", 0), ("ms", 3), ("us", 6), ("ns", 9)])
def test_whole_epochs_are_exact(tmp_path: Path, written: Written, unit: str, digits: int) -> None:
    gaps = [0, 1, 12, 123_456]
    path = written(tmp_path, [1_700_000_000 * 10**digits + 7 + gap for gap in gaps])
    assert read(path, unit).arrival_s.tolist() == [gap / 10**digits for gap in gaps]


@each_format
def test_fractions_among_whole_numbers_are_read(tmp_path: Path, written: Written) -> None:
    times = [1.0, 2.5, 4.0] if written is parquet else [1, 2.5, 4]
    assert read(written(tmp_path, times)).arrival_s.tolist() == [0, 1.5, 3]


@each_format
def test_dates_are_read(tmp_path: Path, written: Written) -> None:
    assert read(written(tmp_path, ["2024-03-01 10:00:00.25", "2024-03-01 10:00:02"]), "iso").arrival_s.tolist() == [
        0,
        1.75,
    ]
    zoned = ["2024-03-01T10:00:00+01:00", "2024-03-01T10:00:01+01:00", "2024-03-01T09:00:02Z"]
    assert read(written(tmp_path, zoned), "iso").arrival_s.tolist() == [0, 1, 2]


@each_format
@pytest.mark.parametrize("time", [1_700_000_000_123, 1_700_000_000_123_456_789, 12])
def test_numbers_are_no_dates(tmp_path: Path, written: Written, time: int) -> None:
    with pytest.raises(ValueError, match=r"at is .*(date|string)") as error:
        read(written(tmp_path, [time, time + 100]), "iso")
    assert "\n" not in str(error.value)


@each_format
def test_dates_are_no_numbers(tmp_path: Path, written: Written) -> None:
    with pytest.raises(ValueError, match="number"):
        read(written(tmp_path, ["2024-03-01 10:00:00", "2024-03-01 10:00:02"]), "s")


@each_format
@pytest.mark.parametrize(("unit", "times", "right"), [
    ("s", [1_700_000_000_000, 1_700_000_000_100], "ms"),
    ("s", [1_700_000_000_000_000, 1_700_000_000_000_100], "us"),
    (None, [1_700_000_000_000_000_000, 1_700_000_000_000_000_100], "ns"),
    ("ms", [1_700_000_000_000_000, 1_700_000_000_000_100], "us"),
    ("us", [1_700_000_000_000_000_000, 1_700_000_000_000_000_100], "ns"),
])  # fmt: skip
def test_a_coarser_unit_than_the_times_have_is_refused(
    tmp_path: Path, written: Written, unit: str | None, times: list[int], right: str
) -> None:
    path = written(tmp_path, times)
    with pytest.raises(ValueError, match=f"--time-unit {right}"):
        read(path, unit)
    assert len(read(path, right)) == 2


@pytest.mark.parametrize("written", [csv, parquet])
def test_our_own_columns_have_a_unit_too(tmp_path: Path, written: Written) -> None:
    path = written(tmp_path, [1_700_000_000_000, 1_700_000_000_250])
    if written is csv:
        path.write_text(path.read_text().replace("at,n", "arrival_s,tokens"))
    else:
        pq.write_table(pq.read_table(path).rename_columns(["arrival_s", "tokens"]), path)
    with pytest.raises(ValueError, match="--time-unit ms"):
        load(path)
    assert load(path, time_unit="ms").arrival_s.tolist() == [0, 0.25]


def test_seconds_of_our_own_format_are_never_shifted(tmp_path: Path) -> None:
    path = csv(tmp_path, [1_700_000_000.5, 1_700_000_001])
    path.write_text(path.read_text().replace("at,n", "arrival_s,tokens"))
    assert load(path).arrival_s.tolist() == [1_700_000_000.5, 1_700_000_001]


START = datetime(2024, 3, 1, 10)


@pytest.mark.parametrize("unit", [None, "s", "us", "iso"])
@pytest.mark.parametrize(("times", "kind"), [
    *(([START, START + timedelta(seconds=1.5)], pa.timestamp(unit)) for unit in ("ms", "us", "ns")),
    ([START.replace(tzinfo=PARIS_WINTER), START.replace(tzinfo=PARIS_WINTER) + timedelta(seconds=1.5)],
     pa.timestamp("us", "Europe/Paris")),
    *(([timedelta(seconds=3), timedelta(seconds=4.5)], pa.duration(unit)) for unit in ("ms", "us", "ns")),
])  # fmt: skip
def test_typed_times_say_their_unit_themselves(tmp_path: Path, times: list[Any], kind: Any, unit: str | None) -> None:
    assert read(parquet(tmp_path, times, kind), unit).arrival_s.tolist() == [0, 1.5]


def test_durations_in_our_own_format_are_seconds(tmp_path: Path) -> None:
    times = pa.array([timedelta(seconds=3), timedelta(seconds=4.5)], pa.duration("ms"))
    pq.write_table(pa.table({"arrival_s": times, "tokens": [8, 9]}), tmp_path / "t.parquet")
    assert load(tmp_path / "t.parquet").arrival_s.tolist() == [3, 4.5]


@pytest.mark.parametrize(("times", "kind"), [
    ([0, 2], pa.uint64()), ([0, 2], pa.int8()), ([0.0, 2.0], pa.float32()),
    ([Decimal("0.00"), Decimal("2.00")], pa.decimal128(9, 2)), ([date(2024, 3, 1), date(2024, 3, 2)], pa.date32()),
])  # fmt: skip
def test_other_types_of_numbers_and_days_are_read(tmp_path: Path, times: list[Any], kind: pa.DataType) -> None:
    assert read(parquet(tmp_path, times, kind)).arrival_s.tolist() == [0, 86_400 if kind == pa.date32() else 2]


@pytest.mark.parametrize("times", [[True, False], [b"1", b"2"], [[1], [2]], [{"a": 1}, {"a": 2}], ["x", "y"]])
def test_what_is_no_time_is_refused(tmp_path: Path, times: list[Any]) -> None:
    with pytest.raises(ValueError, match="must be") as error:
        read(parquet(tmp_path, times))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("kind", [pa.timestamp("us"), pa.int64(), pa.float64(), pa.duration("us")])
def test_a_missing_time_names_its_row(tmp_path: Path, kind: pa.DataType) -> None:
    with pytest.raises(ValueError, match=r"(row|request) 1"):
        read(parquet(tmp_path, pa.array([1, None, 3], pa.int64()).cast(kind).to_pylist(), kind))


@each_format
def test_an_hour_that_is_repeated_has_no_zone(tmp_path: Path, written: Written) -> None:
    local = ["2024-10-27 02:59:58", "2024-10-27 02:00:01"]
    with pytest.raises(ValueError, match=r"request 1.*zone"):
        read(written(tmp_path, local), "iso")
    zoned = ["2024-10-27 02:59:58+02:00", "2024-10-27 02:00:01+01:00"]
    assert read(written(tmp_path, zoned), "iso").arrival_s.tolist() == [0, 3]


def test_a_typed_column_without_a_zone_is_one_too(tmp_path: Path) -> None:
    local = [datetime(2024, 10, 27, 2, 59, 58), datetime(2024, 10, 27, 2, 0, 1)]
    with pytest.raises(ValueError, match=r"request 1.*zone"):
        read(parquet(tmp_path, local, pa.timestamp("us")))
    zoned = [local[0].replace(tzinfo=PARIS_SUMMER), local[1].replace(tzinfo=PARIS_WINTER)]
    assert read(parquet(tmp_path, zoned, pa.timestamp("us", "UTC"))).arrival_s.tolist() == [0, 3]


def test_a_span_beyond_64_bits_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="292 years"):
        read(parquet(tmp_path, [-(2**62) - 2**61, 2**62], pa.int64()), "ns")


def test_the_spread_of_large_times_survives(tmp_path: Path) -> None:
    times = 1_700_000_000_000_000_000 + np.cumsum(np.random.default_rng(0).integers(1, 1_000_000, 500))
    assert np.array_equal(read(parquet(tmp_path, times.tolist()), "ns").arrival_s, (times - times[0]) / 10**9)


@pytest.mark.parametrize("written", [csv, jsonl])
def test_times_of_which_some_lack_a_zone_are_refused_by_one_of_them(tmp_path: Path, written: Written) -> None:
    with pytest.raises(ValueError, match=r"'2026-10-25 12:00:01'.*zone"):
        read(written(tmp_path, ["2026-10-25T12:00:00Z", "2026-10-25 12:00:01"]), "iso")
