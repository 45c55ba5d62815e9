"""Requests that stop early on a real device are answered as their prefix answers them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from profiler import weights
from profiler.cpu import CpuExecutor
from profiler.executor import Parts
from profiler.spec import parse_spec
from profiler.stopping import margin, until_sure
from profiler.table import BucketPlan

SPEC = replace(parse_spec("students-2x64", 4), vocab=100, positions=32, heads=2, outputs=5, classes=3)
SPEC = replace(SPEC, shared_embeddings=True)


@pytest.fixture(scope="module")
def executor():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    drawn = weights.random(SPEC, seed=3).map(lambda name, tensor: tensor if "ln" in name else tensor * 6)
    own = CpuExecutor(drawn, BucketPlan((1, 4, 16), (8, 32)))
    own.warm()
    yield own
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def ids() -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    return [rng.integers(0, SPEC.vocab, size=int(rng.integers(2, 30)), dtype=np.int32) for _ in range(16)]


def test_the_students_of_a_part_give_what_is_between_two_prefixes(executor: CpuExecutor, ids: list[np.ndarray]) -> None:
    assert isinstance(executor, Parts)
    parts = [executor.part(first, last, ids).logits for first, last in ((0, 1), (1, 3), (3, 4))]
    own, biases = executor.heads
    for students, total in zip((1, 3, 4), np.cumsum(parts, axis=0), strict=True):
        expected = executor.run(students, ids).logits
        np.testing.assert_allclose(total @ own[students - 1] + biases[students - 1], expected, atol=1e-4)
    with pytest.raises(LookupError, match="no students 3 to 2"):
        executor.part(2, 2, ids)


def test_each_request_is_answered_by_the_first_prefix_that_is_sure(
    executor: CpuExecutor, ids: list[np.ndarray]
) -> None:
    prefixes = {students: executor.run(students, ids).logits for students in (1, 2, 4)}
    middle = float(np.median(margin(prefixes[1])))
    stopped = until_sure(executor, ((1, middle), (2, middle), (4, 0.0)), ids)
    assert len(set(stopped.students)) == 3
    for row, students in enumerate(stopped.students):
        np.testing.assert_allclose(stopped.answers.logits[row], prefixes[students][row], atol=1e-4)
        sure = [count for count in (1, 2) if margin(prefixes[count][row : row + 1])[0] >= middle]
        assert students == (sure[0] if sure else 4)
    by_students = sorted(zip(stopped.students, stopped.released, strict=True))
    assert [each for _, each in by_students] == sorted(stopped.released)
    assert max(stopped.released) <= stopped.answers.seconds
    assert stopped.answers.key == (4, 16, 32)


def test_nobody_goes_on_where_all_are_sure(executor: CpuExecutor, ids: list[np.ndarray]) -> None:
    stopped = until_sure(executor, ((1, 0.0), (4, 0.0)), ids)
    assert set(stopped.students) == {1}
    assert stopped.answers.key.students == 1


def test_a_margin_is_the_lead_in_probability() -> None:
    logits = np.log(np.array([[0.7, 0.2, 0.1], [0.3, 0.3, 0.4]], np.float32)) + 100
    np.testing.assert_allclose(margin(logits), [0.5, 0.1], atol=1e-5)
