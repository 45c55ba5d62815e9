"""Executors for an NVIDIA GPU, by name: the forward pass, the arrangement of the students, graph or eager."""

# torch.cuda.Stream has no annotations.
# mypy: allow-untyped-calls
from __future__ import annotations

import importlib.util
import subprocess
from collections.abc import Callable, Iterable, Mapping, Sequence
from copy import copy
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from profiler.device.cuda import open_cuda
from profiler.device.seam import Device, Unavailable
from profiler.executors.passes import Forward
from profiler.executors.segments import SegmentedExecutor
from profiler.executors.staged import StagedExecutor
from profiler.models import forward as stock
from profiler.models.kernels.spans import Spans
from profiler.models.products import Products, Shape, power_above
from profiler.models.ramps import RampWeights
from profiler.models.rows import PaddedRows
from profiler.models.weights import Weights, simplify
from profiler.table import BucketPlan, ShapeKey
from profiler.table.plan import PACKED

T = TypeVar("T")
#: Ids that the embedding kernel may read from the host's memory, four bytes at a time: more are copied faster.
DIRECT_READS = 2048
#: The least that our kernels are for.
CAPABILITY = (8, 0)
DTYPES = {"bfloat16": torch.bfloat16, "float16": torch.float16, "float32": torch.float32}


@dataclass(frozen=True)
class Simplifications:
    """The short cuts that are exact in real arithmetic, to switch off in ablations.

    direct: kernels read ids and write logits in the host's memory, where a batch is small. one_head: one kernel after
    the last layer, where a batch is small.
    """

    cls_only: bool = True
    drop_key_bias: bool = True
    fold_value_bias: bool = True
    fused_qkv: bool = True
    direct: bool = True
    one_head: bool = True

    def prepare(self, weights: Weights) -> Weights:
        """The weights without the biases that are dropped or folded. Call it in high precision, before the cast."""
        return simplify(weights, drop_key_bias=self.drop_key_bias, fold_value_bias=self.fold_value_bias)


class FusedForward:
    """All students stacked, with our Triton kernels and the fastest product for each shape."""

    def __init__(self, weights: Weights, simplifications: Simplifications, products: Products) -> None:
        from triton.errors import TritonError

        from profiler.models import fused  # needs Triton

        self.spec = weights.spec
        self.dtype = _name(weights.dtype)
        ways = {name: getattr(simplifications, name) for name in ("cls_only", "fused_qkv", "one_head")}
        self._forward: Callable[..., Tensor] = partial(fused.forward, **ways)
        self._direct = simplifications.direct
        self._failure = TritonError
        self._products = products
        self._weights = {self.spec.students: weights}
        turned = fused.turn(weights) if products.choosing else None
        self._turned = {self.spec.students: turned}
        self._bytes = sum(t.nbytes for name, t in weights.tensors().items() if name.startswith("layers."))
        self._met: set[tuple[int, ...]] = set()
        self._tuned = products.choosing

    def choose(self, students: int, ids: Tensor, spans: Spans) -> None:
        """See profiler.executors.passes.Forward. Batches whose products are of the same classes are met once."""
        met = tuple(map(power_above, (students, spans.batch, ids.numel())))
        if self._products.choosing and met not in self._met:
            self._met.add(met)
            self(students, ids, spans)

    def suits(self, key: ShapeKey) -> bool:
        """See profiler.executors.passes.InPlace."""
        few = key.rows * min(key.students, self.spec.embeddings) <= DIRECT_READS
        return self._direct and few and key.layout != PACKED

    def in_place(self, students: int, ids: Tensor, lens: Tensor, spans: Spans, out: Tensor) -> None:
        """See profiler.executors.passes.InPlace."""
        self._run(students, ids, spans, given_lens=lens, out=out)

    def __call__(self, students: int, ids: Tensor, spans: Spans) -> Tensor:
        return self._run(students, ids, spans)

    def _run(self, students: int, ids: Tensor, spans: Spans, **places: Tensor) -> Tensor:
        if students not in self._weights:
            full = self.spec.students
            turned = self._turned[full]
            self._weights[students] = self._weights[full].prefix(students)
            self._turned[students] = None if turned is None else turned.prefix(students)
        self._products.begin(self._bytes * students / self.spec.students)
        try:
            own, turned = self._weights[students], self._turned[students]
            return self._forward(own, ids, spans, self._products, turned=turned, **places)
        except self._failure as error:  # no RuntimeError, unlike all that torch raises
            raise RuntimeError(f"Triton: {error}") from error

    @property
    def heads(self) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        return _heads(self._weights[self.spec.students])

    def part(self, first: int, last: int) -> FusedForward:
        """See profiler.executors.passes.Forward; the choice of products is shared."""
        own, full = copy(self), self.spec.students
        turned = self._turned[full]
        own._weights = {last - first: self._weights[full].part(first, last)}
        own._turned = {last - first: None if turned is None else turned.part(first, last)}
        own._bytes = self._bytes * (last - first) // full
        own.spec = own._weights[last - first].spec
        return own

    @property
    def untried(self) -> int | None:
        """How many classes of products take the default without a trial; None where none was to be tried."""
        return len(self._products.untried) if self._tuned else None

    @property
    def refused(self) -> dict[str, str]:
        """The products that did not take some shape, with the reason."""
        return self._products.refused

    def describe(self) -> str:
        counts = sorted(self._products.used.items(), key=lambda item: (-item[1], item[0]))
        return " ".join(["fused", *(f"{name}*{count}" for name, count in counts)])

    def freeze(self) -> None:
        self._products.freeze()

    def close(self) -> None:
        self._weights.clear()
        self._turned.clear()


class StockForward:
    """Stock torch operators; the students stacked, one after the other, or side by side on streams of their own.

    arrangement: `stacked`, `sequential` or `branches`. Branches fork from the current stream and join it again:
    captured in a graph, they are what running the students as concurrent processes can reach at best.
    """

    def __init__(self, weights: Weights, arrangement: str, cls_only: bool = True) -> None:
        if arrangement not in ("stacked", "sequential", "branches"):
            raise LookupError(f"unknown arrangement {arrangement!r}: use stacked, sequential or branches")
        self.spec = weights.spec
        self.dtype = _name(weights.dtype)
        self._arrangement = arrangement
        self._cls_only = cls_only
        self._weights = {self.spec.students: weights}
        forks = arrangement == "branches" and weights.device.type == "cuda"
        self._streams = [torch.cuda.Stream(weights.device) for _ in range(self.spec.students)] if forks else []

    def __call__(self, students: int, ids: Tensor, spans: Spans) -> Tensor:
        if students not in self._weights:
            self._weights[students] = self._weights[self.spec.students].prefix(students)
        weights = self._weights[students]
        rows = PaddedRows(spans.batch, spans.tokens, _mask(ids, spans.lens, weights.dtype))
        ids, types = stock.split(weights, ids)
        if self._arrangement == "branches":
            return self._branches(weights, ids, rows, types).float()
        run = stock.stacked if self._arrangement == "stacked" else stock.looped
        return run(weights, ids, rows, types=types, cls_only=self._cls_only).float()

    def _branches(self, weights: Weights, ids: Tensor, rows: PaddedRows, types: Tensor | None) -> Tensor:
        """Each student's vector on a stream of its own, then their sum through the prefix's head."""
        students = range(weights.spec.students)
        alone = [partial(stock.student, weights, index, ids, rows, self._cls_only, types) for index in students]
        vectors = _fork_join(alone, self._streams) if self._streams else [work() for work in alone]
        total = torch.stack(vectors).sum(0)
        return torch.addmm(weights.head_bias[-1], total, weights.head_weight[-1])

    @property
    def heads(self) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        return _heads(self._weights[self.spec.students])

    def part(self, first: int, last: int) -> StockForward:
        """See profiler.executors.passes.Forward."""
        own = copy(self)
        own._weights = {last - first: self._weights[self.spec.students].part(first, last)}
        own.spec = own._weights[last - first].spec
        return own

    def describe(self) -> str:
        return f"stock {self._arrangement}"

    def choose(self, students: int, ids: Tensor, spans: Spans) -> None:
        return

    def freeze(self) -> None:
        return

    def close(self) -> None:
        self._weights.clear()


def _heads(weights: Weights) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    return weights.head_weight.float().cpu().numpy(), weights.head_bias.float().cpu().numpy()


def _fork_join(works: Sequence[Callable[[], Tensor]], streams: list[torch.cuda.Stream]) -> list[Tensor]:
    current = torch.cuda.current_stream()
    assert current not in streams, "a branch on the stream it forks from would wait for itself"
    results, forked = [], []
    try:
        for work, stream in zip(works, streams, strict=False):
            stream.wait_stream(current)
            forked.append(stream)
            with torch.cuda.stream(stream):
                results.append(work())
    finally:
        # After an error (out of memory) too: a capture with a stream that is not joined cannot be ended.
        for stream in forked:
            current.wait_stream(stream)
    # They are freed only after the join, and within a graph: no other stream can be given their memory meanwhile.
    return results


def _mask(ids: Tensor, lens: Tensor, dtype: torch.dtype) -> Tensor:
    """Additive mask [B, 1, 1, S] from lengths on the device: 0 for a token, -inf for padding."""
    batch, tokens = ids.shape
    padded = torch.arange(tokens, dtype=torch.int32, device=ids.device) >= lens[:, None]
    mask = torch.zeros(batch, tokens, dtype=dtype, device=ids.device).masked_fill_(padded, float("-inf"))
    return mask.view(batch, 1, 1, tokens)


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


@dataclass(frozen=True)
class GpuKind:
    """A way to run an ensemble on a GPU. forward: fused, or an arrangement of stock operators. next_best: stand-in."""

    forward: str
    graphs: bool
    next_best: str | None
    about: str


#: The executors by name; where one cannot be had, the next best is named in the output.
KINDS = {
    "cuda": GpuKind("fused", True, "cuda-stock", "one graph per key, students stacked, our fused kernels"),
    "cuda-stock": GpuKind("stacked", True, "cuda-eager", "one graph per key, students stacked, stock operators"),
    "cuda-eager": GpuKind("stacked", False, None, "students stacked, stock operators launched one by one"),
    "cuda-sequential": GpuKind("sequential", True, "cuda-sequential-eager", "one graph per key, student after student"),
    "cuda-sequential-eager": GpuKind("sequential", False, None, "student after student, launched one by one"),
    "cuda-branches": GpuKind("branches", True, None, "one graph per key, each student on a branch of its own"),
}


def open_executor(
    kind: str,
    weights: Weights,
    plan: BucketPlan,
    students: Iterable[int],
    *,
    dtype: str = "bfloat16",
    simplifications: Simplifications | None = None,
    tune_s: float = 20.0,
    choices: dict[Shape, str] | None = None,
    device: Device | None = None,
) -> StagedExecutor:
    """An executor by name, with the weights on its device; `warm` it next.

    weights: float32, as trained. tune_s: seconds that choosing the products may take, 0 for bmm everywhere. choices:
    what was chosen on this device in this dtype, shared with other executors and extended. device: given in tests.
    Raises LookupError for unknown names, Unavailable (which says why, and what else there is) without CUDA, Triton or
    the dtype.
    """
    chosen, wanted = pick("executor", kind, KINDS), pick("dtype", dtype, DTYPES)
    if plan.layout == PACKED and chosen.forward != "fused":
        raise Unavailable(f"executor {kind} runs padded batches alone: take the executor cuda, or a padded table")
    if chosen.forward == "fused" and importlib.util.find_spec("triton") is None:
        raise Unavailable(f"executor {kind} needs Triton, which is not installed: next best is {chosen.next_best}")
    device = open_cuda(graphs=chosen.graphs) if device is None else device
    if chosen.forward == "fused":
        _try_triton(kind, device.torch_device)
    if device.torch_device.type == "cuda" and wanted == torch.bfloat16 and not torch.cuda.is_bf16_supported(False):
        raise Unavailable(f"{torch.cuda.get_device_name()} has no bfloat16: use --dtype float16, or --device cpu")
    shortcuts = simplifications or Simplifications()
    placed = shortcuts.prepare(weights).to(device.torch_device, wanted)
    forward: Forward
    if chosen.forward == "fused":
        tuned = Products(device, tune_s, {} if choices is None else choices) if tune_s > 0 else Products()
        forward = FusedForward(placed, shortcuts, tuned)
    else:
        forward = StockForward(placed, chosen.forward, shortcuts.cls_only)
    return StagedExecutor(forward, plan, students, device)


def open_layered(
    weights: Weights, plan: BucketPlan, ramps: RampWeights, *, dtype: str = "bfloat16", device: Device | None = None
) -> SegmentedExecutor:
    """An executor of a deep model with ramps, in stock operators; arguments and errors as of `open_executor`."""
    wanted = pick("dtype", dtype, DTYPES)
    if plan.layout == PACKED:
        raise Unavailable("ramps on a GPU run in padded batches alone: take a padded table")
    device = open_cuda() if device is None else device
    placed = Simplifications().prepare(weights).to(device.torch_device, wanted)
    whole = StagedExecutor(StockForward(placed, "sequential"), plan, (1,), device)
    return SegmentedExecutor(whole, placed, ramps, device)


def _try_triton(kind: str, device: torch.device) -> None:
    """Run two kernels: besides the package, Triton needs a C compiler, Python's headers and a cache it can write to.

    Before the tensor cores of Ampere our attention compiles to something far slower than torch's own.
    """
    from triton.errors import TritonError

    from profiler.models.kernels import attention, rowwise

    next_best = KINDS[kind].next_best
    if device.type == "cuda" and (found := torch.cuda.get_device_capability(device)) < CAPABILITY:
        name, (major, minor) = torch.cuda.get_device_name(device), found
        raise Unavailable(
            f"executor {kind} needs a GPU of compute capability {CAPABILITY[0]}.{CAPABILITY[1]} (A100, L4 and later), "
            f"{name} has {major}.{minor}: next best is {next_best}"
        )
    one, qkv = torch.ones(1, 1, 1, device=device), torch.ones(1, 16, 48, device=device)
    try:
        rowwise.tally(one, one[0], one[0, 0])
        attention.attention(qkv, qkv[:, 0, :16], Spans(torch.ones(1, dtype=torch.int32, device=device), 16), 1)
    except (TritonError, RuntimeError, OSError, subprocess.SubprocessError) as error:
        why = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise Unavailable(
            f"executor {kind} needs Triton, which cannot run a kernel here ({why}): next best is {next_best}"
        ) from error


def best_executor(
    kind: str, weights: Weights, plan: BucketPlan, students: Iterable[int], **options: Any
) -> tuple[str, StagedExecutor, tuple[str, ...]]:
    """The executor of this name or its next best: the name that was opened, the executor, and why others were not.

    Raises Unavailable where none of them can be had, with all reasons.
    """
    counts, name = tuple(students), kind
    reasons: list[str] = []
    while True:
        try:
            return name, open_executor(name, weights, plan, counts, **options), tuple(reasons)
        except Unavailable as error:
            reasons.append(f"{name}: {error}")
            following = KINDS[name].next_best
            if following is None or "no CUDA device" in str(error):
                raise Unavailable("; ".join(reasons)) from None
            name = following


def pick(what: str, name: str, known: Mapping[str, T]) -> T:
    """What has this name. Raises LookupError that lists the names there are."""
    if name not in known:
        raise LookupError(f"unknown {what} {name!r}: use one of {', '.join(known)}")
    return known[name]
