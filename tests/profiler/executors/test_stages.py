"""Requests that stop early on a real device are answered as their prefix answers them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from stage_doubles import plan, stopped

from profiler.device.seam import HostDevice
from profiler.executors.cpu import CpuExecutor
from profiler.executors.cuda import KINDS, open_executor
from profiler.executors.interface import Parts
from profiler.executors.stages import margin, parts
from profiler.models import weights
from profiler.models.spec import parse_spec
from profiler.table import BucketPlan, ShapeKey

SPEC = replace(parse_spec("students-2x64", 4), vocab=100, positions=32, heads=2, outputs=5, classes=3)
SPEC = replace(SPEC, shared_embeddings=True)
PLAN = BucketPlan((1, 4, 16), (8, 32))
WHOLE = ShapeKey(4, 16, 32)
#: The stages of these tests, by the prefixes that are looked at.
LOOKS = ((1, 2, 4), (1, 3, 4), (1, 4))
STOCK = [kind for kind, how in KINDS.items() if how.forward != "fused" and how.graphs]


def ready(kind: str, dtype: str = "float32") -> Parts:
    """An executor on the CPU, or one for a GPU on the double of its device, that is warm for LOOKS and no more."""
    drawn = weights.random(SPEC, seed=3).map(lambda name, tensor: tensor if "ln" in name else tensor * 6)
    if kind == "cpu":
        own = CpuExecutor(drawn, PLAN)
    else:
        own = open_executor(kind, drawn, PLAN, range(1, 5), dtype=dtype, device=HostDevice())
    own.warm()
    own.warm_parts({key for ends in LOOKS for key in parts(plan([(end, 0.0) for end in ends]).cuts, PLAN, WHOLE)})
    return own


@pytest.fixture(scope="module", params=["cpu", *STOCK])
def executor(request: pytest.FixtureRequest):
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield ready(request.param)
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def ids() -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    return [rng.integers(0, SPEC.vocab, size=int(rng.integers(2, 30)), dtype=np.int32) for _ in range(16)]


def test_the_students_of_a_part_give_what_is_between_two_prefixes(executor: CpuExecutor, ids: list[np.ndarray]) -> None:
    assert isinstance(executor, Parts)
    sums = [executor.part(first, last, ids).logits for first, last in ((0, 1), (1, 3), (3, 4))]
    own, biases = executor.heads
    for students, total in zip((1, 3, 4), np.cumsum(sums, axis=0), strict=True):
        expected = executor.run(students, ids).logits
        np.testing.assert_allclose(total @ own[students - 1] + biases[students - 1], expected, atol=1e-4)
    with pytest.raises(LookupError, match="students 3 to 2"):
        executor.part(2, 2, ids)


def test_each_request_is_answered_by_the_first_prefix_that_is_sure(
    executor: CpuExecutor, ids: list[np.ndarray]
) -> None:
    prefixes = {students: executor.run(students, ids).logits for students in (1, 2, 4)}
    middle = float(np.median(margin(prefixes[1])))
    found = stopped(executor, ((1, middle), (2, middle), (4, 0.0)), ids)
    assert len(set(found.students)) == 3
    for row, students in enumerate(found.students):
        np.testing.assert_allclose(found.logits[row], prefixes[students][row], atol=1e-4)
        sure = [count for count in (1, 2) if margin(prefixes[count][row : row + 1])[0] >= middle]
        assert students == (sure[0] if sure else 4)
    by_students = sorted(zip(found.students, found.released, strict=True))
    assert [each for _, each in by_students] == sorted(found.released)
    assert found.stages[-1].answers.key == ShapeKey(4, 16, 32)
    chances = np.exp(found.logits) / np.exp(found.logits).sum(1, keepdims=True)
    for stage in found.stages:
        np.testing.assert_allclose(stage.confidence, chances[stage.rows].max(1), atol=1e-5)


def test_a_batch_that_runs_on_reports_which_early_answers_the_last_students_share(
    executor: CpuExecutor, ids: list[np.ndarray]
) -> None:
    first, last = (executor.run(students, ids).logits for students in (1, 4))
    middle = float(np.median(margin(first)))
    found = stopped(executor, ((1, middle), (4, 0.0)), ids, sure="result")
    early = margin(first) >= middle
    assert [students == 1 for students in found.students] == early.tolist()
    assert found.stages[-1].agrees == np.where(early, first.argmax(1) == last.argmax(1), True).tolist()
    assert found.stages[0].agrees is None
    np.testing.assert_allclose(found.logits, np.where(early[:, None], first, last), atol=1e-4)


@pytest.mark.parametrize(("dtype", "tolerance"), [("float32", 1e-4), ("bfloat16", 0.1)])
def test_a_device_stops_where_the_cpu_does(ids: list[np.ndarray], dtype: str, tolerance: float) -> None:
    cpu, device = ready("cpu"), ready("cuda-stock", dtype)
    margins = np.sort(margin(cpu.run(1, ids).logits))
    widest = int(np.diff(margins[4:12]).argmax()) + 4  # rounding may not decide which rows are sure
    rule = ((1, float(margins[widest : widest + 2].mean())), (4, 0.0))
    ours, theirs = stopped(device, rule, ids), stopped(cpu, rule, ids)
    assert set(ours.students) == {1, 4}
    keys = [[stage.answers.key for stage in each.stages] for each in (ours, theirs)]
    assert (ours.students, keys[0]) == (theirs.students, keys[1])
    np.testing.assert_allclose(ours.logits, theirs.logits, atol=tolerance)
    assert 0 < ours.stages[-1].answers.device_s <= ours.stages[-1].answers.seconds


def test_a_batch_may_need_all_of_its_first_stage_and_any_part_of_the_next() -> None:
    found = list(parts(plan(((1, 0.5), (4, 0.0))).cuts, PLAN, ShapeKey(4, 4, 32)))
    later = [ShapeKey(3, batch, tokens) for batch in (1, 4) for tokens in (8, 32)]
    assert found == [(0, 1, ShapeKey(1, 4, 32)), *((1, 4, shape) for shape in later)]


def test_no_row_goes_on_where_all_are_sure(executor: CpuExecutor, ids: list[np.ndarray]) -> None:
    found = stopped(executor, ((1, 0.0), (4, 0.0)), ids)
    assert set(found.students) == {1}
    assert [stage.answers.key.students for stage in found.stages] == [1]


def test_a_margin_is_the_lead_in_probability() -> None:
    logits = np.log(np.array([[0.7, 0.2, 0.1], [0.3, 0.3, 0.4]], np.float32)) + 100
    np.testing.assert_allclose(margin(logits), [0.5, 0.1], atol=1e-5)
