"""A reply: the outputs that were asked for, in JSON or binary; and what the model says of itself."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import softmax

from simulator.endpoint.protocol.request import IDS, TEXTS, Limits

#: The types that Triton's configuration calls otherwise.
KINDS = {"BYTES": "STRING"}
#: The version that is served of every model; requests may name it.
VERSION = "1"


@dataclass(frozen=True, slots=True)
class Reply:
    """The answers to the texts of a request. logits: float32 [answered, width], finite. labels: the classes' names.

    rows: which texts were answered, ascending: all, unless the request takes less. tokens: of all its texts.
    """

    logits: NDArray[np.float32]
    students: Sequence[int]
    labels: Sequence[str]
    rows: Sequence[int] = ()
    tokens: int = 0

    def output(self, name: str) -> NDArray[Any]:
        """An output by its name in `offered`; names of classes as objects."""
        if name == "logits":
            return self.logits
        if name == "probabilities":
            return np.asarray(softmax(self.logits.astype(np.float64), axis=1), np.float32)
        if name == "label":
            return np.asarray([self.labels[best] for best in self.logits.argmax(axis=1)], object)
        return np.asarray(self.students, np.int32)


def offered(labels: Sequence[str]) -> tuple[str, ...]:
    """The outputs of a model whose classes have these names; no names where they do not exclude each other."""
    return ("logits", "probabilities", "label", "students_used") if labels else ("logits", "students_used")


def write(
    model: str, name: str | None, reply: Reply, parameters: dict[str, Any], outputs: dict[str, bool]
) -> tuple[bytes, dict[str, str]]:
    """The body and headers of an answer. outputs: their names, and whether each is to be binary."""
    written, tail = [], b""
    for output, binary in outputs.items():
        values = reply.output(output)
        about: dict[str, Any] = {"name": output, "datatype": _datatype(values), "shape": list(values.shape)}
        if binary:
            tensor = _bytes(values)
            about["parameters"] = {"binary_data_size": len(tensor)}
            tail += tensor
        elif values.dtype.kind == "f":
            about["data"] = [round(value, 6) for value in values.ravel().tolist()]
        else:
            about["data"] = values.tolist()
        written.append(about)
    message = {"model_name": model, "model_version": VERSION, "parameters": parameters, "outputs": written}
    if name is not None:
        message["id"] = name
    header = json.dumps(message, separators=(",", ":"), allow_nan=False).encode()
    if not any(outputs.values()):
        return header, {"content-type": "application/json"}
    headers = {"content-type": "application/octet-stream", "inference-header-content-length": str(len(header))}
    return header + tail, headers


def metadata(model: str, limits: Limits, parameters: dict[str, Any]) -> dict[str, Any]:
    """What `GET /v2/models/NAME` answers."""
    ids = [{"name": name, "datatype": "INT64", "shape": [-1, -1]} for name in IDS]
    names = (TEXTS if limits.types > 1 else TEXTS[:1]) if limits.text else ()
    texts = [{"name": name, "datatype": "BYTES", "shape": [-1]} for name in names]
    kinds = {"label": ("BYTES", [-1]), "students_used": ("INT32", [-1])}
    outputs = [(name, *kinds.get(name, ("FP32", [-1, limits.width]))) for name in limits.outputs]
    return {
        "name": model,
        "versions": [VERSION],
        "platform": "cohort",
        "inputs": [*ids, *texts],
        "outputs": [{"name": name, "datatype": kind, "shape": shape} for name, kind, shape in outputs],
        "parameters": parameters,
    }


def config(model: str, limits: Limits) -> dict[str, Any]:
    """What Triton's extension `model_configuration` answers: sizes without the batch, which is the first dimension."""
    found = metadata(model, limits, {})
    listed = {
        name: [
            {"name": each["name"], "data_type": f"TYPE_{KINDS.get(each['datatype'], each['datatype'])}",
             "dims": each["shape"][1:] or [1]}
            for each in found[f"{name}s"]
        ]
        for name in ("input", "output")
    }  # fmt: skip
    return {"name": model, "platform": "cohort", "max_batch_size": limits.texts, **listed}


def _datatype(values: NDArray[Any]) -> str:
    return {"f": "FP32", "i": "INT32", "O": "BYTES"}[values.dtype.kind]


def _bytes(values: NDArray[Any]) -> bytes:
    if values.dtype.kind != "O":
        return values.astype(values.dtype.newbyteorder("<")).tobytes()
    texts = [text.encode() for text in values.ravel()]
    return b"".join(len(text).to_bytes(4, "little") + text for text in texts)
