"""Kernels with one program per row: embedding sum and LayerNorm, bias + residual + LayerNorm, bias + GELU, the head."""

# ruff: noqa: N803  compile-time constants are written in capitals, as in Triton's own kernels
# mypy: allow-untyped-decorators, allow-untyped-defs, allow-untyped-calls, allow-incomplete-defs
from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor


@triton.jit
def _normalised(x, columns, width, weight, bias, eps):
    """LayerNorm of one row held in registers, statistics in float32 (two passes, both in registers)."""
    inside = columns < width
    mean = tl.sum(x, 0) / width
    centred = tl.where(inside, x - mean, 0.0)
    scale = 1.0 / tl.sqrt(tl.sum(centred * centred, 0) / width + eps)
    gain = tl.load(weight + columns, mask=inside, other=0.0).to(tl.float32)
    shift = tl.load(bias + columns, mask=inside, other=0.0).to(tl.float32)
    return centred * scale * gain + shift


@triton.jit
def tanh(x):
    """tanh by exp; near zero by its series, where the quotient would cancel."""
    square = x * x
    series = x * (1.0 + square * (-0.33333333 + square * (0.13333333 - square * 0.05396825)))
    return tl.where(square < 0.01, series, 1.0 - 2.0 / (tl.exp(2.0 * x) + 1.0))


@triton.jit(do_not_specialize=["tokens", "vocab", "positions"])
def embedding_norm_kernel(
    ids, places, word, position, type, weight, bias, out, given_lens, lens, tokens, vocab, positions, width, eps,
    TYPES: tl.constexpr, PACKED: tl.constexpr, BLOCK: tl.constexpr, LENS: tl.constexpr,
):  # fmt: skip
    row = tl.program_id(0)
    if LENS and tl.program_id(1) == 0 and row % tokens == 0:
        tl.store(lens + row // tokens, tl.load(given_lens + row // tokens))
    student = tl.program_id(1).to(tl.int64)
    columns = tl.arange(0, BLOCK)
    inside = columns < width
    token = tl.load(ids + row).to(tl.int64)
    kind = token // vocab
    if TYPES > 1:
        token = token % vocab
    place = tl.load(places + row) if PACKED else row % tokens
    words = tl.load(word + (student * vocab + token) * width + columns, mask=inside, other=0.0).to(tl.float32)
    placed = tl.load(position + (student * positions + place) * width + columns, mask=inside, other=0.0)
    total = words + placed.to(tl.float32)
    if TYPES > 1:
        typed = type + (student * TYPES + kind) * width + columns
        total += tl.load(typed, mask=inside, other=0.0).to(tl.float32)
    y = _normalised(total, columns, width, weight + student * width, bias + student * width, eps)
    target = out + (student * tl.num_programs(0) + row) * width + columns
    tl.store(target, y.to(out.dtype.element_ty), mask=inside)


def embedding_norm(
    ids: Tensor, tokens: int, places: Tensor | None, word: Tensor, position: Tensor, types: Tensor | None,
    weight: Tensor, bias: Tensor, eps: float, lens: tuple[Tensor, Tensor] | None = None,
) -> Tensor:  # fmt: skip
    """LayerNorm(word[ids] + position): M ids int32, word [E, V, H], position [E, P, H] -> [E, M, H].

    places: int32 [M], the position of each id; None: they count in rows of `tokens`. types: [E, T, H]; then a token of
    type t is given as its id + t * V, and types[t] is added. ids may lie in pinned memory of the host. lens, of rows of
    `tokens`: int32 [batch] there, and where to copy them on the device, for the kernels that follow.
    """
    embeddings, vocab, width = word.shape
    out = word.new_empty(embeddings, ids.numel(), width)
    block = triton.next_power_of_2(width)
    embedding_norm_kernel[(ids.numel(), embeddings)](
        ids, ids if places is None else places, word, position, word if types is None else types, weight, bias, out,
        *(lens or (ids, ids)), tokens, vocab, position.shape[1], width, eps,
        TYPES=1 if types is None else types.shape[1], PACKED=places is not None, BLOCK=block, LENS=lens is not None,
    )  # fmt: skip
    return out


@triton.jit
def add_norm_kernel(
    x, bias, residual, residual_student, residual_row, weight, shift, out, width, eps, BLOCK: tl.constexpr
):
    row = tl.program_id(0).to(tl.int64)
    student = tl.program_id(1).to(tl.int64)
    columns = tl.arange(0, BLOCK)
    inside = columns < width
    place = (student * tl.num_programs(0) + row) * width + columns
    value = tl.load(x + place, mask=inside, other=0.0).to(tl.float32)
    value += tl.load(bias + student * width + columns, mask=inside, other=0.0).to(tl.float32)
    skipped = residual + student * residual_student + row * residual_row + columns
    value += tl.load(skipped, mask=inside, other=0.0).to(tl.float32)
    y = _normalised(value, columns, width, weight + student * width, shift + student * width, eps)
    tl.store(out + place, y.to(out.dtype.element_ty), mask=inside)


def add_norm(x: Tensor, bias: Tensor, residual: Tensor, weight: Tensor, shift: Tensor, eps: float) -> Tensor:
    """LayerNorm(x + bias + residual), written over x: x [k, rows, H] contiguous, the rest [k, H].

    residual: [k, rows, H] with any student and row strides (0 where the students share it).
    """
    students, rows, width = x.shape
    assert x.is_contiguous()
    add_norm_kernel[(rows, students)](
        x, bias, residual, residual.stride(0), residual.stride(1), weight, shift, x, width, eps,
        BLOCK=triton.next_power_of_2(width),
    )  # fmt: skip
    return x


@triton.jit
def gelu(x):
    """The exact GELU, x Phi(x)."""
    return 0.5 * x * (1.0 + tl.erf(x * 0.7071067811865476))


@triton.jit
def bias_gelu_kernel(x, bias, width, BLOCK: tl.constexpr):
    row = tl.program_id(0).to(tl.int64)
    student = tl.program_id(2).to(tl.int64)
    columns = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    inside = columns < width
    place = x + (student * tl.num_programs(0) + row) * width + columns
    value = tl.load(place, mask=inside, other=0.0).to(tl.float32)
    value += tl.load(bias + student * width + columns, mask=inside, other=0.0).to(tl.float32)
    tl.store(place, gelu(value).to(x.dtype.element_ty), mask=inside)


def bias_gelu(x: Tensor, bias: Tensor) -> Tensor:
    """gelu(x + bias), written over x: x [k, rows, F] contiguous, bias [k, F]."""
    students, rows, width = x.shape
    assert x.is_contiguous()
    block = next((size for size in (1024, 512, 256) if width % size == 0), 1024)
    bias_gelu_kernel[(rows, triton.cdiv(width, block), students)](x, bias, width, BLOCK=block)
    return x


@triton.jit
def vote_kernel(
    x, x_student, x_row, pooler_bias, weight, bias, out, width, outputs,
    POOLED: tl.constexpr, BLOCK: tl.constexpr, OUTPUTS: tl.constexpr,
):  # fmt: skip
    row = tl.program_id(0).to(tl.int64)
    student = tl.program_id(1).to(tl.int64)
    columns = tl.arange(0, BLOCK)
    inside = columns < width
    value = tl.load(x + student * x_student + row * x_row + columns, mask=inside, other=0.0).to(tl.float32)
    if POOLED:
        value = tanh(value + tl.load(pooler_bias + student * width + columns, mask=inside, other=0.0).to(tl.float32))
    wanted = tl.arange(0, OUTPUTS)
    exists = wanted < outputs
    matrix = weight + student * width * outputs + columns[:, None] * outputs + wanted[None, :]
    factors = tl.load(matrix, mask=inside[:, None] & exists[None, :], other=0.0).to(tl.float32)
    vote = tl.sum(value[:, None] * factors, 0)
    vote += tl.load(bias + student * outputs + wanted, mask=exists, other=0.0).to(tl.float32)
    tl.store(out + (student * tl.num_programs(0) + row) * outputs + wanted, vote, mask=exists)


def vote(x: Tensor, pooler_bias: Tensor | None, weight: Tensor, bias: Tensor) -> Tensor:
    """Each student's projection in float32: [tanh](x [+ pooler_bias]) @ weight + bias, [k, batch, H] -> [k, batch, O].

    The tanh and its bias are there where pooler_bias is. weight: [k, H, O] contiguous with small O (at most 16).
    """
    students, batch, width = x.shape
    outputs = weight.shape[2]
    out = torch.empty(students, batch, outputs, dtype=torch.float32, device=x.device)
    vote_kernel[(batch, students)](
        x, x.stride(0), x.stride(1), bias if pooler_bias is None else pooler_bias, weight, bias, out, width, outputs,
        POOLED=pooler_bias is not None, BLOCK=triton.next_power_of_2(width), OUTPUTS=triton.next_power_of_2(outputs),
    )  # fmt: skip
    return out


@triton.jit(do_not_specialize=["students", "batch", "outputs", "classes"])
def tally_kernel(
    votes, weight, bias, out, students, batch, outputs, classes,
    STUDENTS: tl.constexpr, OUTPUTS: tl.constexpr, CLASSES: tl.constexpr,
):  # fmt: skip
    row = tl.program_id(0)
    wanted = tl.arange(0, OUTPUTS)
    exists = wanted < outputs
    student = tl.arange(0, STUDENTS)
    places = votes + (student[:, None] * batch + row) * outputs + wanted[None, :]
    total = tl.sum(tl.load(places, mask=(student < students)[:, None] & exists[None, :], other=0.0), 0)
    answers = tl.arange(0, CLASSES)
    real = answers < classes
    matrix = weight + wanted[:, None] * classes + answers[None, :]
    factors = tl.load(matrix, mask=exists[:, None] & real[None, :], other=0.0).to(tl.float32)
    logits = tl.sum(total[:, None] * factors, 0) + tl.load(bias + answers, mask=real, other=0.0).to(tl.float32)
    tl.store(out + row * classes + answers, logits, mask=real)


def tally(votes: Tensor, weight: Tensor, bias: Tensor, out: Tensor | None = None) -> Tensor:
    """The prefix's logits in float32: votes [k, batch, O] summed over k, times weight [O, C], plus bias [C].

    out: where to write them, which may be pinned memory of the host.
    """
    students, batch, outputs = votes.shape
    classes = weight.shape[1]
    out = torch.empty(batch, classes, dtype=torch.float32, device=votes.device) if out is None else out
    tally_kernel[(batch,)](
        votes, weight, bias, out, students, batch, outputs, classes,
        STUDENTS=triton.next_power_of_2(students), OUTPUTS=triton.next_power_of_2(outputs),
        CLASSES=triton.next_power_of_2(classes),
    )  # fmt: skip
    return out
