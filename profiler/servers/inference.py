"""The Open Inference Protocol, version 2, as a client: Triton, KServe, mlserver, our own endpoint."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

import numpy as np
from numpy.typing import NDArray

from profiler.servers.client import BadReply, HttpReply, json_of
from profiler.servers.dialect import Told, Written, rows_of, told_of
from traces.shared.documents import parse_json

#: The types of ids that can be sent, and those of answers that can be read, as they lie in binary data.
WHOLE = {"INT64": "<i8", "INT32": "<i4"}
FLOATS = {"FP32": "<f4", "FP64": "<f8", "FP16": "<f2"}
#: What stands in each integer input of an encoder, by name.
IDS, MASK, TYPES = "input_ids", "attention_mask", "token_type_ids"
#: The header that says where the JSON of a binary message ends.
HEADER = "inference-header-content-length"


@dataclass(frozen=True)
class OpenInference:
    """A model by its metadata. inputs: the datatype of each that is sent. column: texts are sent as [n, 1], not [n].

    output: what is asked for. binary: whether tensors are sent and asked for as bytes.
    """

    model: str
    inputs: Mapping[str, str]
    output: str
    binary: bool
    column: bool = False

    @property
    def name(self) -> str:
        return f"Open Inference Protocol v2, {'binary' if self.binary else 'JSON'}"

    @property
    def takes(self) -> str:
        return "texts" if "BYTES" in self.inputs.values() else "ids"

    @property
    def gives(self) -> str:
        return "logits" if self.output == "logits" else "embeddings" if "embedding" in self.output else "scores"

    def write(self, batch: Sequence[Any]) -> Written:
        """As of Dialect. Ids of unequal lengths are filled up to the longest, where there is a mask to say so."""
        tensors = self._texts(batch) if self.takes == "texts" else self._ids(batch)
        listed, tail = [], b""
        for name, values in tensors.items():
            about: dict[str, Any] = {"name": name, "datatype": self.inputs[name], "shape": list(values.shape)}
            if self.binary:
                part = _bytes(values, self.inputs[name])
                about["parameters"] = {"binary_data_size": len(part)}
                tail += part
            else:
                about["data"] = values.ravel().tolist()
            listed.append(about)
        wanted: dict[str, Any] = {"name": self.output}
        if self.binary:
            wanted["parameters"] = {"binary_data": True}
        header = json.dumps({"inputs": listed, "outputs": [wanted]}).encode()
        path = f"{model_path(self.model)}/infer"
        if not self.binary:
            return Written(path, header, {})
        kind = {"Content-Type": "application/octet-stream", HEADER: str(len(header))}
        return Written(path, header + tail, kind)

    def read(self, reply: HttpReply, count: int) -> tuple[NDArray[np.float32], Told | None]:
        """As of Dialect."""
        what = f"the answer of {self.model}"
        message, tail = _split(reply, what)
        outputs = message.get("outputs")
        if not isinstance(outputs, list) or not all(isinstance(each, dict) for each in outputs):
            raise BadReply(f"{what} has no list of outputs")
        found = None
        for each in outputs:
            size = (each["parameters"] if isinstance(each.get("parameters"), dict) else {}).get("binary_data_size")
            data = each.get("data")
            if size is not None:
                if not (type(size) is int and 0 <= size <= len(tail)):
                    raise BadReply(f"{what}: binary_data_size is {size!r:.40}, and {len(tail)} bytes are left")
                data, tail = tail[:size], tail[size:]
            if each.get("name") == self.output:
                if found is not None:
                    raise BadReply(f"{what} has the output {self.output} twice")
                found = _tensor(each, data, count, what)
        if tail:
            raise BadReply(f"{what}: {len(tail)} bytes follow the last output")
        if found is None:
            raise BadReply(f"{what} has no output {self.output}")
        return found, told_of(message.get("parameters"), what)

    def _ids(self, batch: Sequence[NDArray[np.int32]]) -> dict[str, NDArray[Any]]:
        shape = (len(batch), max(map(len, batch)))
        if MASK not in self.inputs and min(map(len, batch)) < shape[1]:
            raise ValueError(f"{self.model} takes no {MASK}, so that texts of a batch must be of one length")
        tensors = {name: np.zeros(shape, WHOLE[kind]) for name, kind in self.inputs.items()}
        for at, row in enumerate(batch):
            for name, values in tensors.items():
                if name != TYPES:
                    values[at, : len(row)] = 1 if name == MASK else row
        return tensors

    def _texts(self, batch: Sequence[str]) -> dict[str, NDArray[Any]]:
        values = np.asarray(list(batch), object)
        return dict.fromkeys(self.inputs, values[:, None] if self.column else values)


def of_metadata(found: Any, model: str, binary: bool) -> OpenInference:
    """How to ask a model, by what `/v2/models/NAME` says. Raises BadReply, LookupError where it is no encoder."""
    what = f"the metadata of {model}"
    if not isinstance(found, dict):
        raise BadReply(f"{what} is no object")
    inputs, outputs = (_listed(found.get(name), f"{name} in {what}") for name in ("inputs", "outputs"))
    whole = {name: kind for name, (kind, _) in inputs.items() if kind in WHOLE}
    texts = [name for name, (kind, _) in inputs.items() if kind == "BYTES"]
    column = False
    if whole:
        ids = IDS if IDS in whole else next(iter(whole))
        if unknown := sorted(set(whole) - {ids, MASK, TYPES}):
            raise LookupError(f"{model} takes {', '.join(unknown)}: known inputs are {IDS}, {MASK} and {TYPES}")
        sent = whole
    elif len(texts) == 1:
        sent, column = {texts[0]: "BYTES"}, inputs[texts[0]][1] == 2
    else:
        kinds = ", ".join(f"{name} ({kind})" for name, (kind, _) in inputs.items())
        raise LookupError(f"{model} takes {kinds or 'nothing'}: token ids ({' or '.join(WHOLE)}) or one text are known")
    known = [name for name, (kind, _) in outputs.items() if kind in FLOATS]
    if not known:
        raise LookupError(f"{model} gives {', '.join(outputs) or 'nothing'}, none of them in {', '.join(FLOATS)}")
    return OpenInference(model, sent, "logits" if "logits" in known else known[0], binary, column)


def _listed(values: Any, what: str) -> dict[str, tuple[str, int]]:
    """Datatype and number of dimensions by name, of a list of tensors. Raises BadReply."""
    if not isinstance(values, list):
        raise BadReply(f"{what}: there is no list")
    found = {}
    for each in values:
        own = each if isinstance(each, dict) else {}
        name, kind, shape = own.get("name"), own.get("datatype"), own.get("shape")
        if not (isinstance(name, str) and isinstance(kind, str) and isinstance(shape, list)):
            raise BadReply(f"{what}: each needs name, datatype and shape")
        found[name] = (kind, len(shape))
    return found


def _split(reply: HttpReply, what: str) -> tuple[dict[str, Any], bytes]:
    """The JSON of a message, and the bytes behind it."""
    length, tail = reply.headers.get(HEADER), b""
    if length is not None and reply.status == 200:
        if not (length.isascii() and length.isdigit() and len(length) < 10 and int(length) <= len(reply.body)):
            raise BadReply(f"{what}: {HEADER} is {length!r:.40}, the message has {len(reply.body)} bytes")
        reply, tail = reply._replace(body=reply.body[: int(length)]), reply.body[int(length) :]
    message = json_of(reply, what)
    if not isinstance(message, dict):
        raise BadReply(f"{what} is no object")
    return message, tail


def _tensor(about: dict[str, Any], data: Any, count: int, what: str) -> NDArray[np.float32]:
    """An output as [count, width]."""
    kind, shape = about.get("datatype"), about.get("shape")
    if kind not in FLOATS:
        raise BadReply(f"{what}: datatype is {kind!r:.40}, not one of {', '.join(FLOATS)}")
    if not (isinstance(shape, list) and all(type(each) is int and 0 < each < 1 << 26 for each in shape)):
        raise BadReply(f"{what}: shape is {shape!r:.60}")
    total = math.prod(shape)
    if not shape or shape[0] != count:
        raise BadReply(f"{what}: shape is {shape!r:.60}, asked were {count} texts")
    if isinstance(data, bytes):
        own = np.dtype(FLOATS[kind])
        if len(data) != total * own.itemsize:
            raise BadReply(f"{what}: its shape needs {total * own.itemsize} bytes, there are {len(data)}")
        values = np.frombuffer(data, own).reshape(count, -1)
        if not np.isfinite(values).all():
            raise BadReply(f"{what} holds a number that is none (NaN or infinite)")
        return values.astype(np.float32)
    flat = _flat(data)
    if flat is None or len(flat) != total:
        raise BadReply(f"{what}: its shape needs {total} numbers, there are {len(flat or [])}")
    width = total // count
    return rows_of([flat[at * width : (at + 1) * width] for at in range(count)], count, what)


def _flat(data: Any) -> list[Any] | None:
    """The elements of JSON data, flat or nested; None where it is no list."""
    if not isinstance(data, list):
        return None
    flat: list[Any] = data
    while flat and all(isinstance(each, list) for each in flat):
        flat = [element for each in flat for element in each]
    return flat


def _bytes(values: NDArray[Any], kind: str) -> bytes:
    if kind != "BYTES":
        return values.tobytes()
    texts = [text.encode() for text in values.ravel().tolist()]
    return b"".join(len(text).to_bytes(4, "little") + text for text in texts)


def model_path(model: str) -> str:
    """Where a model is, whatever its name holds."""
    return f"/v2/models/{quote(model, safe='')}"


def binary_offered(reply: HttpReply) -> bool:
    """Whether `/v2` lists the extension of binary tensors."""
    if reply.status != 200:
        return False
    try:
        found = parse_json(reply.body, "the metadata of the server")
    except ValueError:
        return False
    listed = found.get("extensions") if isinstance(found, dict) else None
    return isinstance(listed, list) and "binary_tensor_data" in listed
