"""The executor of foreign checkpoints: transformers on a CPU or GPU, or a graph in ONNX Runtime, padded by the plan."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from time import perf_counter
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from profiler.executors.interface import BatchResult, Engine, Ids, all_keys
from profiler.models.foreign import Foreign
from profiler.models.spec import Dims
from profiler.table import BucketPlan, ShapeKey
from profiler.table.metadata import CHECKPOINT_ENGINES

#: What runs a checkpoint here: transformers with plain, fused or compiled attention, or ONNX Runtime.
ENGINES = tuple(each for each in CHECKPOINT_ENGINES if each != "own")
Inputs = dict[str, NDArray[np.int64]]


def open_checkpoint(checkpoint: Foreign, plan: BucketPlan, engine: str) -> Engine:
    """An executor of a checkpoint on this CPU, not warm yet. engine: `own`, or one of ENGINES; errors as of these."""
    if engine != "own":
        return ForeignExecutor(checkpoint, plan, engine)
    from profiler.executors.cpu import CpuExecutor
    from profiler.models.checkpoints import from_checkpoints

    return CpuExecutor(from_checkpoints([checkpoint.folder], checkpoint.spec.name), plan)


class ForeignExecutor:
    """Runs a checkpoint of any architecture, every batch padded to a key of the plan.

    engine: one of ENGINES. device: where transformers computes; ONNX Runtime is on the CPU. Raises ValueError where
    the plan does not fit the model, LookupError where the engine cannot be had.
    """

    dtype, students = "float32", (1,)

    def __init__(self, checkpoint: Foreign, plan: BucketPlan, engine: str = "sdpa", device: str = "cpu") -> None:
        if engine not in ENGINES:
            raise LookupError(f"unknown engine {engine!r}: use one of {', '.join(ENGINES)}")
        if plan.totals:
            raise ValueError(f"{checkpoint.spec.name}: {engine} pads its batches; a packed plan is for our own engine")
        if plan.max_tokens > checkpoint.spec.positions:
            raise ValueError(
                f"{checkpoint.spec.name} has positions for {checkpoint.spec.positions} tokens, "
                f"but the plan goes to {plan.max_tokens}"
            )
        self.plan, self._checkpoint, self.engine = plan, checkpoint, engine
        self._forward = _onnx(checkpoint) if engine == "onnx" else _transformers(checkpoint, engine, device)
        self._staging: dict[tuple[int, int], Inputs] = {}

    @property
    def spec(self) -> Dims:
        return self._checkpoint.spec

    def implementation(self, key: ShapeKey) -> str:
        return f"onnxruntime {self.engine}" if self.engine == "onnx" else f"transformers {self.engine}"

    def warm(self, keys: Iterable[ShapeKey] | None = None) -> float:
        """Run the smallest key; of what is compiled for a shape every key. See profiler.executors.interface.Engine."""
        start = perf_counter()
        wanted = all_keys(self.plan, self.students) if keys is None else list(keys)
        for key in wanted:
            shape = (key.batch, key.tokens)
            ids = np.full(shape, self._checkpoint.pads, np.int64)
            self._staging.setdefault(shape, {"ids": ids, "mask": np.zeros(shape, np.int64)})
        chosen = wanted if self.engine == "compile" else sorted(wanted, key=lambda key: key.rows)[:1]
        for key in chosen:
            self.run(1, [np.zeros(key.tokens, np.int32)] * key.batch)
        return perf_counter() - start

    def run(self, students: int, ids: Sequence[Ids]) -> BatchResult:
        """Answer a batch; see profiler.executors.interface.Engine."""
        if students != 1:
            raise LookupError(f"{self.spec.name} is one model: it is not warm for {students} students")
        start = perf_counter()
        key = self.plan.key(1, [len(row) for row in ids])
        if (staged := self._staging.get((key.batch, key.tokens))) is None:
            raise LookupError(f"{self.spec.name} is not warm for {key}; call warm")
        self._fill(staged, ids)
        given = self._checkpoint.inputs(staged["ids"], staged["mask"])
        ready = perf_counter()
        logits = self._forward(given)[: len(ids)]
        done = perf_counter()
        return BatchResult(logits, key, done - start, ready - start, done - ready)

    def close(self) -> None:
        """Forget buffers and weights."""
        self._staging.clear()
        self._forward = _closed

    def _fill(self, staged: Inputs, ids: Sequence[Ids]) -> None:
        """Copy a batch in. Rows that are not there see one token of padding, so that their attention is not empty."""
        rows, mask = staged["ids"], staged["mask"]
        rows.fill(self._checkpoint.pads)
        mask.fill(0)
        mask[len(ids) :, 0] = 1
        for index, row in enumerate(ids):
            rows[index, : len(row)] = row
            mask[index, : len(row)] = 1
        if rows.min() < 0 or rows.max() >= self.spec.inputs:
            raise ValueError(f"a token id is outside the vocabulary of {self.spec.name} (0 to {self.spec.inputs - 1})")


def _transformers(checkpoint: Foreign, engine: str, device: str) -> Callable[[Inputs], NDArray[np.float32]]:
    model = checkpoint.model(engine).to(device)
    if engine == "compile":
        model = torch.compile(model, dynamic=False)

    def forward(given: Inputs) -> NDArray[np.float32]:
        with torch.inference_mode():
            placed = {name: torch.from_numpy(each).to(device) for name, each in given.items()}
            return np.asarray(model(**placed).logits.float().cpu().numpy())

    return forward


def _onnx(checkpoint: Foreign) -> Callable[[Inputs], NDArray[np.float32]]:
    """The graph beside a checkpoint, in ONNX Runtime, on as many threads as torch has."""
    try:
        import onnxruntime
    except ImportError:
        raise LookupError("--engine onnx needs onnxruntime: pip install onnxruntime") from None
    if (graph := checkpoint.graph) is None:
        raise LookupError(f"no graph beside {checkpoint.folder}: export model.onnx into it (optimum-cli export onnx)")
    how = onnxruntime.SessionOptions()
    how.intra_op_num_threads = torch.get_num_threads()
    session: Any = onnxruntime.InferenceSession(str(graph), how, providers=["CPUExecutionProvider"])
    known = {each.name for each in session.get_inputs()}

    def forward(given: Inputs) -> NDArray[np.float32]:
        (logits, *_) = session.run(None, {name: each for name, each in given.items() if name in known})
        return np.asarray(logits, np.float32)

    return forward


def _closed(given: Inputs) -> NDArray[np.float32]:
    raise LookupError("this executor is closed")
