"""Students as ONNX graphs in other runtimes on the CPU: ONNX Runtime in float32 and int8, OpenVINO. For comparison."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from torch import Tensor

from profiler.executors.baselines.hugging_face import classifiers
from profiler.executors.baselines.voted import Vote, VotedForward, one_by_one
from profiler.models.spec import Dims
from profiler.models.weights import Weights

#: The inputs of a graph.
INPUTS = ("input_ids", "token_type_ids", "attention_mask")
#: What each runtime needs beside our own packages.
NEEDS = {"onnx": "onnxruntime onnx", "onnx-int8": "onnxruntime onnx", "openvino": "openvino onnx"}


def exported(weights: Weights, runtime: str) -> VotedForward:
    """Every student of these weights (float32, with all biases) as a graph, one after the other.

    runtime: `onnx`, optimised for BERT as ONNX Runtime's own tool does it; `onnx-int8`, the same with weights in 8 bits
    and activations quantised as they come; `openvino`, in float32. Each has as many threads as torch has now. Raises
    LookupError where the runtime is unknown or not installed.
    """
    if runtime not in _OPENED:
        raise LookupError(f"unknown runtime {runtime!r}: use one of {', '.join(_OPENED)}")
    if missing := [name for name in NEEDS[runtime].split() if find_spec(name) is None]:
        raise LookupError(f"engine {runtime} needs {' and '.join(missing)}: pip install {NEEDS[runtime]}")
    with TemporaryDirectory() as folder:
        students = [_OPENED[runtime](path, weights.spec) for path in _graphs(weights, Path(folder))]
    dtype = "int8" if runtime == "onnx-int8" else "float32"
    return VotedForward(weights, one_by_one(students), f"{runtime} {dtype}", dtype, torch.device("cpu"))


def _graphs(weights: Weights, folder: Path) -> list[Path]:
    """The graph of every student, for any batch and length."""
    paths = []
    given = tuple(torch.ones(2, 8, dtype=torch.int64) for _ in INPUTS)
    free = {name: {0: "batch", 1: "tokens"} for name in INPUTS} | {"logits": {0: "batch"}}
    for number, model in enumerate(classifiers(weights, "eager")):
        paths.append(folder / f"{number}.onnx")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the exporter's advice to its own developers
            torch.onnx.export(
                _Positional(model), given, str(paths[-1]), input_names=list(INPUTS), output_names=["logits"],
                dynamic_axes=free, opset_version=17, dynamo=False,
            )  # fmt: skip
    return paths


class _Positional(torch.nn.Module):
    """A classifier whose arguments have an order."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model

    def forward(self, ids: Tensor, types: Tensor, mask: Tensor) -> Tensor:
        logits: Tensor = self.model(input_ids=ids, token_type_ids=types, attention_mask=mask).logits
        return logits


def _onnx(path: Path, spec: Dims, *, int8: bool = False) -> Vote:
    import onnxruntime
    from onnx import TensorProto
    from onnxruntime.quantization import QuantType, quantize_dynamic
    from onnxruntime.transformers.optimizer import optimize_model

    fused = optimize_model(str(path), model_type="bert", num_heads=spec.heads, hidden_size=spec.hidden)
    fused.save_model_to_file(str(path))
    if int8:
        known = {"DefaultTensorType": TensorProto.FLOAT}  # behind a fused operator no type is inferred
        quantize_dynamic(path, path, per_channel=True, weight_type=QuantType.QInt8, extra_options=known)
    how = onnxruntime.SessionOptions()
    how.intra_op_num_threads = torch.get_num_threads()
    session: Any = onnxruntime.InferenceSession(str(path), how, providers=["CPUExecutionProvider"])

    def vote(*given: Tensor) -> Tensor:
        named = {name: each.long().numpy() for name, each in zip(INPUTS, given, strict=True)}
        return torch.from_numpy(np.asarray(session.run(None, named)[0]))

    return vote


def _int8(path: Path, spec: Dims) -> Vote:
    return _onnx(path, spec, int8=True)


def _openvino(path: Path, spec: Dims) -> Vote:
    import openvino

    core = openvino.Core()
    how = {"INFERENCE_NUM_THREADS": torch.get_num_threads(), "INFERENCE_PRECISION_HINT": "f32"}
    model: Any = core.compile_model(core.read_model(str(path)), "CPU", how | {"PERFORMANCE_HINT": "LATENCY"})
    request = model.create_infer_request()

    def vote(*given: Tensor) -> Tensor:
        named = {name: each.long().numpy() for name, each in zip(INPUTS, given, strict=True)}
        return torch.from_numpy(request.infer(named)[model.output(0)].copy())

    return vote


_OPENED: dict[str, Callable[[Path, Dims], Vote]] = {"onnx": _onnx, "onnx-int8": _int8, "openvino": _openvino}
