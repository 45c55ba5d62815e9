"""Floors: what a device cannot beat, from FLOPs, bytes and the number of kernels. Compare with them, not with hope."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from profiler.models.spec import Dims
from profiler.table import ShapeKey
from profiler.table.metadata import Ceilings

#: bfloat16 on an NVIDIA H200: 790 TFLOP/s of large matrix products and 4.3 TB/s of copies were seen on one; 2.5 us per
#: kernel and the cache's 8 TB/s are assumptions until a device has been probed.
H200 = Ceilings(790e12, 4.3e12, 8e12, 45e6, 30e6, 2.5e-6, 2, "H200: 790 TFLOP/s and 4.3 TB/s measured, rest assumed")


class Kernel(NamedTuple):
    """One kernel of the minimal fused forward pass.

    products: independent matrix products of rows x inner x columns (0 x 0 x 0 for other kernels). activations: numbers
    that are read and written besides the weights.
    """

    name: str
    flops: float
    weights: float
    activations: float
    products: int = 0
    rows: int = 0
    inner: int = 0
    columns: int = 0


def kernels(spec: Dims, key: ShapeKey, *, cls_only: bool = True) -> list[Kernel]:
    """The fewest kernels that compute a batch, all students in each: 7 per layer and 3, one to sum an ensemble.

    Per layer: query-key-value product, attention, output product, add and norm, two feed-forward products (GELU fused
    into the first), add and norm. With cls_only the last layer computes queries for [CLS] alone, in a product of their
    own.
    """
    k, h, f = key.students, spec.hidden, spec.ffn
    rows, batch = key.rows, key.batch
    sets = 1 if spec.shared_embeddings else k
    result = [Kernel("embedding", 0.0, 0.0, 2.0 * sets * rows * h)]
    for index in range(spec.layers):
        last = cls_only and index == spec.layers - 1
        queries = batch if last else rows
        if last:
            result += [_product("query", k, batch, h, h), _product("key-value", k, rows, h, 2 * h)]
        else:
            result.append(_product("query-key-value", k, rows, h, 3 * h))
        scores = 4.0 * k * queries * (rows / batch) * h  # of a packed batch: texts of equal length, the least
        result.append(Kernel("attention", scores, 0.0, k * h * (2.0 * rows + 2.0 * queries)))
        result += [_product("attention output", k, queries, h, h), _norm(k, queries, h)]
        result += [_product("feed-forward in", k, queries, h, f), _product("feed-forward out", k, queries, f, h)]
        result.append(_norm(k, queries, h))
    width = h if spec.pooler else spec.outputs
    result += [_product("pooler", k, batch, h, width), _product("head", k, batch, width, spec.outputs)]
    if k > 1:
        result.append(Kernel("sum", 0.0, 0.0, float(k * batch * spec.outputs)))
    return result


def _product(name: str, students: int, rows: int, inner: int, columns: int) -> Kernel:
    weights = float(students) * inner * columns
    activations = float(students) * rows * (inner + columns)
    return Kernel(name, 2.0 * rows * weights, weights, activations, students, rows, inner, columns)


def _norm(students: int, rows: int, hidden: int) -> Kernel:
    return Kernel("add and norm", 0.0, 0.0, 3.0 * students * rows * hidden)


@dataclass(frozen=True)
class Floor:
    """The floors of a key, in seconds, and what binds.

    compute_s: all FLOPs at the peak. weights_s: all weights read once. launch_s: kernels times the least time of one.
    serial_s: the sum over kernels of the largest of the three each (F), the floor of a pass of dependent kernels: the
    denominator of every gap. regime: launch, weights or compute, the largest of the three.
    """

    compute_s: float
    weights_s: float
    launch_s: float
    serial_s: float
    regime: str


def floor(spec: Dims, key: ShapeKey, ceilings: Ceilings) -> Floor:
    """The floor of a key: the smaller of the passes with and without the short cut of the last layer."""
    return min((_floor(kernels(spec, key, cls_only=cls), ceilings) for cls in (True, False)), key=lambda f: f.serial_s)


def _floor(own: list[Kernel], ceilings: Ceilings) -> Floor:
    weight_bytes = ceilings.width * sum(kernel.weights for kernel in own)
    bytes_s = ceilings.cache_bytes_s if weight_bytes <= ceilings.resident_bytes else ceilings.bytes_s
    parts = {
        "compute": sum(kernel.flops for kernel in own) / ceilings.flops,
        "weights": weight_bytes / ceilings.bytes_s,
        "launch": len(own) * ceilings.kernel_s,
    }
    serial = 0.0
    for kernel in own:
        activations = ceilings.width * kernel.activations
        moved = ceilings.width * kernel.weights / bytes_s
        moved += activations / ceilings.bytes_s if activations > ceilings.spill_bytes else 0.0
        serial += max(kernel.flops / ceilings.flops, moved, ceilings.kernel_s)
    regime = max(parts, key=lambda name: parts[name])
    return Floor(parts["compute"], parts["weights"], parts["launch"], serial, regime)
