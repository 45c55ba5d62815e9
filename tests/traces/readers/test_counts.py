"""Counts per bin: where the window begins and ends, how long a bin is, and which bins are empty."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest

from traces import load


def counts(folder: Path, rows: str, header: str = "bin_start_s,count") -> Path:
    path = folder / "counts.csv"
    path.write_text(f"{header}\n{rows}")
    return path


def dense(starts: list[float], count: int = 10) -> str:
    return "".join(f"{start:.15g},{count}\n" for start in starts)


@pytest.mark.parametrize("first", [0, 3600, 1_700_000_000])
def test_the_window_begins_with_the_first_bin(tmp_path: Path, first: int) -> None:
    path = counts(tmp_path, dense([first + second for second in range(60)]))
    trace = load(path)
    assert (len(trace), trace.seconds, trace.rate) == (600, 60, 10)
    assert len(load(path, rate=100)) == 6000
    assert len(load(path, duration=30)) == 300
    assert np.array_equal(trace.arrival_s, load(counts(tmp_path, dense(list(range(60))))).arrival_s)


@pytest.mark.parametrize("bin_s", [0.5, 1.0, 2.0])
def test_bins_are_as_long_as_the_user_says(tmp_path: Path, bin_s: float) -> None:
    trace = load(counts(tmp_path, dense([0, 5, 10, 15], 50)), bin_s=bin_s)
    assert trace.seconds == 15 + bin_s
    assert (trace.arrival_s % 5).max() < bin_s
    assert np.bincount((trace.arrival_s / 5).astype(int)).tolist() == [50] * 4


def test_bins_that_are_left_out_are_empty(tmp_path: Path) -> None:
    trace = load(counts(tmp_path, "0,3\n1,2\n3,4\n"), bin_s=1)
    assert np.bincount(trace.arrival_s.astype(int)).tolist() == [3, 2, 0, 4]
    assert trace.seconds == 4


def test_bins_of_no_clear_length_ask_for_it(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="--bin-s"):
        load(counts(tmp_path, "0,3\n1,2\n3,4\n"))


def test_a_file_without_bins_is_refused(tmp_path: Path) -> None:
    for header in ("bin_start_s,count", "count"):
        with pytest.raises(ValueError, match="header only"):
            load(counts(tmp_path, "", header))


def test_bins_that_overlap_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"row 1: .*1 s .*2 s"):
        load(counts(tmp_path, "0,3\n1,2\n2,4\n"), bin_s=2)


@pytest.mark.parametrize("header", ["count", ",count"])
def test_a_blank_line_does_not_move_the_bins_after_it(tmp_path: Path, header: str) -> None:
    index = "," * (header != "count")
    with pytest.raises(ValueError):
        load(counts(tmp_path, f"{index}5\n\n{index}7\n", header))


def test_blank_lines_at_the_end_are_none(tmp_path: Path) -> None:
    assert load(counts(tmp_path, "5\n0\n7\n\n\n", "count")).seconds == 3
    with pytest.raises(ValueError, match="line 3"):
        load(counts(tmp_path, "5\n\n7\n", "count"))
    assert load(counts(tmp_path, "5\n", "count"), bin_s=2).seconds == 2
    with pytest.raises(ValueError, match="line 3"):
        load(counts(tmp_path, "0,5\n1,\n"))


def test_a_count_that_is_not_available_is_no_blank_line(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="'NA'"):
        load(counts(tmp_path, "5\nNA\n", "count"))


def test_bins_may_begin_at_dates_and_epochs(tmp_path: Path) -> None:
    rows = "2024-05-01 10:00:00,3\n2024-05-01 10:01:00,2\n"
    assert load(counts(tmp_path, rows), time_unit="iso").seconds == 120
    assert load(counts(tmp_path, "1700000000000,3\n1700000060000,2\n"), time_unit="ms").seconds == 120
    with pytest.raises(ValueError, match="--time-unit ms"):
        load(counts(tmp_path, "1700000000000,3\n1700000060000,2\n"))


@pytest.mark.parametrize("bin_s", [None, 0.1])
def test_bins_of_a_tenth_of_a_second_may_begin_at_an_epoch(tmp_path: Path, bin_s: float | None) -> None:
    rows = "".join(f"{1_700_000_000 + place / 10:.1f},1\n" for place in (*range(10), *range(15, 30)))
    trace = load(counts(tmp_path, rows), bin_s=bin_s)
    assert trace.seconds == pytest.approx(3, abs=1e-5)
    assert sum("1 gaps" in note for note in trace.notes) == 1


def test_a_float_index_of_pandas_is_left_out(tmp_path: Path) -> None:
    assert load(counts(tmp_path, "0,3\n1,2\n", ",count")).seconds == 2


@pytest.mark.parametrize(
    "starts", [None, [0, 10, 20], pa.array([1_700_000_000, 1_700_000_010, 1_700_000_020], "timestamp[s]")]
)
def test_counts_in_parquet_are_those_in_csv(tmp_path: Path, starts: object) -> None:
    path = tmp_path / "counts.parquet"
    columns = {"count": [3, 0, 9]} | ({} if starts is None else {"bin_start_s": starts})
    pyarrow.parquet.write_table(pa.table(columns), path)
    same = load(counts(tmp_path, "3\n0\n9\n", "count"), bin_s=10)
    assert np.array_equal(load(path, bin_s=10).arrival_s, same.arrival_s)


def test_a_missing_count_in_parquet_names_its_row(tmp_path: Path) -> None:
    path = tmp_path / "counts.parquet"
    pyarrow.parquet.write_table(pa.table({"count": [3, 0, None]}), path)
    with pytest.raises(ValueError, match="row 2"):
        load(path)


def test_bins_of_a_local_clock_at_the_end_of_summer_time_name_the_missing_zone(tmp_path: Path) -> None:
    rows = "2026-10-25 02:59:30,1\n2026-10-25 02:00:00,1\n"
    with pytest.raises(ValueError, match="zone"):
        load(counts(tmp_path, rows), time_unit="iso")
