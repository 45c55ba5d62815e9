"""A request: which texts, as token ids or as such, what it wants of them, and by when."""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from simulator.endpoint.protocol import tensors
from simulator.endpoint.protocol.tensors import BOOL, INTEGERS, BadRequest, Tensor

IDS = ("input_ids", "attention_mask", "token_type_ids")
TEXTS = ("text", "text_pair")
#: What an answer holds.
LOGITS, SCORES, EMBEDDINGS = "logits", "scores", "embeddings"
#: Targets that a request may ask for, in milliseconds.
LONGEST_SLO_MS = 3_600_000.0
#: Classes that a request may ask for by `priority`: names of `klass` in traces, and bounded, since they label metrics.
PRIORITIES = 10


@dataclass(frozen=True)
class Limits:
    """What a model takes: token ids below `vocab`, at most `tokens` of a text; texts as such, where it has a tokenizer.

    types: of tokens; a token of type t is handed on as its id + t * vocab. texts: how many one request may have.
    outputs: the names of what it may ask for; the first is what it gets unless it asks. width: how many numbers an
    answer has, and `gives` what they are: logits, scores (which stay as they are), or embeddings. tenants: of which a
    request names one; None where there are none.
    """

    vocab: int
    tokens: int
    text: bool
    types: int = 1
    texts: int = 1024
    outputs: tuple[str, ...] = ("logits",)
    width: int = 2
    gives: str = LOGITS
    tenants: Collection[str] | None = None


@dataclass(frozen=True, slots=True)
class Inference:
    """A request. Either ids (int32, of each text) or texts, each with its second text or None.

    slo_s: its own target in seconds. outputs: the names of what it asks for, and whether in binary. partial: whether it
    takes an answer where some of its texts have none. model: as the body names it; empty where only the path does.
    tenant: "" where there are none.
    """

    ids: list[NDArray[np.int32]] | None
    texts: list[tuple[str, str | None]] | None
    slo_s: float | None
    klass: str
    id: str | None
    outputs: dict[str, bool]
    partial: bool = False
    model: str = ""
    tenant: str = ""


def read(body: bytes, header_length: str | None, limits: Limits) -> Inference:
    """The request in a body. header_length: of the header "Inference-Header-Content-Length", where tensors are binary.

    Raises BadRequest.
    """
    header, tail = _split(body, header_length)
    message = message_of(header)
    name = message.get("id")
    if not (name is None or (isinstance(name, str) and len(name) <= 256)):
        raise BadRequest("id must be a string of at most 256 characters")
    inputs = tensors.read(message.get("inputs"), IDS + TEXTS, tail)
    ids = texts = None
    if inputs.keys() & set(TEXTS):
        texts = _texts(inputs, limits)
    elif "input_ids" in inputs:
        ids = _ids(inputs, limits)
    else:
        raise BadRequest("an input named input_ids or text is needed")
    return inference(message, limits, ids=ids, texts=texts, id=name, outputs=_outputs(message, limits))


def message_of(body: bytes) -> dict[str, Any]:
    """The JSON object in a body. Raises BadRequest."""
    try:
        message = json.loads(body)
    except (ValueError, RecursionError):
        raise BadRequest("the body is not JSON") from None
    if not isinstance(message, dict):
        raise BadRequest("the body must be a JSON object")
    return message


def inference(
    message: dict[str, Any],
    limits: Limits,
    *,
    ids: list[NDArray[np.int32]] | None = None,
    texts: list[tuple[str, str | None]] | None = None,
    id: str | None = None,
    outputs: dict[str, bool] | None = None,
    model: str = "",
) -> Inference:
    """The request for these texts, with what its `parameters` say. Raises BadRequest."""
    its = tensors.parameters(message)
    if type(partial := its.get("partial", False)) is not bool:
        raise BadRequest("parameter partial must be true or false")
    asked, tenant = outputs or {limits.outputs[0]: False}, _tenant(its, limits)
    return Inference(ids, texts, _slo_s(its), _klass(its), id, asked, partial, model, tenant)


def _split(body: bytes, header_length: str | None) -> tuple[bytes, bytes]:
    if header_length is None:
        return body, b""
    if not (header_length.isascii() and header_length.isdigit() and len(header_length) < 10):
        raise BadRequest("Inference-Header-Content-Length must be a whole number")
    length = int(header_length)
    if length > len(body):
        raise BadRequest(f"Inference-Header-Content-Length is {length}, but the body has {len(body)} bytes")
    return body[:length], body[length:]


def _texts(inputs: dict[str, Tensor], limits: Limits) -> list[tuple[str, str | None]]:
    if inputs.keys() & set(IDS):
        raise BadRequest("give input_ids or text, not both")
    if "text" not in inputs:
        raise BadRequest("text_pair needs text, which stands before it")
    first = tensors.texts(inputs["text"])
    second: Sequence[str | None] = [None] * len(first)
    if "text_pair" in inputs:
        second = tensors.texts(inputs["text_pair"])
    if len(second) != len(first):
        raise BadRequest(f"input text_pair: there are {len(second)}, of text there are {len(first)}")
    return checked_texts(list(zip(first, second, strict=True)), limits)


def checked_texts(texts: list[tuple[str, str | None]], limits: Limits) -> list[tuple[str, str | None]]:
    """These texts, each with its second or None. Raises BadRequest where the model does not take them."""
    if not limits.text:
        raise BadRequest("this model has no tokenizer here: give input_ids")
    _refuse_count(len(texts), limits)
    if limits.types < 2 and any(second is not None for _, second in texts):
        raise BadRequest("the weights served here have one token type: they take no pairs (text_pair)")
    return texts


def checked_ids(rows: Sequence[list[int]], limits: Limits) -> list[NDArray[np.int32]]:
    """These rows of whole numbers as token ids of type 0. Raises BadRequest where the model does not take them."""
    _refuse_count(len(rows), limits)
    return [_checked(row, None, limits) for row in rows]


def _ids(inputs: dict[str, Tensor], limits: Limits) -> list[NDArray[np.int32]]:
    """The real tokens of every text, from the first on: what is masked is cut off at both ends."""
    tensor = inputs["input_ids"]
    _refuse_count(tensor.rows, limits)
    for name in IDS[1:]:
        if name in inputs and (inputs[name].rows, inputs[name].shape[-1]) != (tensor.rows, tensor.shape[-1]):
            raise BadRequest(f"input {name}: it must have the shape of input_ids")
    ids = tensors.numbers(tensor, INTEGERS)
    mask = tensors.numbers(inputs[IDS[1]], INTEGERS | BOOL) if IDS[1] in inputs else None
    types = tensors.numbers(inputs[IDS[2]], INTEGERS) if IDS[2] in inputs else None
    rows = []
    for row, values in enumerate(ids):
        real = slice(0, len(values)) if mask is None else _attended(mask[row])
        rows.append(_checked(values[real], None if types is None else types[row][real], limits))
    return rows


def _checked(ids: list[int], types: list[int] | None, limits: Limits) -> NDArray[np.int32]:
    if not 1 <= len(ids) <= limits.tokens:
        raise BadRequest(f"input_ids: there are {len(ids)} tokens; 1 to {limits.tokens} can be served")
    if min(ids) < 0 or max(ids) >= limits.vocab:
        raise BadRequest(f"input_ids: token ids are 0 to {limits.vocab - 1}")
    if types is None or not any(types):
        return np.asarray(ids, np.int32)
    if min(types) < 0 or max(types) >= limits.types:
        known = "only 0: the weights served here have one type" if limits.types == 1 else f"0 to {limits.types - 1}"
        raise BadRequest(f"token_type_ids: token types are {known}")
    return np.asarray(ids, np.int32) + limits.vocab * np.asarray(types, np.int32)


def _attended(mask: Sequence[int]) -> slice:
    """The tokens that a mask leaves: ones, with zeros for padding on the right, on the left, or on both sides."""
    ones = sum(each == 1 for each in mask)
    first = list(mask).index(1) if ones else 0
    if list(mask) != [0] * first + [1] * ones + [0] * (len(mask) - first - ones):
        raise BadRequest("attention_mask must be ones in one piece, with zeros for padding before or after them")
    return slice(first, first + ones)


def _refuse_count(texts: int, limits: Limits) -> None:
    if not 1 <= texts <= limits.texts:
        raise BadRequest(f"there are {texts} texts; a request may have 1 to {limits.texts}")


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


def _tenant(parameters: dict[str, Any], limits: Limits) -> str:
    value, known = parameters.get("tenant"), limits.tenants
    if known is None:
        if value is not None:
            raise BadRequest("parameter tenant: no tenants are served here, leave it out")
        return ""
    if value is None:
        raise BadRequest("parameter tenant is needed: whose adapters answer")
    if not isinstance(value, str) or value not in known:
        raise BadRequest(f"parameter tenant: there is no tenant {str(value)[:64]!r} here; there are {len(known):,}")
    return value


def _outputs(message: dict[str, Any], limits: Limits) -> dict[str, bool]:
    """The outputs that are asked for, each with whether it is to be binary."""
    binary = tensors.parameters(message).get("binary_data_output") is True
    listed = message.get("outputs")
    if listed is None or listed == []:
        return {limits.outputs[0]: binary}
    if not isinstance(listed, list) or not all(isinstance(each, dict) for each in listed):
        raise BadRequest("outputs must be a list of objects with a name")
    found: dict[str, bool] = {}
    for each in listed:
        name = each.get("name")
        if name not in limits.outputs:
            raise BadRequest(f"outputs are {', '.join(limits.outputs)}")
        found[name] = tensors.parameters(each).get("binary_data", binary) is True
    return found
