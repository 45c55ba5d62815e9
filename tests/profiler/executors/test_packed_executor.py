"""Packed batches on a CPU: what is answered is what padding answers, whatever the mix and the filler."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from stage_doubles import plan, stopped

from profiler.device.seam import Unavailable
from profiler.executors import cpu
from profiler.executors.cpu import CpuExecutor
from profiler.executors.stages import margin, parts
from profiler.measuring import gate, reference
from profiler.measuring.mixes import random_batch
from profiler.models import weights
from profiler.models.rows import PackedRows
from profiler.models.spec import parse_spec
from profiler.table import BucketPlan, ShapeKey
from profiler.table.plan import PACKED

SPEC = replace(parse_spec("students-2x64", 4), vocab=100, positions=32, heads=2, outputs=5, classes=3)
PLAN = BucketPlan.packed((1, 2, 4, 8), (8, 12, 16, 32, 48, 64, 96, 128, 256))
PADDED_PLAN = BucketPlan((1, 2, 4, 8), (4, 8, 16, 32))
MIXES = ((1,), (32,), (3, 8), (8, 3), (5, 5, 5), (1, 20, 32), (7, 2, 7, 30, 2), (32,) * 8)


pytestmark = pytest.mark.usefixtures("one_thread")


def drawn(**changes: object) -> weights.Weights:
    """Weights large enough that attention is not flat: a text that sees another one shows."""
    own = weights.random(replace(SPEC, **changes), seed=3)
    return own.map(lambda name, tensor: tensor if "ln" in name else tensor * 4)


def warm(own: weights.Weights, sizes: BucketPlan = PLAN, **options: object) -> CpuExecutor:
    executor = CpuExecutor(own, sizes, **options)
    executor.warm()
    return executor


def texts(lengths: tuple[int, ...], seed: int = 0, inputs: int = SPEC.vocab) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    return [rng.integers(0, inputs, length, dtype=np.int32) for length in lengths]


@pytest.mark.parametrize("stacked_rows", [0, 10_000])
@pytest.mark.parametrize("changes", [{}, {"shared_embeddings": True}, {"types": 2}, {"pooler": False}])
def test_a_packed_batch_is_answered_as_a_padded_one(stacked_rows: int, changes: dict[str, object]) -> None:
    own = drawn(**changes)
    packed, padded = (warm(own, sizes, stacked_rows=stacked_rows) for sizes in (PLAN, PADDED_PLAN))
    for lengths in MIXES:
        ids = texts(lengths, inputs=own.spec.inputs)
        for students in packed.students:
            got, want = packed.run(students, ids), padded.run(students, ids)
            assert got.key == PLAN.key(students, lengths)
            np.testing.assert_allclose(got.logits, want.logits, rtol=0, atol=1e-5)
    assert gate.distance(packed.run(2, ids).logits, reference.logits(own, 2, ids)) < 2e-6


@pytest.mark.parametrize("options", [{"cls_only": False}, {"simplified": False}])
def test_each_short_cut_can_be_switched_off(options: dict[str, object]) -> None:
    own, ids = drawn(), texts((5, 30, 17, 5))
    got, want = (warm(own, **each).run(4, ids).logits for each in (options, {}))
    assert gate.distance(got, want) < 2e-6


def test_what_lies_in_the_filler_never_matters() -> None:
    executor, ids, rng = warm(drawn()), texts((2, 7, 5)), np.random.default_rng(1)
    key = PLAN.key(4, [2, 7, 5])
    first = executor.run(4, ids).logits
    for _ in range(20):
        other = executor.run(4, random_batch(PLAN, key, SPEC.vocab, rng))
        assert other.key == key
        assert np.isfinite(other.logits).all()
        np.testing.assert_array_equal(executor.run(4, ids).logits, first)


def test_a_request_is_answered_alike_alone_and_in_company() -> None:
    executor, ids = warm(drawn()), texts((6, 31, 12, 6))
    together = executor.run(3, ids).logits
    for row, request in zip(together, ids, strict=True):
        np.testing.assert_allclose(executor.run(3, [request]).logits[0], row, rtol=2e-5, atol=1e-6)


def test_a_deep_model_and_a_checkpoint_are_packed_too() -> None:
    transformers = pytest.importorskip("transformers")
    config = transformers.BertConfig(
        vocab_size=100, hidden_size=64, num_hidden_layers=3, num_attention_heads=2, intermediate_size=128,
        max_position_embeddings=32, num_labels=3,
    )  # fmt: skip
    from profiler.models.checkpoints import from_checkpoints

    torch.manual_seed(0)
    model = transformers.BertForSequenceClassification(config).eval()
    executor = warm(from_checkpoints([model]))
    ids = texts((9, 4, 31, 4))
    with torch.inference_mode():
        want = [model(torch.from_numpy(row.astype(np.int64))[None]).logits[0].numpy() for row in ids]
    np.testing.assert_allclose(executor.run(1, ids).logits, np.array(want), rtol=0, atol=1e-5)


def test_requests_stop_where_they_do_in_a_padded_batch() -> None:
    own, ids = drawn(shared_embeddings=True), texts((4, 30, 9, 12, 5, 8, 2, 9))
    ours, theirs = warm(own), warm(own, PADDED_PLAN)
    margins = np.sort(margin(theirs.run(1, ids).logits))
    widest = int(np.diff(margins[2:6]).argmax()) + 2  # rounding may not decide which rows are sure
    rule = ((1, float(margins[widest : widest + 2].mean())), (4, 0.0))
    for executor, sizes in ((ours, PLAN), (theirs, PADDED_PLAN)):
        executor.warm_parts(parts(plan(rule).cuts, sizes, sizes.key(1, [len(row) for row in ids])))
    found, want = stopped(ours, rule, ids), stopped(theirs, rule, ids)
    assert set(found.students) == {1, 4}
    assert found.students == want.students
    np.testing.assert_allclose(found.logits, want.logits, rtol=0, atol=1e-5)


@pytest.mark.parametrize("seed", range(5))
def test_every_part_of_a_batch_is_ready_when_the_batch_is(seed: int) -> None:
    rng = np.random.default_rng(seed)
    for _ in range(100):
        lengths = rng.integers(1, 33, int(rng.integers(1, 9)))
        left = lengths[rng.random(len(lengths)) < rng.random()].tolist() or [int(lengths[0])]
        assert PLAN.key(2, left) in PLAN.within(PLAN.key(2, lengths.tolist()))


def test_a_random_batch_runs_at_its_key_and_is_mixed() -> None:
    rng = np.random.default_rng(0)
    for key in PLAN.keys(2):
        lengths = [len(row) for row in random_batch(PLAN, key, 100, rng)]
        assert PLAN.key(2, lengths) == key
        assert len(set(lengths)) > 1 or min(lengths) * key.batch in (2 * key.batch, 32 * key.batch) or key.batch < 3


def test_the_gate_passes_a_packed_executor_and_stops_a_wrong_one() -> None:
    own, rng = drawn(), np.random.default_rng(0)
    executor = warm(own)
    assert gate.check(executor, own, rng)["reference"] < 1e-6
    with pytest.raises(ArithmeticError, match="reference error"):
        gate.check(executor, weights.random(SPEC, seed=9), rng)


def test_bad_ids_and_keys_that_are_not_ready_are_refused() -> None:
    executor = CpuExecutor(drawn(), PLAN, [2])
    with pytest.raises(LookupError, match="not warm"):
        executor.run(2, texts((4,)))
    executor.warm([ShapeKey(2, 1, 8, PACKED)])
    with pytest.raises(ValueError, match="0 to 99"):
        executor.run(2, [np.array([1, 100], np.int32)])
    assert np.isfinite(executor.run(2, texts((4,))).logits).all()


def test_rows_that_do_not_ascend_or_fit_are_refused() -> None:
    for lengths in ([3, 2], [1, 1, 1], [4, 9]):
        with pytest.raises(ValueError, match="do not ascend"):
            PackedRows.of(lengths, 2, 12)


def test_bfloat16_is_near_where_the_processor_has_it(monkeypatch: pytest.MonkeyPatch) -> None:
    own, ids = drawn(), texts((9, 4, 31, 4))
    try:
        executors = [warm(own, sizes, dtype="bfloat16") for sizes in (PLAN, PADDED_PLAN)]
    except Unavailable as error:
        pytest.skip(str(error))
    want = reference.logits(own, 4, ids)
    for executor in executors:
        assert executor.dtype == "bfloat16"
        assert gate.distance(executor.run(4, ids).logits, want) < gate.SINGLE * gate.TOLERANCE["bfloat16"]
        assert gate.check(executor, own, np.random.default_rng(0))["padding"] == 0


def test_a_number_format_that_is_not_there_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(LookupError, match="float32 and bfloat16"):
        CpuExecutor(drawn(), PLAN, dtype="float16")
    monkeypatch.setattr(cpu.Path, "read_text", lambda self: "flags: avx2")
    with pytest.raises(Unavailable, match="float32"):
        CpuExecutor(drawn(), PLAN, dtype="bfloat16")
