"""Shared doubles: where the real data lies, and tables one can do arithmetic with."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # two workers on two cores: small solves took 25 times as long

import numpy as np
import pytest

from profiler.table import AccuracyTable, LatencyTable

#: The measured table of a CPU as it was at commit 3157bd8: a later one does not move the figures of tests.
EPYC = str(Path(__file__).parent / "data" / "tables" / "cpu-epyc-1thread")
#: The modelled table of a GPU, of the same commit.
H200 = str(Path(__file__).parent / "data" / "tables" / "h200-modelled")
SHARED = Path(__file__).resolve().parents[2] / "shared" / "data"


@pytest.fixture
def shared() -> Path:
    """The folder of real traces and text beside the checkout; the test is skipped where there is none."""
    if not SHARED.is_dir():
        pytest.skip(f"real data not present at {SHARED}")
    return SHARED


@pytest.fixture
def one_thread() -> Iterator[None]:
    """Torch computes with one thread: several beside other processes take many times as long."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def formula_table(
    microseconds: Callable[[int, int, int], float],
    *,
    students: Sequence[int] = (1,),
    batches: Sequence[int] = (1, 2, 4, 8),
    tokens: Sequence[int] = (16,),
    accuracy: Callable[[int], float] | None = None,
    model: str = "students-2x8",
) -> LatencyTable:
    """A table whose latency is a function of (students, batch, tokens), in microseconds."""
    keys = [(k, b, t) for k in students for b in batches for t in tokens]
    count = np.ones(len(keys), np.int64)
    columns = {
        "model": np.array([model] * len(keys)),
        "students": np.array([k for k, _, _ in keys]),
        "depth": 2 * count,
        "hidden": 8 * count,
        "batch": np.array([b for _, b, _ in keys]),
        "tokens": np.array([t for _, _, t in keys]),
        "latency_us": np.array([microseconds(*key) for key in keys], np.float64),
    }
    rows = None if accuracy is None else AccuracyTable(tuple((model, k, "toy", accuracy(k)) for k in students))
    return LatencyTable("formula", columns, {"device": "a formula", "kind": "modelled"}, rows)


def heed_interrupts() -> None:
    """Before a child's exec: let Ctrl-C reach it, also where the tests run in a background job, which ignores it."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
