"""The Triton kernels against float64, on a GPU or else in the interpreter; and compiled for sm_90 without one."""

from __future__ import annotations

import math
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

CUDA = torch.cuda.is_available()
if not CUDA:
    os.environ["TRITON_INTERPRET"] = "1"  # read when the kernels are defined, so before they are imported
pytest.importorskip("triton", reason="Triton is not installed")

from triton.runtime.errors import OutOfResources  # noqa: E402

from profiler.device.cuda import CudaDevice  # noqa: E402
from profiler.device.seam import Device, HostDevice, Unavailable  # noqa: E402
from profiler.executors.cuda import FusedForward, Simplifications, best_executor, open_executor  # noqa: E402
from profiler.executors.interface import PartKey  # noqa: E402
from profiler.measuring import gate, reference  # noqa: E402
from profiler.models import fused, weights  # noqa: E402
from profiler.models import products as products_module  # noqa: E402
from profiler.models.kernels import attention, gemm, head, rowwise  # noqa: E402
from profiler.models.kernels.counters import counters  # noqa: E402
from profiler.models.kernels.spans import Spans  # noqa: E402
from profiler.models.products import VARIANTS, Operand, Products, candidates  # noqa: E402
from profiler.models.spec import Dims  # noqa: E402
from profiler.table import BucketPlan, ShapeKey  # noqa: E402

ON = torch.device("cuda" if CUDA else "cpu")


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def draw(seed: int, *shape: int, scale: float = 1.0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return (torch.randn(*shape, generator=generator) * scale).to(ON)


def distance(got: Tensor, exact: Tensor) -> float:
    return float((got.double().cpu() - exact.double().cpu()).norm() / exact.double().cpu().norm())


def norm(x: Tensor, weight: Tensor, bias: Tensor, eps: float) -> Tensor:
    """LayerNorm of [k, rows, H] in float64 with weights [k, H]."""
    x = x.double()
    centred = x - x.mean(-1, keepdim=True)
    return (
        centred / (centred.square().mean(-1, keepdim=True) + eps).sqrt() * weight.double()[:, None]
        + bias.double()[:, None]
    )


@pytest.mark.parametrize("width", [48, 64])
def test_embedding_kernel_sums_and_normalises(width: int) -> None:
    word, position = draw(0, 2, 30, width), draw(1, 2, 16, width)
    weight, bias = draw(2, 2, width), draw(3, 2, width)
    ids = torch.arange(8, dtype=torch.int32, device=ON).view(2, 4) * 3
    got = rowwise.embedding_norm(ids, 4, None, word, position, None, weight, bias, 1e-5)
    plain = word[:, ids.long()] + position[:, None, :4]
    assert distance(got, norm(plain.reshape(2, 8, width), weight, bias, 1e-5)) < 1e-6
    kinds = draw(4, 2, 3, width)
    types = torch.arange(8, dtype=torch.int32, device=ON).view(2, 4) % 3
    got = rowwise.embedding_norm(ids + 30 * types, 4, None, word, position, kinds, weight, bias, 1e-5)
    assert distance(got, norm((plain + kinds[:, types.long()]).reshape(2, 8, width), weight, bias, 1e-5)) < 1e-6
    places = torch.tensor([0, 1, 2, 0, 1, 2, 3, 4], dtype=torch.int32, device=ON)
    got = rowwise.embedding_norm(ids.view(-1), 9, places, word, position, None, weight, bias, 1e-5)
    plain = word[:, ids.view(-1).long()] + position[:, places.long()]
    assert distance(got, norm(plain, weight, bias, 1e-5)) < 1e-6


def test_add_norm_takes_residuals_of_any_stride() -> None:
    x, bias, weight, shift = draw(0, 3, 4, 48), draw(1, 3, 48), draw(2, 3, 48), draw(3, 3, 48)
    shared = draw(4, 1, 4, 48).expand(3, -1, -1)
    strided = draw(5, 3, 4, 2, 48)[:, :, 0]
    for residual in (shared, strided):
        exact = norm(x + bias[:, None] + residual, weight, shift, 1e-12)
        assert distance(rowwise.add_norm(x.clone(), bias, residual, weight, shift, 1e-12), exact) < 1e-6


def test_gelu_is_the_exact_one() -> None:
    x, bias = draw(0, 2, 3, 80, scale=3.0), draw(1, 2, 80)
    y = x.double() + bias.double()[:, None]
    exact = 0.5 * y * (1 + torch.erf(y / math.sqrt(2)))
    assert distance(rowwise.bias_gelu(x.clone(), bias), exact) < 1e-6


@pytest.mark.parametrize(("outputs", "classes"), [(2, 2), (5, 7)])
def test_head_kernels_vote_and_sum(outputs: int, classes: int) -> None:
    x, pooler_bias = draw(0, 3, 4, 48), draw(1, 3, 48, scale=0.01)
    weight, bias = draw(2, 3, 48, outputs), draw(3, 3, outputs)
    matrix, shift = draw(4, outputs, classes), draw(5, classes)
    pooled = torch.tanh(x.double() + pooler_bias.double()[:, None])
    exact = torch.einsum("kbh,kho->kbo", pooled, weight.double()) + bias.double()[:, None]
    votes = rowwise.vote(x, pooler_bias, weight, bias)
    assert distance(votes, exact) < 1e-6
    logits = exact.sum(0) @ matrix.double() + shift.double()
    assert distance(rowwise.tally(votes, matrix, shift), logits) < 1e-6
    out = torch.empty(4, classes, device=ON)
    assert rowwise.tally(votes, matrix, shift, out) is out
    assert distance(out, logits) < 1e-6


@pytest.mark.parametrize(
    ("students", "batch", "width", "outputs", "classes"), [(1, 1, 64, 2, 2), (3, 5, 128, 5, 7), (12, 16, 128, 16, 20)]
)
def test_one_kernel_computes_the_whole_head(students: int, batch: int, width: int, outputs: int, classes: int) -> None:
    """Twice: the counter that tells the last program must be zero again."""
    x = draw(0, students, batch, 3, width)[:, :, 0]
    pooler, pooler_bias = draw(1, students, width, width, scale=0.05), draw(2, students, width, scale=0.01)
    projection, projection_bias = draw(3, students, width, outputs), draw(4, students, outputs)
    weight, bias = draw(5, outputs, classes), draw(6, classes)
    pooled = torch.tanh(x.double() @ pooler.double() + pooler_bias.double()[:, None])
    votes = pooled @ projection.double() + projection_bias.double()[:, None]
    exact = votes.sum(0) @ weight.double() + bias.double()
    for _ in range(2):
        out = torch.full((batch, classes), math.nan, device=ON)
        got = head.head(x, pooler, pooler_bias, projection, projection_bias, weight, bias, out)
        assert got is out
        assert distance(out, exact) < 2e-6
    assert int(counters(ON).abs().sum()) == 0


def test_a_head_of_another_size_is_refused() -> None:
    assert head.fits(16, 768, 16, 64)
    assert not head.fits(17, 768, 16, 16)
    assert not head.fits(8, 48, 16, 16)
    square = draw(1, 1, 48, 48)
    with pytest.raises(ValueError, match="width 48"):
        head.head(draw(0, 1, 1, 48), square, square[0], square, square[0], square[0], square[0, 0], square[0])


@pytest.mark.parametrize("tile", ["narrow", "middle"])
@pytest.mark.parametrize(("students", "rows", "inner", "columns"), [(1, 3, 256, 72), (2, 20, 512, 48)])
def test_shares_of_a_product_add_up(tile: str, students: int, rows: int, inner: int, columns: int) -> None:
    """Edges, other strides, the epilogue; twice, since the counters must be zero again."""
    x, weight = draw(0, students, rows, 2, inner)[:, :, 0], draw(1, students, inner, columns)
    bias = draw(2, students, columns)
    exact = x.double() @ weight.double()
    chosen = gemm.TILES[tile]
    assert gemm.splits(inner, chosen) > 1
    for _ in range(2):
        assert distance(gemm.split_gemm(x, weight, None, chosen), exact) < 1e-6
        shifted = torch.nn.functional.gelu(exact + bias.double()[:, None])
        assert distance(gemm.split_gemm(x, weight, bias, chosen), shifted) < 1e-6
    assert int(counters(ON).abs().sum()) == 0


def test_an_inner_dimension_that_cannot_be_cut_is_refused() -> None:
    assert [gemm.splits(inner, gemm.TILES["narrow"]) for inner in (3072, 768, 1536, 384)] == [8, 2, 4, 1]
    with pytest.raises(ValueError, match="384"):
        gemm.split_gemm(draw(0, 1, 1, 384), draw(1, 1, 384, 64), None, gemm.TILES["narrow"])


def test_the_first_kernel_brings_the_lengths_to_the_device() -> None:
    word, position, norm_of = draw(0, 2, 30, 64), draw(1, 2, 16, 64), draw(2, 2, 64)
    ids = torch.arange(12, dtype=torch.int32, device=ON).view(3, 4)
    given = torch.tensor([4, 1, 3], dtype=torch.int32, device=ON)
    lens = torch.zeros(5, dtype=torch.int32, device=ON)
    plain = rowwise.embedding_norm(ids, 4, None, word, position, None, norm_of, norm_of, 1e-5)
    got = rowwise.embedding_norm(ids, 4, None, word, position, None, norm_of, norm_of, 1e-5, (given, lens[:3]))
    assert torch.equal(got, plain)
    assert lens.tolist() == [4, 1, 3, 0, 0]


@pytest.mark.parametrize(("direct", "one_head"), [(True, True), (True, False), (False, True)])
def test_an_executor_without_copies_or_with_one_head_gives_the_same_answers(direct: bool, one_head: bool) -> None:
    spec = Dims("students-1x64", 2, 1, 64, 2, 64, vocab=40, positions=32, outputs=4, classes=4)
    own = weights.random(spec, 0)
    ways = Simplifications(direct=direct, one_head=one_head)
    plan = BucketPlan((2,), (8,))
    executor = open_executor(
        "cuda", own, plan, (2,), dtype="float32", device=device(), tune_s=0.0, simplifications=ways
    )
    executor.warm()
    rng = np.random.default_rng(1)
    for size in (2, 1):  # lengths and ids of the batch before must not be met
        ids = [rng.integers(0, 40, rng.integers(1, 9), dtype=np.int32) for _ in range(size)]
        assert gate.distance(executor.run(2, ids).logits, reference.logits(own, 2, ids)) < 1e-6
    with pytest.raises(ValueError, match="vocabulary"):
        executor.run(2, [np.array([40], np.int32)])


def test_large_batches_are_copied_and_small_ones_read_in_place() -> None:
    own = weights.random(SPEC, 0).to(ON)
    model = FusedForward(own, Simplifications(), Products())
    assert model.suits(ShapeKey(2, 8, 32))
    assert not model.suits(ShapeKey(2, 128, 32))
    assert not FusedForward(own, Simplifications(direct=False), Products()).suits(ShapeKey(1, 1, 8))


def masked_attention(q: Tensor, k: Tensor, v: Tensor, lens: list[int], heads: int) -> Tensor:
    """In float64: q [k, B, Q, H], k and v [k, B, S, H] -> [k, B, Q, H]."""
    parts = [part.double().unflatten(-1, (heads, -1)).transpose(-2, -3) for part in (q, k, v)]
    scores = parts[0] @ parts[1].transpose(-1, -2) / math.sqrt(parts[0].shape[-1])
    hidden = torch.arange(k.shape[2])[None] >= torch.tensor(lens)[:, None]
    scores = scores.masked_fill(hidden[None, :, None, None].to(ON), -math.inf)
    return (scores.softmax(-1) @ parts[2]).transpose(-2, -3).flatten(-2)


@pytest.mark.parametrize(
    ("tokens", "lens", "heads", "width"),
    [(16, [16, 1], 2, 64), (24, [5, 24], 2, 52), (96, [96, 70], 1, 32), (160, [160, 65], 1, 32)],
)
def test_attention_reads_no_padding(tokens: int, lens: list[int], heads: int, width: int) -> None:
    """Single pass up to 128 tokens, online softmax beyond; garbage beyond a length changes nothing."""
    qkv, bias = draw(0, 2, 2, tokens, 3 * width), draw(1, 2, width)
    exact = masked_attention(
        qkv[..., :width] + bias[:, None, None], qkv[..., width : 2 * width], qkv[..., 2 * width :], lens, heads
    )
    for sequence, length in enumerate(lens):
        qkv[:, sequence, length:] = math.nan
    spans = Spans(torch.tensor(lens, dtype=torch.int32, device=ON), tokens)
    got = attention.attention(qkv.view(2, -1, 3 * width), bias, spans, heads).view(2, 2, tokens, width)
    assert torch.isfinite(got).all()
    for sequence, length in enumerate(lens):
        assert distance(got[:, sequence, :length], exact[:, sequence, :length]) < 1e-6
    keys_values = qkv[..., width:].contiguous().view(2, -1, 2 * width)
    first = attention.first_attention(qkv[:, :, 0, :width].contiguous(), keys_values, bias, spans, heads)
    assert distance(first, exact[:, :, 0]) < 1e-6


@pytest.mark.parametrize(
    ("lens", "longest", "heads", "width"),
    [([16, 1, 7], 16, 2, 64), ([5, 24, 0, 0], 24, 2, 52), ([70, 96], 96, 1, 32), ([160, 3, 65], 160, 1, 32)],
)
def test_packed_texts_see_themselves_alone(lens: list[int], longest: int, heads: int, width: int) -> None:
    """Texts of no length are no texts; filler, whatever it holds, leaves as zeros and changes nothing."""
    texts, total, filler = [each for each in lens if each], sum(lens), 9
    qkv, bias = draw(0, 2, total + filler, 3 * width), draw(1, 2, width)
    offsets = np.concatenate([[0], np.cumsum(lens)])
    exact = [
        masked_attention(*(part[:, None] for part in (own[..., :width] + bias[:, None], own[..., width : 2 * width],
                                                      own[..., 2 * width :])), [length], heads)[:, 0]
        for start, length in zip(offsets.tolist(), texts, strict=False)
        for own in [qkv[:, start : start + length]]
    ]  # fmt: skip
    qkv[:, total:] = math.nan
    places = torch.zeros(total + filler, dtype=torch.int32, device=ON)
    spans = Spans(torch.tensor(offsets, dtype=torch.int32, device=ON), longest, places)
    got = attention.attention(qkv, bias, spans, heads)
    assert distance(got[:, :total], torch.cat(exact, 1)) < 2e-6
    assert not got[:, total:].any()
    first = spans.first(qkv[..., :width].contiguous())
    assert first.shape == (2, len(lens), width)
    found = attention.first_attention(first.contiguous(), qkv[..., width:].contiguous(), bias, spans, heads)
    assert distance(found[:, : len(texts)], torch.stack([own[:, 0] for own in exact], 1)) < 2e-6
    assert torch.isfinite(found).all()


@pytest.mark.parametrize("tile", list(gemm.TILES)[:3])
@pytest.mark.parametrize("inner", [64, 40])
def test_gemm_covers_the_edges(tile: str, inner: int) -> None:
    x, weight, bias = draw(0, 2, 2, 3, inner)[:, :, 0], draw(1, 2, inner, 72), draw(2, 2, 72)
    exact = x.double() @ weight.double()
    assert distance(gemm.gemm(x, weight, None, gemm.TILES[tile]), exact) < 1e-6
    exact = torch.nn.functional.gelu(exact + bias.double()[:, None])
    assert distance(gemm.gemm(x, weight, bias, gemm.TILES[tile]), exact) < 1e-6


def test_every_variant_gives_the_same_product() -> None:
    """Grouped products exist in bfloat16 only, which the interpreter cannot multiply."""
    x, weight, bias = draw(0, 2, 5, 64), draw(1, 2, 64, 48), draw(2, 2, 48)
    operand = Operand(weight, weight.transpose(1, 2).contiguous().transpose(1, 2))
    exact = x.double() @ weight.double()
    for name, variant in VARIANTS.items():
        if name in ("grouped", "split-narrow", "split-middle"):  # the inner dimension is too short to cut
            continue
        assert distance(variant(x, operand, None), exact) < 1e-6, name
        assert distance(variant(x, operand, bias), torch.nn.functional.gelu(exact + bias.double()[:, None])) < 1e-6


SPEC = Dims("students-2x32", 2, 2, 32, 2, 64, vocab=40, positions=32, types=2)


def device() -> Device:
    return CudaDevice() if CUDA else HostDevice()


@pytest.mark.parametrize(
    "simplifications",
    [Simplifications(), Simplifications(cls_only=False), Simplifications(True, False, False, False)],
    ids=["all", "without-cls-only", "without-folds-and-fused-qkv"],
)
def test_fused_forward_gives_the_answers_of_the_reference(simplifications: Simplifications) -> None:
    """Each simplification is exact, for a prefix too; what stands beyond a length does not matter."""
    own = weights.random(SPEC, 0)
    placed = simplifications.prepare(own).to(ON)
    rng = np.random.default_rng(0)
    rows = [rng.integers(0, 80, length, dtype=np.int32) for length in (8, 3)]  # of both types
    ids = rng.integers(0, 80, (2, 8), dtype=np.int32)
    for target, row in zip(ids, rows, strict=True):
        target[: len(row)] = row
    model = FusedForward(placed, simplifications, Products())
    for students in (1, 2):
        spans = Spans(torch.tensor([8, 3], dtype=torch.int32, device=ON), 8)
        got = model(students, torch.from_numpy(ids).to(ON), spans)
        assert gate.distance(got.cpu().numpy(), reference.logits(own, students, rows)) < 1e-6


def test_the_fused_executor_runs_packed_batches() -> None:
    """Mixes, texts that are not there, filler, buffers that have held another key: answers of the reference."""
    own, rng = weights.random(SPEC, 0), np.random.default_rng(0)
    plan = BucketPlan.packed((2,), (8, 12), 6)
    executor = open_executor("cuda", own, plan, (2,), dtype="float32", device=device(), tune_s=0.0)
    executor.warm()
    batches = [[rng.integers(0, SPEC.inputs, length, dtype=np.int32) for length in each] for each in ((6, 4), (5,))]
    for ids in (*batches, batches[0]):
        answers = executor.run(2, ids)
        assert answers.key == plan.key(2, [len(row) for row in ids])
        assert gate.distance(answers.logits, reference.logits(own, 2, ids)) < 1e-6
    with pytest.raises(Unavailable, match="padded"):
        open_executor("cuda-stock", own, plan, (2,), dtype="float32", device=device())


@pytest.mark.parametrize("outputs", [3, 20, 70])
def test_fused_parts_add_up_to_the_answers_of_the_reference(outputs: int) -> None:
    """With each of the ways to project and to sum, and with transposed copies of which a part has its share."""
    spec = Dims("students-1x32", 3, 1, 32, 2, 64, vocab=40, positions=32, outputs=outputs, shared_embeddings=True)
    own = weights.random(spec, 0)
    executor = open_executor("cuda", own, BucketPlan((2,), (8,)), (3,), dtype="float32", device=device(), tune_s=5.0)
    executor.warm()
    executor.warm_parts([PartKey(0, 1, ShapeKey(1, 2, 8)), PartKey(1, 3, ShapeKey(2, 2, 8))])
    ids = [np.array([3, 1, 2], np.int32), np.arange(8, dtype=np.int32)]
    total = executor.part(0, 1, ids).logits + executor.part(1, 3, ids).logits
    heads, biases = executor.heads
    assert gate.distance(total @ heads[2] + biases[2], reference.logits(own, 3, ids)) < 1e-6


def test_fused_executor_with_shared_embeddings_and_wide_outputs_passes_the_gate() -> None:
    spec = Dims("students-1x32", 2, 1, 32, 2, 64, vocab=40, positions=32, outputs=20, shared_embeddings=True)
    own = weights.random(spec, 0)
    executor = open_executor("cuda", own, BucketPlan((2,), (8,)), (2,), dtype="float32", device=device(), tune_s=0.0)
    executor.warm()
    assert max(gate.check(executor, own, np.random.default_rng(0), keys=1).values()) < 1e-6
    assert "fused" in executor.implementation(ShapeKey(2, 2, 8))


def test_the_products_are_measured_once_per_shape_and_recorded() -> None:
    operand = Operand(draw(0, 2, 32, 32), draw(0, 2, 32, 32))
    products = Products(device())
    x = draw(1, 2, 5, 32)
    for _ in range(2):
        products(x, operand)
    (shape,) = products.chosen
    assert (shape.students, shape.rows) == (2, 8)
    assert products.chosen[shape] in candidates(shape, torch.float32)
    assert products.used == {products.chosen[shape]: 2}


def test_a_variant_that_computes_something_else_is_refused() -> None:
    products = Products(device())
    products(draw(1, 2, 5, 32), Operand(draw(0, 2, 32, 32), draw(7, 2, 32, 32)))
    assert "wrong product" in products.refused["bmm-turned"]
    assert set(products.chosen.values()) == {"bmm"}


def test_a_tile_that_the_device_has_no_room_for_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    def too_large(*arguments: object) -> Tensor:
        raise OutOfResources(147456, 101376, "shared memory")

    monkeypatch.setattr(gemm, "gemm", too_large)
    monkeypatch.setattr(products_module, "candidates", lambda shape, dtype: ("bmm", "triton-wide"))
    products = Products(device())
    products(draw(1, 2, 5, 32), Operand(draw(0, 2, 32, 32), None))
    assert "shared memory" in products.refused["triton-wide"]
    assert set(products.chosen.values()) == {"bmm"}


def test_every_product_of_the_fused_forward_has_both_layouts() -> None:
    """One without would be refused by some variants, and take them from all products of its shape."""
    spec = replace(SPEC, outputs=32)
    own = weights.random(spec, 0).to(ON)
    met = []

    def product(x: Tensor, operand: Operand, bias: Tensor | None = None) -> Tensor:
        assert operand.turned is not None
        assert torch.equal(operand.turned, operand.weight)
        assert operand.turned.stride(1) == 1
        met.append(operand.weight.shape[1:])
        return VARIANTS["bmm"](x, operand, bias)

    ids, lens = torch.zeros(1, 8, dtype=torch.int32, device=ON), torch.full((1,), 8, dtype=torch.int32, device=ON)
    fused.forward(own, ids, Spans(lens, 8), product, turned=fused.turn(own))
    assert len(met) == 4 + 5 + 2  # a layer, the last layer, pooler and projection


def test_where_triton_cannot_build_the_next_best_is_opened_and_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_headers(*arguments: object) -> Tensor:
        raise subprocess.CalledProcessError(1, ["gcc"])

    monkeypatch.setattr(rowwise, "tally", no_headers)
    own = weights.random(SPEC, 0)
    name, _, reasons = best_executor("cuda", own, BucketPlan((1,), (8,)), (1,), dtype="float32", device=device())
    assert name == "cuda-stock"
    assert "gcc" in reasons[0]


def test_kernels_compile_for_hopper_without_a_gpu(tmp_path: Path) -> None:
    """In a process of its own: the interpreter replaces the compiler in this one."""
    environment = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    environment |= {"TRITON_CACHE_DIR": str(tmp_path), "PYTHONPATH": str(Path(__file__).parents[3])}
    script = Path(__file__).with_name("compile_kernels.py")
    result = subprocess.run([sys.executable, script], env=environment, capture_output=True, text=True, timeout=900)
    assert result.returncode == 0, result.stderr[-2000:]
    compiled = {name: (int(size), int(spilled)) for name, size, spilled in lines(result.stdout)}
    assert len(compiled) == 21
    assert all(size > 0 for size, _ in compiled.values())
    assert {name: spilled for name, (_, spilled) in compiled.items() if spilled} == {}


def lines(text: str) -> Iterator[list[str]]:
    """Kernel and constants, bytes, bytes that were spilled."""
    return (line.rsplit(" ", 2) for line in text.splitlines())
