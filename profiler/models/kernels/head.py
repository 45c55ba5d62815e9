"""Pooler, projection, sum over the students and the prefix's head in one launch, for batches of at most 16."""

# ruff: noqa: N803  compile-time constants are written in capitals, as in Triton's own kernels
# mypy: allow-untyped-decorators, allow-untyped-defs, allow-untyped-calls, allow-incomplete-defs
from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from profiler.models.kernels.counters import counters
from profiler.models.kernels.rowwise import tanh

#: The largest batch, and the block of the pooler's columns (and of its inner dimension) that one program computes.
ROWS, BLOCK = 16, 64


@triton.jit(do_not_specialize=["batch", "outputs", "classes"])
def head_kernel(
    x, x_student, x_row, pooler, pooler_bias, projection, projection_bias, head, shift, votes, counter, out,
    batch, width, outputs, classes,
    ROWS: tl.constexpr, BLOCK: tl.constexpr, OUTPUTS: tl.constexpr, CLASSES: tl.constexpr, CHUNK: tl.constexpr,
):  # fmt: skip
    """A block of one student's pooler and its share of the vote; the last program adds up all shares, in order."""
    block = tl.program_id(0)
    student = tl.program_id(1).to(tl.int64)
    row = tl.arange(0, ROWS)
    columns = block * BLOCK + tl.arange(0, BLOCK)
    k = tl.arange(0, BLOCK)
    left = x + student * x_student + (row % batch).to(tl.int64)[:, None] * x_row + k[None, :]
    right = pooler + student * width * width + k[:, None] * width + columns[None, :]
    total = tl.zeros([ROWS, BLOCK], tl.float32)
    for _ in range(0, width, BLOCK):
        total = tl.dot(tl.load(left), tl.load(right), total, input_precision="ieee")
        left += BLOCK
        right += BLOCK * width
    pooled = tanh(total + tl.load(pooler_bias + student * width + columns).to(tl.float32)[None, :])
    wanted = tl.arange(0, OUTPUTS)
    exists = wanted < outputs
    matrix = projection + (student * width + columns[:, None]) * outputs + wanted[None, :]
    factors = tl.load(matrix, mask=exists[None, :], other=0.0).to(tl.float32)
    vote = tl.dot(pooled, factors, input_precision="ieee")
    bias = tl.load(projection_bias + student * outputs + wanted, mask=exists & (block == 0), other=0.0).to(tl.float32)
    shares = tl.num_programs(0) * tl.num_programs(1)
    share = student * tl.num_programs(0) + block
    tl.store(votes + (share * ROWS + row[:, None]) * OUTPUTS + wanted[None, :], vote + bias[None, :])
    tl.debug_barrier()
    if tl.atomic_add(counter, 1, sem="acq_rel") == shares - 1:
        summed = tl.zeros([ROWS, OUTPUTS], tl.float32)
        for first in range(0, shares, CHUNK):
            each = first + tl.arange(0, CHUNK)
            place = (each[:, None, None] * ROWS + row[None, :, None]) * OUTPUTS + wanted[None, None, :]
            there = (each < shares)[:, None, None]
            # Past the first cache, which may hold what stood there before.
            summed += tl.sum(tl.load(votes + place, mask=there, other=0.0, cache_modifier=".cg"), 0)
        answers = tl.arange(0, CLASSES)
        real = answers < classes
        last = tl.load(
            head + wanted[:, None] * classes + answers[None, :], mask=exists[:, None] & real[None, :], other=0.0
        )
        logits = tl.dot(summed, last.to(tl.float32), input_precision="ieee")
        logits += tl.load(shift + answers, mask=real, other=0.0).to(tl.float32)[None, :]
        place = out + row[:, None] * classes + answers[None, :]
        tl.store(place, logits, mask=(row < batch)[:, None] & real[None, :])
        tl.store(counter, 0)


def fits(batch: int, width: int, outputs: int, classes: int) -> bool:
    """Whether `head` computes such a batch."""
    return batch <= ROWS and width % BLOCK == 0 and outputs <= 16 and classes <= 64


def head(
    x: Tensor, pooler: Tensor, pooler_bias: Tensor, projection: Tensor, projection_bias: Tensor,
    weight: Tensor, bias: Tensor, out: Tensor,
) -> Tensor:  # fmt: skip
    """Logits float32 [batch, C], written to out: x [k, batch, H] (any strides of students and rows).

    pooler [k, H, H], pooler_bias [k, H], projection [k, H, O], projection_bias [k, O]; weight [O, C], bias [C] of the
    prefix. Raises ValueError for what `fits` refuses.
    """
    (students, batch, width), (outputs, classes) = x.shape, weight.shape
    if not fits(batch, width, outputs, classes):
        raise ValueError(f"no head for batch {batch}, width {width}, {outputs} outputs, {classes} classes")
    padded, blocks = max(16, triton.next_power_of_2(outputs)), width // BLOCK
    votes = torch.empty(students * blocks, ROWS, padded, dtype=torch.float32, device=x.device)
    head_kernel[(blocks, students)](
        x, x.stride(0), x.stride(1), pooler, pooler_bias, projection, projection_bias, weight, bias,
        votes, counters(x.device), out, batch, width, outputs, classes,
        ROWS=ROWS, BLOCK=BLOCK, OUTPUTS=padded, CLASSES=max(16, triton.next_power_of_2(classes)), CHUNK=16,
    )  # fmt: skip
    return out
