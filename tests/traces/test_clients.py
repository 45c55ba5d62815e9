"""Requests of many texts: the column `parent`, read, written and scaled."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from traces import Trace, load, scale, write
from traces.clients import client_numbers, first_rows
from traces.scaling import join, spread_ticks


def reranks(requests: int = 200, texts: int = 5) -> Trace:
    """Every second request is of so many texts, ten requests per second; the others are single texts."""
    counts = np.where(np.arange(requests) % 2, texts, 1)
    arrival_s = np.repeat(np.arange(requests) / 10, counts)
    names = [f"r{number}" if count > 1 else "" for number, count in enumerate(counts.tolist())]
    parent = np.repeat(np.array(names, object), counts)
    return Trace(arrival_s, np.full(len(arrival_s), 9), parent=parent, duration_s=requests / 10)


def test_texts_without_a_parent_are_requests_of_their_own() -> None:
    parent = np.array(["b", "", "b", "a", "", "a", "b"], object)
    assert first_rows(parent).tolist() == [0, 1, 0, 3, 4, 3, 0]
    assert client_numbers(parent).tolist() == [0, 1, 0, 2, 3, 2, 0]


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_parents_are_read_back_as_they_were(tmp_path: Path, suffix: str) -> None:
    trace = reranks(10)
    write(trace, tmp_path / f"t.{suffix}")
    found = load(tmp_path / f"t.{suffix}")
    assert found.parent is not None
    assert trace.parent is not None
    assert found.parent.tolist() == trace.parent.tolist()


@pytest.mark.parametrize(
    ("column", "values"), [("arrival_s", [0.0, 0.0, 1.0]), ("slo_s", [0.1, np.nan, 0.2]), ("slo_s", [0.1, 0.1, np.nan])]
)
def test_texts_of_one_parent_that_differ_are_refused_by_row(column: str, values: list[float]) -> None:
    columns = {"arrival_s": [0.0, 0.0, 0.0], "tokens": [3, 3, 3], column: values}
    with pytest.raises(ValueError, match=rf"request 2: {column} is .*parent 'a' has"):
        Trace(**{name: np.array(of) for name, of in columns.items()}, parent=np.array(["a", "", "a"], object))


@pytest.mark.parametrize(("factor", "mode"), [(0.5, "thin"), (2.5, "superpose"), (2.0, "compress")])
def test_scaling_keeps_client_requests_whole(factor: float, mode: str) -> None:
    trace = reranks()
    assert trace.rate is not None
    scaled = scale(trace, factor * trace.rate, mode=mode)
    assert scaled.parent is not None
    sizes = np.bincount(client_numbers(scaled.parent))
    assert set(sizes.tolist()) == {1, 5}
    assert len(sizes) == (200 if mode == "compress" else factor * 200)
    again = scale(scaled, factor * factor * trace.rate, mode=mode)  # names of copies do not clash
    assert set(np.bincount(client_numbers(again.parent)).tolist()) == {1, 5}  # type: ignore[arg-type]


def test_joined_files_may_use_the_same_names_for_other_requests() -> None:
    joined = join([reranks(10), reranks(10)])
    assert joined.parent is not None
    assert len(np.bincount(client_numbers(joined.parent))) == 20


def test_texts_of_one_request_stay_together_when_ticks_are_spread() -> None:
    trace = reranks(50)
    spread = spread_ticks(trace)
    assert not np.array_equal(spread.arrival_s, trace.arrival_s)  # the Trace itself refuses texts that were torn apart
