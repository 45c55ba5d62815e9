"""Batched matrix products with an optional bias + GELU epilogue: one launch where cuBLAS needs two.

With few rows and students a product has fewer tiles than the GPU has multiprocessors: `split_gemm` gives each tile to
several programs, which share its inner dimension.
"""

# ruff: noqa: N803  compile-time constants are written in capitals, as in Triton's own kernels
# mypy: allow-untyped-decorators, allow-untyped-defs, allow-untyped-calls, allow-incomplete-defs
from __future__ import annotations

from typing import NamedTuple

import torch
import triton
import triton.language as tl
from torch import Tensor

from profiler.models.kernels.counters import MOST, counters
from profiler.models.kernels.rowwise import gelu


class Tile(NamedTuple):
    """The block of the product that one program computes, and the resources that it takes."""

    rows: int
    columns: int
    inner: int
    warps: int
    stages: int


#: By use: a handful of rows (memory-bound on the weights), a few dozen, and enough rows to fill the tensor cores.
TILES = {
    "narrow": Tile(16, 64, 128, 4, 4),
    "middle": Tile(64, 64, 64, 4, 4),
    "square": Tile(128, 128, 64, 8, 3),
    "wide": Tile(128, 256, 64, 8, 3),
}


@triton.jit(do_not_specialize=["rows"])
def gemm_kernel(
    a, a_student, a_row, b, b_student, b_row, bias, out, rows, columns, inner,
    GELU: tl.constexpr, EVEN: tl.constexpr,
    ROWS: tl.constexpr, COLUMNS: tl.constexpr, INNER: tl.constexpr, GROUP: tl.constexpr,
):  # fmt: skip
    # Programs walk groups of row tiles, so that the tiles of b that they share are still in L2.
    program = tl.program_id(0)
    student = tl.program_id(1).to(tl.int64)
    across = tl.cdiv(columns, COLUMNS)
    group = program // (GROUP * across)
    tall = tl.minimum(tl.cdiv(rows, ROWS) - group * GROUP, GROUP)
    row_tile = group * GROUP + (program % (GROUP * across)) % tall
    column_tile = (program % (GROUP * across)) // tall

    m = row_tile * ROWS + tl.arange(0, ROWS)
    n = column_tile * COLUMNS + tl.arange(0, COLUMNS)
    k = tl.arange(0, INNER)
    # Beyond the edge the first rows and columns are read again: no mask in the loop, and nothing of it is stored.
    left = a + student * a_student + (m % rows).to(tl.int64)[:, None] * a_row + k[None, :]
    right = b + student * b_student + k[:, None] * b_row + (n % columns)[None, :]
    total = tl.zeros([ROWS, COLUMNS], tl.float32)
    for begin in range(0, inner, INNER):
        if EVEN:
            x = tl.load(left)
            w = tl.load(right)
        else:
            x = tl.load(left, mask=begin + k[None, :] < inner, other=0.0)
            w = tl.load(right, mask=begin + k[:, None] < inner, other=0.0)
        total = tl.dot(x, w, total, input_precision="ieee")
        left += INNER
        right += INNER * b_row
    if GELU:
        shift = tl.load(bias + student * columns + n % columns).to(tl.float32)
        total = gelu(total + shift[None, :])
    place = out + student * rows * columns + m.to(tl.int64)[:, None] * columns + n[None, :]
    tl.store(place, total.to(out.dtype.element_ty), mask=(m[:, None] < rows) & (n[None, :] < columns))


def gemm(x: Tensor, weight: Tensor, bias: Tensor | None, tile: Tile) -> Tensor:
    """x [k, rows, in] @ weight [k, in, out], with a bias [k, out] as gelu(x @ weight + bias). Last axes contiguous."""
    students, rows, inner = x.shape
    columns = weight.shape[2]
    out = x.new_empty(students, rows, columns)
    programs = triton.cdiv(rows, tile.rows) * triton.cdiv(columns, tile.columns)
    gemm_kernel[(programs, students)](
        x, x.stride(0), x.stride(1), weight, weight.stride(0), weight.stride(1), x if bias is None else bias, out,
        rows, columns, inner, GELU=bias is not None, EVEN=inner % tile.inner == 0,
        ROWS=tile.rows, COLUMNS=tile.columns, INNER=tile.inner, GROUP=8,
        num_warps=tile.warps, num_stages=tile.stages,
    )  # fmt: skip
    return out


@triton.jit(do_not_specialize=["rows"])
def split_gemm_kernel(
    a, a_student, a_row, b, b_student, b_row, bias, parts, counter, out, rows, columns, inner,
    GELU: tl.constexpr, SPLITS: tl.constexpr, ROWS: tl.constexpr, COLUMNS: tl.constexpr, INNER: tl.constexpr,
):  # fmt: skip
    """A share of the inner dimension of one tile; the last program of a tile adds up the shares, in order."""
    tile = tl.program_id(0)
    share = tl.program_id(1)
    student = tl.program_id(2).to(tl.int64)
    across = tl.cdiv(columns, COLUMNS)
    m = tile // across * ROWS + tl.arange(0, ROWS)
    n = tile % across * COLUMNS + tl.arange(0, COLUMNS)
    k = share * (inner // SPLITS) + tl.arange(0, INNER)
    left = a + student * a_student + (m % rows).to(tl.int64)[:, None] * a_row + k[None, :]
    right = b + student * b_student + k[:, None] * b_row + (n % columns)[None, :]
    total = tl.zeros([ROWS, COLUMNS], tl.float32)
    for _ in range(0, inner // SPLITS, INNER):
        total = tl.dot(tl.load(left), tl.load(right), total, input_precision="ieee")
        left += INNER
        right += INNER * b_row
    inside = (m[:, None] < rows) & (n[None, :] < columns)
    place = m.to(tl.int64)[:, None] * columns + n[None, :]
    tl.store(parts + (student * SPLITS + share) * rows * columns + place, total, mask=inside)
    tl.debug_barrier()
    own = counter + student * tl.num_programs(0) + tile
    if tl.atomic_add(own, 1, sem="acq_rel") == SPLITS - 1:
        total = tl.zeros([ROWS, COLUMNS], tl.float32)
        for other in range(SPLITS):
            # Past the first cache, which may hold what stood there before.
            where = parts + (student * SPLITS + other) * rows * columns + place
            total += tl.load(where, mask=inside, other=0.0, cache_modifier=".cg")
        if GELU:
            total = gelu(total + tl.load(bias + student * columns + n % columns).to(tl.float32)[None, :])
        tl.store(out + student * rows * columns + place, total.to(out.dtype.element_ty), mask=inside)
        tl.store(own, 0)


def splits(inner: int, tile: Tile) -> int:
    """Into how many shares `split_gemm` cuts an inner dimension: 8, 4, 2, or 1 where it cannot be cut."""
    return next((count for count in (8, 4, 2) if inner % (count * tile.inner) == 0), 1)


def split_gemm(x: Tensor, weight: Tensor, bias: Tensor | None, tile: Tile) -> Tensor:
    """As `gemm`. Raises ValueError where the inner dimension cannot be cut, or there are too many tiles to count."""
    students, rows, inner = x.shape
    columns, shares = weight.shape[2], splits(inner, tile)
    tiles = triton.cdiv(rows, tile.rows) * triton.cdiv(columns, tile.columns)
    if shares == 1 or students * tiles > MOST:
        raise ValueError(f"no shares for {inner} in {students * tiles} tiles")
    out = x.new_empty(students, rows, columns)
    parts = torch.empty(students, shares, rows, columns, dtype=torch.float32, device=x.device)
    split_gemm_kernel[(tiles, shares, students)](
        x, x.stride(0), x.stride(1), weight, weight.stride(0), weight.stride(1), x if bias is None else bias,
        parts, counters(x.device), out, rows, columns, inner, GELU=bias is not None, SPLITS=shares,
        ROWS=tile.rows, COLUMNS=tile.columns, INNER=tile.inner, num_warps=tile.warps, num_stages=tile.stages,
    )  # fmt: skip
    return out
