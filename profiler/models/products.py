"""Which of several equal batched matrix products is fastest for a shape, measured on the device once per shape."""

from __future__ import annotations

import importlib.util
import math
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple

import torch
import torch.nn.functional as F  # noqa: N812  its usual name
from torch import Tensor

from profiler.device.seam import Device

#: What runs where nothing was measured.
DEFAULT = "bmm"
#: Another variant must be this much faster than the default, so that noise does not choose.
_MARGIN = 0.97
#: A trial repeats a product until it has done this much, 1 to 8 times: the largest shapes must not take all the budget.
_FLOPS_PER_TRIAL, _CALLS = 2e11, 8
#: Weights up to this share of the last cache stay there from one batch to the next.
RESIDENT = 0.75


class Shape(NamedTuple):
    """A batched product [students, rows, inner] @ [students, inner, columns].

    gelu: with bias and GELU after it. cold: its weights have left the cache since the last batch.
    """

    students: int
    rows: int
    inner: int
    columns: int
    gelu: bool
    cold: bool = False

    def class_(self) -> Shape:
        """The shape whose choice it shares: students and rows rounded up to powers of two."""
        return self._replace(students=power_above(self.students), rows=power_above(self.rows))


class Operand(NamedTuple):
    """A stacked weight [k, in, out] in its own layout, and the same numbers with each matrix stored transposed."""

    weight: Tensor
    turned: Tensor | None


Variant = Callable[[Tensor, Operand, Tensor | None], Tensor]


def _bmm(x: Tensor, operand: Operand, bias: Tensor | None) -> Tensor:
    return _finish(torch.bmm(x, operand.weight), bias)


def _bmm_turned(x: Tensor, operand: Operand, bias: Tensor | None) -> Tensor:
    return _finish(torch.bmm(x, _turned(operand)), bias)


def _loop(x: Tensor, operand: Operand, bias: Tensor | None) -> Tensor:
    """One product per student; with a bias, cuBLASLt adds it for free."""
    students, rows, _ = x.shape
    out = x.new_empty(students, rows, operand.weight.shape[2])
    for student in range(students):
        if bias is None:
            torch.mm(x[student], operand.weight[student], out=out[student])
        else:
            torch.addmm(bias[student], x[student], operand.weight[student], out=out[student])
    return out if bias is None else F.gelu(out)


def _grouped(x: Tensor, operand: Operand, bias: Tensor | None) -> Tensor:
    grouped: Callable[[Tensor, Tensor], Tensor] = F.grouped_mm
    return _finish(grouped(x, _turned(operand)).contiguous(), bias)


def _triton(tile: str, kernel: str = "gemm") -> Variant:
    def product(x: Tensor, operand: Operand, bias: Tensor | None) -> Tensor:
        from triton.errors import TritonError

        from profiler.models.kernels import gemm

        try:
            own: Tensor = getattr(gemm, kernel)(x, operand.weight, bias, gemm.TILES[tile])
            return own
        except TritonError as error:  # a tile that needs more shared memory than this GPU has, for one
            raise RuntimeError(str(error)) from error

    return product


def _finish(product: Tensor, bias: Tensor | None) -> Tensor:
    if bias is None:
        return product
    from profiler.models.kernels import rowwise

    return rowwise.bias_gelu(product, bias)


def _turned(operand: Operand) -> Tensor:
    if operand.turned is None:
        raise RuntimeError("the transposed copy of this weight was not made")
    return operand.turned


#: Every way to compute a product, by the name that the column `impl` shows.
VARIANTS: dict[str, Variant] = {
    DEFAULT: _bmm,
    "bmm-turned": _bmm_turned,
    "loop": _loop,
    "grouped": _grouped,
    "triton-narrow": _triton("narrow"),
    "triton-middle": _triton("middle"),
    "triton-square": _triton("square"),
    "triton-wide": _triton("wide"),
    "split-narrow": _triton("narrow", "split_gemm"),
    "split-middle": _triton("middle", "split_gemm"),
}
#: Tiles of 16 or 64 rows and 64 columns below which a product is also tried in shares: two for each multiprocessor.
_FEW_TILES = 264


def candidates(shape: Shape, dtype: torch.dtype) -> tuple[str, ...]:
    """The variants worth a trial: the default first, the others where they can win."""
    names = [DEFAULT, "bmm-turned"]
    if shape.students > 1 and shape.rows >= 256:
        names.append("loop")
    if dtype == torch.bfloat16 and hasattr(F, "grouped_mm") and shape.students > 1:
        names.append("grouped")
    if dtype != torch.float32 and importlib.util.find_spec("triton") is not None:
        tiles = ["narrow", "middle"] if shape.rows <= 64 else ["middle", "square"]
        if shape.rows > 64 and not shape.gelu:  # with a GELU the wide one runs out of registers
            tiles.append("wide")
        names += [f"triton-{tile}" for tile in tiles]
        across = -(-shape.columns // 64)
        if shape.rows <= 64 and shape.students * across * -(-shape.rows // 16) <= _FEW_TILES:
            names.append("split-narrow" if shape.rows <= 16 else "split-middle")
    return tuple(names)


@dataclass
class Products:
    """Runs every product by the variant that was chosen for its shape.

    While `device` is set, a shape that was not met before is measured at once (before anything is captured); `freeze`
    ends that. budget_s bounds the seconds spent measuring (without the first call of a variant, which may compile it);
    shapes met after that take the default and are in `untried`. chosen: by class of shape; executors of one device and
    dtype share it, so that equal products run alike. used: how often each variant ran in this pass. refused: the
    variants that did not take some shape, and the first reason.
    """

    device: Device | None = None
    budget_s: float = 20.0
    chosen: dict[Shape, str] = field(default_factory=dict)
    used: Counter[str] = field(default_factory=Counter)
    refused: dict[str, str] = field(default_factory=dict)
    untried: set[Shape] = field(default_factory=set)
    clock: Callable[[], float] = time.perf_counter
    _spent_s: float = field(default=0.0, init=False)
    _cold: bool = field(default=False, init=False)
    _resident_bytes: float = field(default=math.inf, init=False)

    def __post_init__(self) -> None:
        if self.device is not None:
            self._resident_bytes = RESIDENT * self.device.cache_bytes

    @property
    def choosing(self) -> bool:
        """Whether shapes that were not met before are measured."""
        return self.device is not None

    def begin(self, weight_bytes: float) -> None:
        """A pass begins, over so many bytes of weights: more than the cache holds are cold in every product."""
        self.used.clear()
        self._cold = weight_bytes > self._resident_bytes

    def __call__(self, x: Tensor, operand: Operand, bias: Tensor | None = None) -> Tensor:
        """x [k, rows, in] @ weight [k, in, out]; with a bias [k, out]: gelu of the product plus bias."""
        students, rows, inner = x.shape
        shape = Shape(students, rows, inner, operand.weight.shape[2], bias is not None, self._cold)
        name = self.chosen.get(shape.class_())
        if name is None:
            name = self._choose(shape, x, operand, bias)
        try:
            product = VARIANTS[name](x, operand, bias)
        except (RuntimeError, ValueError) as error:
            # Chosen on another shape of its class, and picky about this one. Found in the run before a capture.
            if name == DEFAULT or isinstance(error, torch.OutOfMemoryError):
                raise
            self.refused.setdefault(name, f"{shape}: {str(error).splitlines()[0]}")
            name = self.chosen[shape.class_()] = DEFAULT
            product = VARIANTS[name](x, operand, bias)
        self.used[name] += 1
        return product

    def freeze(self) -> None:
        """Measure no more."""
        self.device = None

    def _choose(self, shape: Shape, x: Tensor, operand: Operand, bias: Tensor | None) -> str:
        if self.device is None or self._spent_s >= self.budget_s:
            self.untried.add(shape.class_())
            return DEFAULT
        times = {}
        try:
            for name in candidates(shape, x.dtype):
                seconds = self._trial(name, shape, x, operand, bias)
                if seconds is not None:
                    times[name] = seconds
        except torch.OutOfMemoryError:  # no room for trials, but there may be for the batch itself
            self.untried.add(shape.class_())
            return DEFAULT
        best = min(times, key=lambda name: times[name])
        if times[best] > _MARGIN * times[DEFAULT]:
            best = DEFAULT
        self.chosen[shape.class_()] = best
        self.untried.discard(shape.class_())
        return best

    def _trial(self, name: str, shape: Shape, x: Tensor, operand: Operand, bias: Tensor | None) -> float | None:
        """Seconds per call, None where this variant does not take these operands (which `refused` then explains)."""
        assert self.device is not None
        flops = 2.0 * shape.students * shape.rows * shape.inner * shape.columns
        calls = int(min(_CALLS, max(1, _FLOPS_PER_TRIAL / flops)))

        def work() -> None:
            VARIANTS[name](x, operand, bias)

        try:
            if name != DEFAULT and not _agrees(name, x, operand, bias):
                self.refused.setdefault(name, f"wrong product for {shape}")
                return None
            started = self.clock()
            seconds = self.device.seconds(work, calls, cold=shape.cold)
            self._spent_s += self.clock() - started
            return seconds
        except torch.OutOfMemoryError:
            raise
        except (RuntimeError, NotImplementedError, ValueError) as error:
            if name == DEFAULT:
                raise
            self.refused.setdefault(name, str(error).splitlines()[0])
            return None


def _agrees(name: str, x: Tensor, operand: Operand, bias: Tensor | None) -> bool:
    """Whether a variant gives the default's product, up to rounding; on the first rows of the first student."""
    product, expected = (VARIANTS[variant](x, operand, bias)[0, :64].float() for variant in (name, DEFAULT))
    tolerance = 1e-5 if x.dtype == torch.float32 else 1e-2
    return bool((product - expected).norm() <= tolerance * expected.norm())


def power_above(number: int) -> int:
    return 1 << (number - 1).bit_length()
