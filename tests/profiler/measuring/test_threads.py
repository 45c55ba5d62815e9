"""How many threads a CPU executor gets."""

from __future__ import annotations

import pytest
import torch

from profiler.measuring.grid import Grid
from profiler.measuring.threads import fewest, times
from profiler.models import weights


def test_the_fewest_threads_that_are_nearly_as_fast_are_taken() -> None:
    assert fewest({1: 1.0, 2: 0.6, 4: 0.59}) == 2
    assert fewest({1: 1.0, 2: 0.97}) == 1
    assert fewest({1: 1.0, 2: 1.4}) == 1
    assert fewest({1: 2.0, 2: 1.0, 4: 0.5}) == 4


def test_every_number_of_cores_is_tried_and_torch_keeps_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.sched_getaffinity", lambda pid: {0, 1})
    before = torch.get_num_threads()
    grid = Grid("students-1x64", (1, 2), (1, 2), (8, 16))
    tried = times(weights.random(grid.spec, 0), grid, "float32", 0.0)
    assert list(tried) == [1, 2]
    assert all(0 < each < 10 for each in tried.values())
    assert torch.get_num_threads() == before
