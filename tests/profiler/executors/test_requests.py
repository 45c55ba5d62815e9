"""A request that cannot be run is refused alone: the executor answers the next as it did before."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="the extra gpu is not installed")

from profiler.device.seam import HostDevice  # noqa: E402
from profiler.executors.cpu import CpuExecutor  # noqa: E402
from profiler.executors.cuda import open_executor  # noqa: E402
from profiler.executors.interface import Engine  # noqa: E402
from profiler.models import weights  # noqa: E402
from profiler.models.spec import Dims  # noqa: E402
from profiler.table import BucketPlan  # noqa: E402

SPEC = Dims("students-1x32", 2, 1, 32, 2, 64, vocab=50, positions=16)
PLAN = BucketPlan((1, 2), (8, 16))


def opened(kind: str) -> Engine:
    own = weights.random(SPEC, 0)
    if kind == "cpu":
        return CpuExecutor(own, PLAN)
    return open_executor(kind, own, PLAN, (1, 2), dtype="float32", device=HostDevice())


@pytest.mark.parametrize("kind", ["cpu", "cuda-stock"])
@pytest.mark.parametrize("bad", [[], [50], [-1], [2**31 - 1], [1] * 17])
def test_the_next_request_is_answered_as_before(kind: str, bad: list[int]) -> None:
    executor = opened(kind)
    executor.warm()
    good = [np.array([1, 7, 2], np.int32), np.array([1, 2], np.int32)]
    before = executor.run(2, good).logits
    for batch in ([np.array(bad, np.int32)], [good[0], np.array(bad, np.int32)]):
        with pytest.raises((ValueError, LookupError)):
            executor.run(2, batch)
    np.testing.assert_array_equal(executor.run(2, good).logits, before)
