"""Staging, buckets, prefixes and the arrangements of the GPU executor, on the CPU double of the device."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator

import numpy as np
import pytest
import torch
from torch import Tensor

from profiler.device.cuda import open_cuda
from profiler.device.seam import HostDevice, HostReplay, Replay, Unavailable
from profiler.executors import cuda
from profiler.executors.cuda import KINDS, Simplifications, best_executor, open_executor
from profiler.executors.interface import BackToBack, Engine, PartKey, Parts
from profiler.executors.staged import StagedExecutor
from profiler.measuring import gate, reference
from profiler.measuring.mixes import random_batch
from profiler.models import products, weights
from profiler.models.rows import PaddedRows
from profiler.models.spec import Dims
from profiler.table import BucketPlan, ShapeKey

SPEC = Dims("students-2x32", 4, 2, 32, 2, 64, vocab=50, positions=32, types=2)
PLAN = BucketPlan((1, 2, 4), (8, 16))
STOCK = [kind for kind, how in KINDS.items() if how.forward != "fused"]


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def opened(kind: str = "cuda-stock", **options: object) -> tuple[weights.Weights, StagedExecutor]:
    own = weights.random(SPEC, 0)
    executor = open_executor(kind, own, PLAN, (1, 2, 4), dtype="float32", device=HostDevice(), **options)  # type: ignore[arg-type]
    executor.warm()
    return own, executor


@pytest.mark.parametrize("kind", STOCK)
@pytest.mark.parametrize("exact", [Simplifications(), Simplifications(False, False, False, False)])
def test_every_arrangement_passes_the_gate(kind: str, exact: Simplifications) -> None:
    own, executor = opened(kind, simplifications=exact)
    assert isinstance(executor, BackToBack)
    typed: Engine = executor
    assert max(gate.check(typed, own, np.random.default_rng(0)).values()) < 1e-6


def test_answers_come_in_the_order_of_the_batch_whatever_the_bucket() -> None:
    own, executor = opened()
    rng = np.random.default_rng(1)
    for lengths in ([3], [16, 1, 9], [2, 8]):
        ids = [rng.integers(0, SPEC.inputs, length, dtype=np.int32) for length in lengths]
        answers = executor.run(2, ids)
        assert answers.key == PLAN.key(2, lengths)
        assert answers.logits.shape == (len(ids), SPEC.classes)
        assert gate.distance(answers.logits, reference.logits(own, 2, ids)) < 1e-6


def test_logits_belong_to_the_caller() -> None:
    _, executor = opened()
    one, other = np.full(5, 7, np.int32), np.full(5, 9, np.int32)
    first = executor.run(1, [one]).logits
    kept = first.copy()
    executor.run(1, [other])
    np.testing.assert_array_equal(first, kept)


def test_a_hundred_batches_meet_no_stale_buffer() -> None:
    """Interleaved keys, fresh inputs: every answer is that of the request alone, unpadded."""
    own, executor = opened()
    rng = np.random.default_rng(2)
    for _ in range(100):
        key = ShapeKey(int(rng.choice((1, 2, 4))), int(rng.choice(PLAN.batches)), int(rng.choice(PLAN.tokens)))
        ids = random_batch(PLAN, key, SPEC.inputs, rng)
        with torch.inference_mode():
            prefix = own.prefix(key.students)
            rows = [cuda.stock.split(prefix, torch.from_numpy(row)[None]) for row in ids]
            alone = [cuda.stock.looped(prefix, row, PaddedRows(*row.shape), types=types) for row, types in rows]
        got = executor.run(key.students, ids).logits
        np.testing.assert_allclose(got, torch.cat(alone).numpy(), rtol=1e-4, atol=1e-6)


def test_ids_outside_the_vocabulary_are_refused_and_leave_no_trace() -> None:
    own, executor = opened()
    for bad in (SPEC.inputs, -1):
        with pytest.raises(ValueError, match="vocabulary"):
            executor.run(1, [np.array([1, bad, 3], np.int32)])
    ids = [np.array([1, 2], np.int32)]
    assert gate.distance(executor.run(1, ids).logits, reference.logits(own, 1, ids)) < 1e-6


def test_what_is_not_warm_is_not_run() -> None:
    own = weights.random(SPEC, 0)
    executor = open_executor("cuda-stock", own, PLAN, (1, 2), dtype="float32", device=HostDevice())
    executor.warm([ShapeKey(1, 1, 8)])
    executor.run(1, [np.ones(8, np.int32)])
    with pytest.raises(LookupError, match="warm"):
        executor.run(2, [np.ones(8, np.int32)])


class Counting(HostDevice):
    """A device that counts what is prepared."""

    def __init__(self) -> None:
        self.prepared = 0

    def prepare(self, work: Callable[[], None], *, beside: bool = False) -> Replay:
        self.prepared += 1
        return super().prepare(work)


def test_nothing_is_prepared_while_serving() -> None:
    device = Counting()
    executor = open_executor("cuda-stock", weights.random(SPEC, 0), PLAN, (1, 2), dtype="float32", device=device)
    executor.warm()
    assert device.prepared == 12
    executor.warm()
    executor.run(2, [np.ones(3, np.int32)])
    assert device.prepared == 12


def test_a_part_is_prepared_where_it_was_asked_for_and_runs_on_the_same_weights() -> None:
    device = Counting()
    executor = open_executor("cuda-stock", weights.random(SPEC, 0), PLAN, (4,), dtype="float32", device=device)
    assert isinstance(executor, Parts)
    executor.warm([ShapeKey(4, 4, 16)])
    for _ in range(2):
        executor.warm_parts(
            [PartKey(0, 1, ShapeKey(1, 4, 16)), PartKey(1, 4, ShapeKey(3, 1, 8)), PartKey(1, 4, ShapeKey(3, 2, 8))]
        )
        assert device.prepared == 4
    answers = executor.part(1, 4, [np.ones(3, np.int32)])
    assert answers.key == ShapeKey(3, 1, 8)
    assert answers.logits.shape == (1, SPEC.outputs)
    assert device.prepared == 4
    with pytest.raises(LookupError, match=r"students-2x32/2-4 .*16 tokens.* warm"):
        executor.part(1, 4, [np.ones(16, np.int32)])
    with pytest.raises(LookupError, match=r"students 1 to 2 .*warm_parts"):
        executor.part(0, 2, [np.ones(3, np.int32)])
    with pytest.raises(ValueError, match="vocabulary"):
        executor.part(1, 4, [np.array([SPEC.inputs], np.int32)])
    with pytest.raises(LookupError, match="students 3 to 5"):
        executor.warm_parts([PartKey(2, 5, ShapeKey(3, 1, 8))])


@pytest.mark.parametrize("kind", STOCK)
def test_a_part_takes_no_memory_for_weights(kind: str) -> None:
    own = weights.random(SPEC, 0)
    forward = cuda.StockForward(own, KINDS[kind].forward)
    for first, last in ((0, 2), (2, 4)):
        part = forward.part(first, last)._weights[2].tensors()
        for name, tensor in own.tensors().items():
            if not name.startswith("head_"):
                assert part[name].untyped_storage().data_ptr() == tensor.untyped_storage().data_ptr(), name


class Cramped(HostDevice):
    """A device whose memory holds no batch of four."""

    def prepare(self, work: Callable[[], None], *, beside: bool = False) -> Replay:
        self.tried = getattr(self, "tried", 0) + 1
        if self.tried <= 2:
            raise torch.OutOfMemoryError("tried to allocate 20.00 GiB\nand more lines")
        return super().prepare(work)


def test_keys_that_do_not_fit_are_skipped_and_listed() -> None:
    executor = open_executor("cuda-stock", weights.random(SPEC, 0), PLAN, (1,), dtype="float32", device=Cramped())
    executor.warm()
    assert len(executor.skipped) == 2
    with pytest.raises(LookupError, match="out of memory"):
        executor.run(1, [np.ones(16, np.int32)] * 4)
    executor.run(1, [np.ones(8, np.int32)])


def test_parts_that_do_not_fit_are_skipped_and_listed() -> None:
    device = Cramped()
    device.tried = 2
    executor = open_executor("cuda-stock", weights.random(SPEC, 0), PLAN, (1,), dtype="float32", device=device)
    executor.warm([ShapeKey(1, 1, 8)])
    device.tried = 1
    executor.warm_parts([PartKey(1, 2, ShapeKey(1, 4, 16)), PartKey(1, 2, ShapeKey(1, 1, 8))])
    with pytest.raises(LookupError, match="out of memory"):
        executor.part(1, 2, [np.ones(16, np.int32)] * 4)
    executor.part(1, 2, [np.ones(8, np.int32)])


def test_an_executor_that_fits_nowhere_is_a_memory_error() -> None:
    executor = open_executor("cuda-stock", weights.random(SPEC, 0), PLAN, (1,), dtype="float32", device=Cramped())
    with pytest.raises(MemoryError, match="none of 2 keys"):
        executor.warm([ShapeKey(1, 4, 16), ShapeKey(1, 4, 8)])


class Forgetful(HostDevice):
    """A device whose replays write nothing."""

    def prepare(self, work: Callable[[], None], *, beside: bool = False) -> Replay:
        super().prepare(work)
        return HostReplay(lambda: None)


def test_a_replay_that_differs_from_the_eager_run_is_found_before_serving() -> None:
    executor = open_executor("cuda-stock", weights.random(SPEC, 0), PLAN, (1,), dtype="float32", device=Forgetful())
    with pytest.raises(ArithmeticError, match="replay differs"):
        executor.warm()


def test_half_precision_stays_within_its_tolerance() -> None:
    own = weights.random(SPEC, 0)
    executor = open_executor("cuda-stock", own, PLAN, (1, 4), dtype="bfloat16", device=HostDevice())
    executor.warm()
    assert executor.dtype == "bfloat16"
    assert max(gate.check(executor, own, np.random.default_rng(0)).values()) < gate.TOLERANCE["bfloat16"]


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_without_cuda_the_message_names_the_cpu() -> None:
    with pytest.raises(Unavailable, match="--device cpu"):
        open_cuda()
    with pytest.raises(Unavailable, match="CPU executor"):
        best_executor("cuda-stock", weights.random(SPEC, 0), PLAN, (1,))


def test_without_triton_the_next_best_is_opened_and_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cuda.importlib.util, "find_spec", lambda name: None)
    name, executor, reasons = best_executor(
        "cuda", weights.random(SPEC, 0), PLAN, (1,), dtype="float32", device=HostDevice()
    )
    executor.warm([ShapeKey(1, 1, 8)])
    assert name == "cuda-stock"
    assert "Triton" in reasons[0]
    assert "stacked" in executor.implementation(ShapeKey(1, 1, 8))


def test_unknown_names_list_the_valid_ones() -> None:
    own = weights.random(SPEC, 0)
    with pytest.raises(LookupError, match="cuda-branches"):
        open_executor("mps", own, PLAN, (1,))
    with pytest.raises(LookupError, match="bfloat16"):
        open_executor("cuda-stock", own, PLAN, (1,), dtype="int8", device=HostDevice())
    with pytest.raises(LookupError, match="1 to 4 students"):
        open_executor("cuda-stock", own, PLAN, (1, 5), dtype="float32", device=HostDevice())
    with pytest.raises(ValueError, match="positions"):
        open_executor("cuda-stock", own, BucketPlan((1,), (64,)), (1,), dtype="float32", device=HostDevice())


@pytest.mark.filterwarnings("ignore:There is a performance drop")
def test_stacking_equals_torch_func_vmap() -> None:
    """An independent oracle: the same one-student function, vectorised by torch over the stacked weights."""
    own = weights.random(dataclasses.replace(SPEC, pooler=False), 3)
    ids = torch.randint(0, SPEC.vocab, (2, 8), generator=torch.Generator().manual_seed(0))

    def student(tensors: dict[str, Tensor]) -> Tensor:
        single = {name: tensor[None] for name, tensor in tensors.items()}
        one = weights.assemble(dataclasses.replace(own.spec, students=1), single)
        return cuda.stock.student(one, 0, ids, PaddedRows(*ids.shape), False)

    with torch.inference_mode():
        vectors = torch.func.vmap(student)(own.tensors())
        expected = torch.addmm(own.head_bias[-1], vectors.sum(0), own.head_weight[-1])
        got = cuda.stock.stacked(own, ids, PaddedRows(*ids.shape))
    torch.testing.assert_close(got, expected, rtol=1e-5, atol=1e-6)


def test_a_product_that_refuses_one_shape_of_its_class_gives_way_to_the_default(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def picky(x: Tensor, operand: products.Operand, bias: Tensor | None) -> Tensor:
        raise RuntimeError("rows must be a multiple of 8")

    monkeypatch.setitem(products.VARIANTS, "grouped", picky)
    x, weight = torch.ones(2, 3, 4), torch.ones(2, 4, 5)
    own = products.Products()
    shape = products.Shape(2, 3, 4, 5, False).class_()
    own.chosen[shape] = "grouped"
    assert torch.equal(own(x, products.Operand(weight, None)), torch.bmm(x, weight))
    assert own.chosen[shape] == "bmm"
    assert "multiple of 8" in own.refused["grouped"]


def test_the_fastest_variant_is_chosen_and_noise_does_not_choose(monkeypatch: pytest.MonkeyPatch) -> None:
    class Rehearsed(HostDevice):
        """A device on which the variants, in the order of their trial, take these times."""

        def __init__(self, *times: float) -> None:
            self.times = list(times)

        def seconds(self, work: Callable[[], object], calls: int, *, cold: bool = False) -> float:
            return self.times.pop(0)

    monkeypatch.setattr(products, "candidates", lambda shape, dtype: ("bmm", "bmm-turned", "loop"))
    x, weight = torch.ones(2, 3, 4), torch.ones(2, 4, 5)
    operand = products.Operand(weight, weight)
    for times, expected in (((1.0, 0.99, 0.98), "bmm"), ((1.0, 0.5, 0.7), "bmm-turned"), ((1.0, 1.1, 0.6), "loop")):
        own = products.Products(Rehearsed(*times))
        own(x, operand)
        assert set(own.chosen.values()) == {expected}
    spent = products.Products(Rehearsed(), budget_s=0.0)
    spent(x, operand)
    assert spent.used == {"bmm": 1}


def test_without_room_for_trials_the_default_runs() -> None:
    class Full(HostDevice):
        def seconds(self, work: Callable[[], object], calls: int, *, cold: bool = False) -> float:
            raise torch.OutOfMemoryError("full")

    own = products.Products(Full())
    x, weight = torch.ones(2, 3, 4), torch.ones(2, 4, 5)
    assert torch.equal(own(x, products.Operand(weight, None)), torch.bmm(x, weight))
    assert own.chosen == {}
