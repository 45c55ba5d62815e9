"""Ways to run an ensemble on a CPU, with equal weights: from token arrays in hand to answers in NumPy."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.func import functional_call, stack_module_state, vmap

from profiler.device.seam import HostDevice, Unavailable
from profiler.executors.baselines.engines import open_baseline
from profiler.executors.baselines.hugging_face import classifiers
from profiler.executors.baselines.voted import VotedForward
from profiler.executors.cpu import CpuExecutor
from profiler.executors.interface import Engine, Ids
from profiler.executors.staged import StagedExecutor
from profiler.measuring import gate, reference
from profiler.models.weights import Weights
from profiler.table import BucketPlan

Run = Callable[[], object]
#: Other engines, as `profiler run --engine` names them.
OTHERS = {"hf eager": "eager", "hf sdpa": "sdpa", "onnx": "onnx", "onnx int8": "onnx-int8", "openvino": "openvino"}
#: Our executor, and what it is without one of its choices each: the arguments of CpuExecutor.
OURS: dict[str, dict[str, Any]] = {
    "ours": {},
    "ours bf16": {"dtype": "bfloat16"},
    "sequential": {"stacked_rows": 0},
    "stacked": {"stacked_rows": 1 << 30},
    "all tokens": {"cls_only": False},
    "all biases": {"simplified": False},
}
#: All students of Hugging Face in one call.
VMAP = "hf vmap"
WAYS = (*OTHERS, VMAP, *OURS)
#: What is compared where nothing else is said.
USUAL = ("hf sdpa", VMAP, "onnx", "onnx int8", "openvino", "ours", "ours bf16")
#: Answers that are held against float64; the reference is slow.
ROWS = 4


def opened(own: Weights, plan: BucketPlan, names: Sequence[str]) -> dict[str, Engine]:
    """Those of the ways that this machine has, warm; the others are named in a line."""
    found: dict[str, Engine] = {}
    for name in names:
        try:
            found[name] = _open(own, plan, name)
        except (LookupError, Unavailable) as error:
            print(f"without {name}: {error}", flush=True)
            continue
        found[name].warm()
    return found


def _open(own: Weights, plan: BucketPlan, name: str) -> Engine:
    students = [own.spec.students]
    if name in OURS:
        return CpuExecutor(own, plan, students, **OURS[name])
    if name == VMAP:
        votes = VotedForward(own, _at_once(own), "hugging-face vmap", "float32", torch.device("cpu"))
        return StagedExecutor(votes, plan, students, HostDevice())
    return open_baseline(own, plan, students, OTHERS[name])


def _at_once(own: Weights) -> Callable[[int, int, Tensor, Tensor, Tensor], Tensor]:
    """The votes of all students by torch.func.vmap over their stacked parameters."""
    models = list(classifiers(own, "eager"))
    stacked, buffers = stack_module_state(models)
    shape = deepcopy(models[0]).to("meta")

    def one(parameters: Any, own_buffers: Any, ids: Tensor, types: Tensor, mask: Tensor) -> Tensor:
        given = {"input_ids": ids, "token_type_ids": types, "attention_mask": mask}
        logits: Tensor = functional_call(shape, (parameters, own_buffers), (), given).logits
        return logits

    def votes(first: int, last: int, ids: Tensor, types: Tensor, mask: Tensor) -> Tensor:
        cut = [{name: each[first:last] for name, each in part.items()} for part in (stacked, buffers)]
        answers: Tensor = vmap(one, in_dims=(0, 0, None, None, None))(*cut, ids, types, mask)
        return answers

    return votes


class Judge:
    """How far the answers of every way are from float64, over all batches of a model together."""

    def __init__(self, own: Weights) -> None:
        self._own = own
        self._exact: list[np.ndarray] = []
        self._answers: dict[str, list[np.ndarray]] = {}

    def add(self, engines: Mapping[str, Engine], ids: Sequence[Ids]) -> None:
        """Compare them on this batch, too."""
        students = self._own.spec.students
        self._exact.append(reference.logits(self._own, students, ids[:ROWS]))
        for name, engine in engines.items():
            self._answers.setdefault(name, []).append(engine.run(students, ids).logits[:ROWS])

    def errors(self, engines: Mapping[str, Engine]) -> dict[str, float]:
        """The relative distance of each. Raises ArithmeticError where one is beyond the gate of its number format."""
        exact, found = np.concatenate(self._exact), {}
        deep = (max(1.0, self._own.spec.layers / 2)) ** 0.5
        for name, answers in self._answers.items():
            found[name] = gate.distance(np.concatenate(answers), exact)
            most = gate.TOLERANCE[engines[name].dtype] * deep
            if not found[name] <= most:
                raise ArithmeticError(f"{name} is {found[name]:.1e} from float64, and {most:.1e} is allowed")
        return found


def runs(engines: Mapping[str, Engine], students: int, ids: Sequence[Ids]) -> dict[str, Run]:
    """A batch by each of them."""
    return {name: partial(engine.run, students, ids) for name, engine in engines.items()}


def best(batch: Mapping[str, Run], seconds: float) -> dict[str, float]:
    """The shortest time of each, in interleaved rounds (at least three) that take about so many seconds."""
    times = dict.fromkeys(batch, float("inf"))
    for run in batch.values():
        run()
    end, rounds = time.perf_counter() + seconds, 0
    while rounds < 3 or time.perf_counter() < end:
        for name, run in batch.items():
            start = time.perf_counter()
            run()
            times[name] = min(times[name], time.perf_counter() - start)
        rounds += 1
    return times
