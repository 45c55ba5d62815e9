"""The tensors of a request: their type, shape and numbers or texts, from JSON or from bytes."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

#: Whole numbers, as the protocol calls them, and as they lie in binary data.
INTEGERS = {f"{sign}INT{bits}": f"<{sign.lower() or 'i'}{bits // 8}" for sign in ("", "U") for bits in (64, 32, 16, 8)}
BOOL = {"BOOL": "|u1"}


class BadRequest(ValueError):
    """What is wrong with a request, in words that its sender may see."""


class Tensor(NamedTuple):
    """An input. shape: one or two dimensions. data: bytes where it is binary, else what JSON has there."""

    name: str
    datatype: Any
    shape: tuple[int, ...]
    data: Any

    @property
    def rows(self) -> int:
        """Of how many texts it is: a vector of numbers is one row."""
        return self.shape[0] if len(self.shape) == 2 else 1

    def refuse(self, why: str) -> BadRequest:
        return BadRequest(f"input {self.name}: {why}")


def read(listed: Any, names: tuple[str, ...], tail: bytes) -> dict[str, Tensor]:
    """The inputs of a request by name. tail: the bytes behind the JSON. Raises BadRequest."""
    if not isinstance(listed, list) or not listed:
        raise BadRequest("inputs must be a list of at least one tensor")
    found: dict[str, Tensor] = {}
    for each in listed:
        if not isinstance(each, dict):
            raise BadRequest("an input must be an object with name, datatype, shape and data")
        name = each.get("name")
        if name not in names:
            raise BadRequest(f"inputs are {', '.join(names)}")
        if name in found:
            raise BadRequest(f"input {name} is there twice")
        size, data = parameters(each).get("binary_data_size"), each.get("data")
        if size is not None:
            if not (type(size) is int and 0 <= size <= len(tail)):
                raise BadRequest(f"input {name}: binary_data_size does not fit the body")
            data, tail = tail[:size], tail[size:]
        found[name] = Tensor(name, each.get("datatype"), _shape(name, each.get("shape")), data)
    if tail:
        raise BadRequest(f"{len(tail)} bytes follow the last input")
    return found


def parameters(owner: dict[str, Any]) -> dict[str, Any]:
    """Those of a request, an input or an output."""
    if (found := owner.get("parameters")) is None:
        return {}
    if not isinstance(found, dict):
        raise BadRequest("parameters must be an object")
    return found


def numbers(tensor: Tensor, datatypes: dict[str, str]) -> list[list[int]]:
    """The rows of a tensor of whole numbers of one of these types."""
    if tensor.datatype not in datatypes:
        raise tensor.refuse(f"datatype must be {' or '.join(datatypes)}")
    width = tensor.shape[-1]
    if isinstance(tensor.data, bytes):
        kind = np.dtype(datatypes[tensor.datatype])
        if len(tensor.data) != (size := math.prod(tensor.shape) * kind.itemsize):
            raise tensor.refuse(f"its shape needs {size} bytes, there are {len(tensor.data)}")
        values: list[int] = np.frombuffer(tensor.data, kind).tolist()
    else:
        values = _flat(tensor, "whole numbers")
        allowed = (int, bool) if tensor.datatype in BOOL else (int,)
        if not all(type(each) in allowed for each in values):  # JSON has numbers only: some clients write 7 as 7.0
            if not all(type(each) in allowed or (type(each) is float and each.is_integer()) for each in values):
                raise tensor.refuse("data must be a list of whole numbers")
            values = [int(each) for each in values]
    return [values[start : start + width] for start in range(0, len(values), width)] if width else [[]] * tensor.rows


def texts(tensor: Tensor) -> list[str]:
    """The texts of a tensor, of shape [n] or [n, 1]."""
    if tensor.datatype != "BYTES":
        raise tensor.refuse("datatype must be BYTES")
    if len(tensor.shape) == 2 and tensor.shape[1] != 1:
        raise tensor.refuse("shape must be [n] or [n, 1], for n texts; second texts go into text_pair")
    found = _unpacked(tensor) if isinstance(tensor.data, bytes) else _flat(tensor, "strings")
    for text in found:
        if not isinstance(text, str):
            raise tensor.refuse("data must be a list of strings")
        if lone_surrogate(text):
            raise tensor.refuse("it is not Unicode text (a lone surrogate)")
    return found


def lone_surrogate(text: str) -> bool:
    """Whether this is no Unicode text: JSON may hold half a character."""
    return any("\ud800" <= letter <= "\udfff" for letter in text)


def _unpacked(tensor: Tensor) -> list[str]:
    """Texts from bytes: each a length in four bytes, then the text."""
    found, data, at = [], tensor.data, 0
    while at < len(data):
        start = at + 4
        at = start + int.from_bytes(data[at:start], "little")
        if not start <= at <= len(data):
            raise tensor.refuse("binary data must be, for each text, a length in four bytes and the text")
        try:
            found.append(data[start:at].decode())
        except UnicodeDecodeError:
            raise tensor.refuse("it is not UTF-8") from None
    if len(found) != math.prod(tensor.shape):
        raise tensor.refuse(f"its shape needs {math.prod(tensor.shape)} texts, there are {len(found)}")
    return found


def _shape(name: str, shape: Any) -> tuple[int, ...]:
    if not (
        isinstance(shape, list) and 1 <= len(shape) <= 2 and all(type(each) is int and each >= 0 for each in shape)
    ):
        raise BadRequest(f"input {name}: shape must be one or two whole numbers, as [n] or [1, n]")
    return tuple(shape)


def _flat(tensor: Tensor, what: str) -> list[Any]:
    """The elements of JSON data, which may be flat, or nested as the shape says."""
    data, shape = tensor.data, tensor.shape
    if isinstance(data, str) and math.prod(shape) == 1:
        data = [data]
    if not isinstance(data, list):
        raise tensor.refuse(f"data must be a list of {what}")
    while len(data) == 1 and isinstance(data[0], list):
        data = data[0]
    if any(isinstance(each, list) for each in data):
        nested = len(shape) == 2 and len(data) == shape[0]
        if not (nested and all(isinstance(each, list) and len(each) == shape[1] for each in data)):
            raise tensor.refuse(f"data must be flat, or nested as its shape {list(shape)}")
        data = [element for each in data for element in each]
    if len(data) != math.prod(shape):
        raise tensor.refuse(f"its shape needs {math.prod(shape)} {what.rpartition(' ')[2]}, there are {len(data)}")
    return data
