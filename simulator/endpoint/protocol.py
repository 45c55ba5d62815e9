"""The Open Inference Protocol, version 2: what a request says, and how an answer is written. JSON, or binary tensors.

https://github.com/kserve/open-inference-protocol, and Triton's extension "binary_tensor_data".
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

#: The version that is served of every model; requests may name it.
VERSION = "1"
#: Targets that a request may ask for, in milliseconds.
LONGEST_SLO_MS = 3_600_000.0
#: Classes that a request may ask for by `priority`: names of `klass` in traces, and bounded, since they label metrics.
PRIORITIES = 10


class BadRequest(ValueError):
    """What is wrong with a request, in words that its sender may see."""


@dataclass(frozen=True, slots=True)
class Inference:
    """A request. Either ids (int32) or text. slo_s: its own target in seconds. binary: how logits are to be written."""

    ids: NDArray[np.int32] | None
    text: str | None
    slo_s: float | None
    klass: str
    id: str | None
    binary: bool


@dataclass(frozen=True)
class Limits:
    """What a model takes: token ids below `vocab`, at most so many; text, where it has a tokenizer."""

    vocab: int
    tokens: int
    text: bool


def read(body: bytes, header_length: str | None, limits: Limits) -> Inference:
    """The request in a body. header_length: of the header "Inference-Header-Content-Length", where tensors are binary.

    Raises BadRequest.
    """
    header, tail = _split(body, header_length)
    try:
        message = json.loads(header)
    except (ValueError, RecursionError):
        raise BadRequest("the body is not JSON") from None
    if not isinstance(message, dict):
        raise BadRequest("the body must be a JSON object")
    name = message.get("id")
    if not (name is None or (isinstance(name, str) and len(name) <= 256)):
        raise BadRequest("id must be a string of at most 256 characters")
    parameters = _parameters(message)
    inputs = _inputs(message, tail)
    if "text" in inputs and len(inputs) > 1:
        raise BadRequest("give input_ids or text, not both")
    ids = text = None
    if "text" in inputs:
        if not limits.text:
            raise BadRequest("this model has no tokenizer here: give input_ids")
        text = _text(inputs["text"])
    elif "input_ids" in inputs:
        ids = _ids(inputs["input_ids"], inputs.get("attention_mask"), limits)
    else:
        raise BadRequest("an input named input_ids or text is needed")
    return Inference(ids, text, _slo_s(parameters), _klass(parameters), name, _binary(message, parameters))


def write(
    model: str, name: str | None, logits: NDArray[np.float32], parameters: dict[str, Any], binary: bool
) -> tuple[bytes, dict[str, str]]:
    """The body and headers of an answer; logits: float32 [classes]."""
    output: dict[str, Any] = {"name": "logits", "datatype": "FP32", "shape": [1, len(logits)]}
    tensor = b""
    if binary:
        tensor = logits.astype("<f4").tobytes()
        output["parameters"] = {"binary_data_size": len(tensor)}
    else:
        output["data"] = [round(value, 6) for value in logits.tolist()]
    message = {"model_name": model, "model_version": VERSION, "parameters": parameters, "outputs": [output]}
    if name is not None:
        message["id"] = name
    header = json.dumps(message, separators=(",", ":")).encode()
    if not binary:
        return header, {"content-type": "application/json"}
    headers = {"content-type": "application/octet-stream", "inference-header-content-length": str(len(header))}
    return header + tensor, headers


def metadata(model: str, classes: int, limits: Limits, parameters: dict[str, Any]) -> dict[str, Any]:
    """What `GET /v2/models/NAME` answers."""
    text = [{"name": "text", "datatype": "BYTES", "shape": [1]}] if limits.text else []
    tensors = [{"name": name, "datatype": "INT64", "shape": [1, -1]} for name in ("input_ids", "attention_mask")]
    return {
        "name": model,
        "versions": [VERSION],
        "platform": "cohort",
        "inputs": [*tensors, *text],
        "outputs": [{"name": "logits", "datatype": "FP32", "shape": [1, classes]}],
        "parameters": parameters,
    }


def _split(body: bytes, header_length: str | None) -> tuple[bytes, bytes]:
    if header_length is None:
        return body, b""
    if not (header_length.isascii() and header_length.isdigit() and len(header_length) < 10):
        raise BadRequest("Inference-Header-Content-Length must be a whole number")
    length = int(header_length)
    if length > len(body):
        raise BadRequest(f"Inference-Header-Content-Length is {length}, but the body has {len(body)} bytes")
    return body[:length], body[length:]


def _parameters(message: dict[str, Any]) -> dict[str, Any]:
    if (parameters := message.get("parameters")) is None:
        return {}
    if not isinstance(parameters, dict):
        raise BadRequest("parameters must be an object")
    return parameters


def _inputs(message: dict[str, Any], tail: bytes) -> dict[str, Any]:
    """The inputs by name, each as (datatype, shape, data); binary data are bytes."""
    listed = message.get("inputs")
    if not isinstance(listed, list) or not listed:
        raise BadRequest("inputs must be a list of at least one tensor")
    found: dict[str, Any] = {}
    for tensor in listed:
        if not isinstance(tensor, dict):
            raise BadRequest("an input must be an object with name, datatype, shape and data")
        name = tensor.get("name")
        if name not in ("input_ids", "attention_mask", "text"):
            raise BadRequest("inputs are input_ids, attention_mask and text")
        if name in found:
            raise BadRequest(f"input {name} is there twice")
        size = _parameters(tensor).get("binary_data_size")
        data = tensor.get("data")
        if size is not None:
            if not (type(size) is int and 0 <= size <= len(tail)):
                raise BadRequest(f"input {name}: binary_data_size does not fit the body")
            data, tail = tail[:size], tail[size:]
        found[name] = (tensor.get("datatype"), _shape(name, tensor.get("shape")), data)
    if tail:
        raise BadRequest(f"{len(tail)} bytes follow the last input")
    return found


def _shape(name: str, shape: Any) -> int:
    """How many elements a tensor of one request has, whose shape is [n] or [1, n]."""
    if not (isinstance(shape, list) and 1 <= len(shape) <= 2 and all(type(each) is int for each in shape)):
        raise BadRequest(f"input {name}: shape must be [n] or [1, n]")
    if len(shape) == 2 and shape[0] != 1:
        raise BadRequest(
            f"input {name}: shape begins with {shape[0]}: send one request per text, they are batched here"
        )
    return int(shape[-1])


def _numbers(name: str, tensor: tuple[Any, int, Any]) -> list[int]:
    """The whole numbers of an INT64 tensor."""
    datatype, count, data = tensor
    if datatype != "INT64":
        raise BadRequest(f"input {name}: datatype must be INT64")
    if isinstance(data, bytes):
        if len(data) != 8 * count:
            raise BadRequest(f"input {name}: its shape needs {8 * count} bytes, there are {len(data)}")
        values: list[int] = np.frombuffer(data, "<i8").tolist()
        return values
    if isinstance(data, list) and len(data) == 1 and isinstance(data[0], list):
        data = data[0]
    if not isinstance(data, list):
        raise BadRequest(f"input {name}: data must be a list of whole numbers")
    if not all(type(each) is int for each in data):  # JSON has numbers only, and some clients write 7 as 7.0
        if not all(type(each) is int or (type(each) is float and each.is_integer()) for each in data):
            raise BadRequest(f"input {name}: data must be a list of whole numbers")
        data = [int(each) for each in data]
    if len(data) != count:
        raise BadRequest(f"input {name}: its shape needs {count} numbers, there are {len(data)}")
    return data


def _ids(tensor: tuple[Any, int, Any], mask: tuple[Any, int, Any] | None, limits: Limits) -> NDArray[np.int32]:
    values = _numbers("input_ids", tensor)
    if mask is not None:
        values = values[: _attended(_numbers("attention_mask", mask), len(values))]
    if not 1 <= len(values) <= limits.tokens:
        raise BadRequest(f"input_ids: there are {len(values)} tokens; 1 to {limits.tokens} can be served")
    if min(values) < 0 or max(values) >= limits.vocab:
        raise BadRequest(f"input_ids: token ids are 0 to {limits.vocab - 1}")
    return np.asarray(values, np.int32)


def _attended(mask: Sequence[int], count: int) -> int:
    """How many tokens a mask leaves: ones, then zeros."""
    ones = sum(each == 1 for each in mask)
    if len(mask) != count or list(mask) != [1] * ones + [0] * (count - ones):
        raise BadRequest("attention_mask must be as long as input_ids: ones, then zeros for padding")
    return ones


def _text(tensor: tuple[Any, int, Any]) -> str:
    datatype, count, data = tensor
    if datatype != "BYTES" or count != 1:
        raise BadRequest("input text: datatype must be BYTES and shape [1]: one text per request")
    if isinstance(data, bytes):  # a length in four bytes, then the text
        if len(data) < 4 or int.from_bytes(data[:4], "little") != len(data) - 4:
            raise BadRequest("input text: binary data must be a length in four bytes and the text")
        try:
            return data[4:].decode()
        except UnicodeDecodeError:
            raise BadRequest("input text: it is not UTF-8") from None
    while isinstance(data, list) and len(data) == 1:
        data = data[0]
    if not isinstance(data, str):
        raise BadRequest("input text: data must be a list of one string")
    if any("\ud800" <= letter <= "\udfff" for letter in data):
        raise BadRequest("input text: it is not Unicode text (a lone surrogate)")
    return data


def _slo_s(parameters: dict[str, Any]) -> float | None:
    if (value := parameters.get("slo_ms")) is None:
        return None
    if type(value) not in (int, float) or not 0 < value <= LONGEST_SLO_MS:
        raise BadRequest(f"parameter slo_ms must be a number of milliseconds, above 0 and at most {LONGEST_SLO_MS:.0f}")
    return float(value) / 1e3


def _klass(parameters: dict[str, Any]) -> str:
    if (value := parameters.get("priority")) is None:
        return ""
    if type(value) is not int or not 0 <= value < PRIORITIES:
        raise BadRequest(f"parameter priority must be a whole number, 0 to {PRIORITIES - 1}")
    return str(value)


def _binary(message: dict[str, Any], parameters: dict[str, Any]) -> bool:
    """Whether the answer is to be binary: of all outputs, or of the one that there is."""
    if (outputs := message.get("outputs")) is None:
        return parameters.get("binary_data_output") is True
    if not isinstance(outputs, list) or not all(isinstance(each, dict) for each in outputs):
        raise BadRequest("outputs must be a list of objects with a name")
    if any(each.get("name") != "logits" for each in outputs):
        raise BadRequest("the only output is logits")
    default = parameters.get("binary_data_output") is True
    return any(_parameters(each).get("binary_data", default) is True for each in outputs)
