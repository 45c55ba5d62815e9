"""Short-sequence attention that reads the fused QKV product as it is, with lengths that only the device knows."""

# ruff: noqa: N803  compile-time constants are written in capitals, as in Triton's own kernels
# mypy: allow-untyped-decorators, allow-untyped-defs, allow-untyped-calls, allow-incomplete-defs
from __future__ import annotations

import math

import triton
import triton.language as tl
from torch import Tensor

from profiler.models.kernels.spans import Spans

_LOG2E = 1.4426950408889634


@triton.jit(do_not_specialize=["rows", "tokens", "heads"])
def attention_kernel(
    qkv, bias, lens, out, rows, tokens, heads, width, scale,
    HEAD: tl.constexpr, DIMS: tl.constexpr, QUERIES: tl.constexpr, KEYS: tl.constexpr, SINGLE: tl.constexpr,
    PACKED: tl.constexpr,
):  # fmt: skip
    """One block of queries of one head of one sequence. SINGLE: all keys fit one block, so softmax needs one pass.

    PACKED: sequences lie one behind the other, and lens are their offsets: rows beyond an end are another's.
    """
    sequence = tl.program_id(0) // heads
    head = tl.program_id(0) % heads
    first = tl.program_id(1) * QUERIES
    student = tl.program_id(2).to(tl.int64)
    if PACKED:
        origin = tl.load(lens + sequence)
        length = tl.load(lens + sequence + 1) - origin
        end = length
    else:
        origin = sequence * tokens
        length = tl.load(lens + sequence)
        end = tokens
    dims = tl.arange(0, DIMS)
    real = dims < HEAD
    queries = first + tl.arange(0, QUERIES)
    start = student * rows + origin
    target = out + (start + queries[:, None]) * width + head * HEAD + dims[None, :]
    written = (queries[:, None] < end) & real[None, :]
    if first >= length:
        # Nobody reads padded rows, but they stay finite: a zero is one store, garbage could be a NaN.
        tl.store(target, tl.zeros([QUERIES, DIMS], out.dtype.element_ty), mask=written)
        return
    base = qkv + start * 3 * width + head * HEAD
    asked = (queries[:, None] < length) & real[None, :]
    q = tl.load(base + queries[:, None] * 3 * width + dims[None, :], mask=asked, other=0.0).to(tl.float32)
    shift = tl.load(bias + student * width + head * HEAD + dims, mask=real, other=0.0).to(tl.float32)
    q = (q + shift[None, :]).to(qkv.dtype.element_ty)
    keys = tl.arange(0, KEYS)
    if SINGLE:
        present = keys < length
        each = base + keys[:, None] * 3 * width + dims[None, :]
        k = tl.load(each + width, mask=present[:, None] & real[None, :], other=0.0)
        v = tl.load(each + 2 * width, mask=present[:, None] & real[None, :], other=0.0)
        scores = tl.dot(q, tl.trans(k), input_precision="ieee") * scale
        scores = tl.where(present[None, :], scores, -float("inf"))
        p = tl.exp2(scores - tl.max(scores, 1)[:, None])
        total = tl.sum(p, 1)
        context = tl.dot(p.to(v.dtype), v, input_precision="ieee")
    else:
        highest = tl.full([QUERIES], -float("inf"), tl.float32)
        total = tl.zeros([QUERIES], tl.float32)
        context = tl.zeros([QUERIES, DIMS], tl.float32)
        for begin in range(0, length, KEYS):
            present = begin + keys < length
            each = base + (begin + keys[:, None]) * 3 * width + dims[None, :]
            k = tl.load(each + width, mask=present[:, None] & real[None, :], other=0.0)
            v = tl.load(each + 2 * width, mask=present[:, None] & real[None, :], other=0.0)
            scores = tl.dot(q, tl.trans(k), input_precision="ieee") * scale
            scores = tl.where(present[None, :], scores, -float("inf"))
            higher = tl.maximum(highest, tl.max(scores, 1))
            shrink = tl.exp2(highest - higher)
            p = tl.exp2(scores - higher[:, None])
            total = total * shrink + tl.sum(p, 1)
            context = context * shrink[:, None] + tl.dot(p.to(v.dtype), v, input_precision="ieee")
            highest = higher
    context = context / total[:, None]
    tl.store(target, context.to(out.dtype.element_ty), mask=written)


def attention(qkv: Tensor, query_bias: Tensor, spans: Spans, heads: int) -> Tensor:
    """Each text's attention to itself: qkv [k, rows, 3H], query_bias [k, H] -> [k, rows, H].

    Nothing beyond a text is read; rows that belong to none are written as finite numbers.
    """
    students, rows, width = qkv.shape[0], qkv.shape[1], qkv.shape[2] // 3
    assert qkv.is_contiguous()
    tokens, packed = spans.tokens, spans.places is not None
    head = width // heads
    out = qkv.new_zeros(students, rows, width) if packed else qkv.new_empty(students, rows, width)
    padded = max(16, triton.next_power_of_2(tokens))
    queries, keys = min(64, padded), min(128 if tokens <= 128 else 64, padded)
    attention_kernel[(spans.batch * heads, triton.cdiv(tokens, queries), students)](
        qkv, query_bias, spans.lens, out, rows, tokens, heads, width, _LOG2E / math.sqrt(head),
        HEAD=head, DIMS=max(16, triton.next_power_of_2(head)), QUERIES=queries, KEYS=keys, SINGLE=tokens <= keys,
        PACKED=packed, num_warps=2 if queries <= 32 else 4,
    )  # fmt: skip
    return out


@triton.jit(do_not_specialize=["batch", "rows", "tokens", "heads"])
def first_attention_kernel(
    query, bias, keys_values, lens, out, batch, rows, tokens, heads, width, scale,
    HEAD: tl.constexpr, DIMS: tl.constexpr, KEYS: tl.constexpr, PACKED: tl.constexpr,
):  # fmt: skip
    """One head of the one query of one sequence: a matrix-vector product, so no tensor core and all in float32."""
    sequence = tl.program_id(0) // heads
    head = tl.program_id(0) % heads
    student = tl.program_id(1).to(tl.int64)
    if PACKED:
        origin = tl.load(lens + sequence)
        length = tl.load(lens + sequence + 1) - origin
    else:
        origin = sequence * tokens
        length = tl.load(lens + sequence)
    dims = tl.arange(0, DIMS)
    real = dims < HEAD
    place = (student * batch + sequence) * width + head * HEAD + dims
    q = tl.load(query + place, mask=real, other=0.0).to(tl.float32)
    q += tl.load(bias + student * width + head * HEAD + dims, mask=real, other=0.0).to(tl.float32)
    base = keys_values + (student * rows + origin) * 2 * width + head * HEAD
    keys = tl.arange(0, KEYS)
    highest = -float("inf")
    total = 0.0
    context = tl.zeros([DIMS], tl.float32)
    for begin in range(0, length, KEYS):
        present = begin + keys < length
        each = base + (begin + keys[:, None]) * 2 * width + dims[None, :]
        k = tl.load(each, mask=present[:, None] & real[None, :], other=0.0).to(tl.float32)
        v = tl.load(each + width, mask=present[:, None] & real[None, :], other=0.0).to(tl.float32)
        scores = tl.where(present, tl.sum(q[None, :] * k, 1) * scale, -float("inf"))
        higher = tl.maximum(highest, tl.max(scores, 0))
        shrink = tl.exp2(highest - higher)
        p = tl.exp2(scores - higher)
        total = total * shrink + tl.sum(p, 0)
        context = context * shrink + tl.sum(p[:, None] * v, 0)
        highest = higher
    context = context / tl.where(length > 0, total, 1.0)  # a text that is not there has no keys
    tl.store(out + place, context.to(out.dtype.element_ty), mask=real)


def first_attention(query: Tensor, keys_values: Tensor, query_bias: Tensor, spans: Spans, heads: int) -> Tensor:
    """Attention of each sequence's first token: query [k, batch, H], keys_values [k, rows, 2H] -> [k, batch, H]."""
    students, batch, width = query.shape
    assert query.is_contiguous()
    assert keys_values.is_contiguous()
    tokens, rows = spans.tokens, keys_values.shape[1]
    head = width // heads
    out = query.new_empty(students, batch, width)
    first_attention_kernel[(batch * heads, students)](
        query, query_bias, keys_values, spans.lens, out, batch, rows, tokens, heads, width, _LOG2E / math.sqrt(head),
        HEAD=head, DIMS=triton.next_power_of_2(head), KEYS=min(128, max(16, triton.next_power_of_2(tokens))),
        PACKED=spans.places is not None,
    )  # fmt: skip
    return out
