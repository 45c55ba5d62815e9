"""The CPU executor against the float64 reference: every key, every prefix, whatever lies in the padding."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from profiler.executors.cpu import CpuExecutor
from profiler.executors.interface import Engine
from profiler.measuring import gate, reference
from profiler.models import weights
from profiler.models.spec import parse_spec
from profiler.table import BucketPlan, ShapeKey

SPEC = replace(parse_spec("students-2x64", 4), vocab=100, positions=32, heads=2, outputs=5, classes=3)
PLAN = BucketPlan((1, 2, 4), (4, 8, 32))


pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def ensemble() -> weights.Weights:
    """Weights large enough that attention is not flat: a wrong mask shows."""
    drawn = weights.random(SPEC, seed=3)
    return drawn.map(lambda name, tensor: tensor if "ln" in name else tensor * 4)


def warm(ensemble: weights.Weights, **options: object) -> CpuExecutor:
    executor = CpuExecutor(ensemble, PLAN, **options)
    executor.warm()
    return executor


def draw(rng: np.random.Generator, lengths: tuple[int, ...]) -> list[np.ndarray]:
    return [rng.integers(0, SPEC.vocab, size=length, dtype=np.int32) for length in lengths]


@pytest.mark.parametrize("stacked_rows", [0, 10_000])
@pytest.mark.parametrize("shared", [False, True])
def test_every_prefix_answers_as_the_reference(ensemble: weights.Weights, stacked_rows: int, shared: bool) -> None:
    if shared:
        spec = replace(SPEC, shared_embeddings=True)
        ensemble = weights.random(spec, 5).map(lambda name, tensor: tensor if "ln" in name else tensor * 4)
    executor = warm(ensemble, stacked_rows=stacked_rows)
    rng = np.random.default_rng(0)
    for students in executor.students:
        for lengths in ((1,), (4,), (3, 8), (1, 20, 32), (32, 32, 32, 32)):
            ids = draw(rng, lengths)
            answers = executor.run(students, ids)
            assert answers.logits.shape == (len(lengths), 3)
            assert answers.logits.dtype == np.float32
            assert gate.distance(answers.logits, reference.logits(ensemble, students, ids)) < 2e-6


@pytest.mark.parametrize(
    "options",
    [{"cls_only": False}, {"simplified": False}, {"cls_only": False, "simplified": False, "stacked_rows": 0}],
)
def test_each_short_cut_can_be_switched_off_and_changes_nothing(
    ensemble: weights.Weights, options: dict[str, object]
) -> None:
    plain, full = warm(ensemble), warm(ensemble, **options)
    ids = draw(np.random.default_rng(1), (5, 30, 17))
    for students in (1, 4):
        got, want = full.run(students, ids).logits, plain.run(students, ids).logits
        assert gate.distance(got, want.astype(np.float64)) < 2e-6


def test_a_batch_runs_at_the_next_size_up(ensemble: weights.Weights) -> None:
    executor = warm(ensemble)
    assert executor.run(2, draw(np.random.default_rng(0), (3, 5, 4))).key == ShapeKey(2, 4, 8)
    with pytest.raises(LookupError, match="batch 5 is outside"):
        executor.run(2, draw(np.random.default_rng(0), (1, 1, 1, 1, 1)))
    with pytest.raises(LookupError, match="length 33 is outside"):
        executor.run(2, [np.zeros(33, np.int32)])


def test_what_lies_in_the_padding_never_matters(ensemble: weights.Weights) -> None:
    rng = np.random.default_rng(7)
    executor = warm(ensemble)
    ids = draw(rng, (2, 7, 5))
    first = executor.run(4, ids).logits
    for _ in range(20):
        executor.run(4, draw(rng, tuple(rng.integers(5, 9, size=4))))
        np.testing.assert_array_equal(executor.run(4, ids).logits, first)


def test_a_request_is_answered_alike_alone_and_in_company(ensemble: weights.Weights) -> None:
    executor = warm(ensemble)
    ids = draw(np.random.default_rng(2), (6, 31, 12))
    together = executor.run(3, ids).logits
    for row, request in zip(together, ids, strict=True):
        np.testing.assert_allclose(executor.run(3, [request]).logits[0], row, rtol=2e-5, atol=1e-6)


def test_the_time_is_the_sum_of_its_parts(ensemble: weights.Weights) -> None:
    answers = warm(ensemble).run(1, draw(np.random.default_rng(2), (6,)))
    assert answers.seconds == pytest.approx(answers.staging_s + answers.device_s)
    assert 0 < answers.staging_s < answers.seconds


def test_what_was_not_warmed_is_refused(ensemble: weights.Weights) -> None:
    executor = CpuExecutor(ensemble, PLAN, students=[2])
    with pytest.raises(LookupError, match="not warm"):
        executor.run(2, [np.zeros(4, np.int32)])
    executor.warm([ShapeKey(2, 1, 4)])
    executor.run(2, [np.zeros(4, np.int32)])
    with pytest.raises(LookupError, match="not warm"):
        executor.run(1, [np.zeros(4, np.int32)])


@pytest.mark.parametrize("bad", [-1, 100, 2**31 - 1])
def test_ids_outside_the_vocabulary_are_refused_and_leave_no_trace(ensemble: weights.Weights, bad: int) -> None:
    executor = warm(ensemble)
    with pytest.raises(ValueError, match="0 to 99"):
        executor.run(1, [np.array([1, bad], np.int32)])
    assert np.isfinite(executor.run(1, [np.array([1], np.int32)]).logits).all()


def test_students_run_stacked_where_they_are_small(ensemble: weights.Weights) -> None:
    executor: Engine = warm(ensemble, stacked_rows=64)
    assert executor.implementation(ShapeKey(4, 2, 32)) == "stacked"
    assert executor.implementation(ShapeKey(4, 4, 32)) == "looped"
    assert executor.implementation(ShapeKey(1, 1, 4)) == "looped"


def test_a_plan_beyond_the_positions_is_refused(ensemble: weights.Weights) -> None:
    with pytest.raises(ValueError, match="positions for 32 tokens"):
        CpuExecutor(ensemble, BucketPlan((1,), (64,)))


def test_the_gate_passes_a_correct_executor_and_stops_a_wrong_one(ensemble: weights.Weights) -> None:
    rng = np.random.default_rng(0)
    executor = warm(ensemble)
    assert gate.check(executor, ensemble, rng)["reference"] < 1e-6
    with pytest.raises(ArithmeticError, match="reference error"):
        gate.check(executor, weights.random(SPEC, seed=9), rng)
