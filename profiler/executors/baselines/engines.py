"""The other engines of a CPU, by name: transformers, or graphs in another runtime, with all of their students."""

from __future__ import annotations

from collections.abc import Iterable

import torch

from profiler.device.seam import HostDevice
from profiler.executors.baselines.exported import exported
from profiler.executors.baselines.hugging_face import hugging_face
from profiler.executors.staged import StagedExecutor
from profiler.models.weights import Weights
from profiler.table import BucketPlan
from profiler.table.plan import PACKED


def open_baseline(weights: Weights, plan: BucketPlan, students: Iterable[int], engine: str) -> StagedExecutor:
    """An executor of these weights (float32, with all biases) on this CPU, on as many threads as torch has now.

    engine: one of profiler.table.metadata.MODEL_ENGINES but `own`. Raises LookupError where it is unknown or not
    installed, ValueError for a packed plan.
    """
    if plan.layout == PACKED:
        raise ValueError(f"{weights.spec.name}: {engine} pads its batches; a packed plan is for our own engine")
    if engine in ("eager", "sdpa"):
        forward = hugging_face(weights, "float32", torch.device("cpu"), attention=engine)
    else:
        forward = exported(weights, engine)
    return StagedExecutor(forward, plan, students, HostDevice())
