"""Specs: `kind:first,key=value,...` text, turned into the call of a plain function."""

from __future__ import annotations

import inspect
import types
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

T = TypeVar("T")


@dataclass(frozen=True)
class Spec:
    """The text of a spec, taken apart: `first` is the value without a key (`constant:32`, `fit:day.csv`)."""

    kind: str
    first: str | None
    values: Mapping[str, str]

    @classmethod
    def parse(cls, text: str) -> Spec:
        """Raises ValueError where a value lacks its key or a key is there twice."""
        kind, _, rest = text.partition(":")
        first: str | None = None
        values: dict[str, str] = {}
        for position, part in enumerate(filter(None, (part.strip() for part in rest.split(",")))):
            key, equals, value = (piece.strip() for piece in part.partition("="))
            if not equals and position == 0:
                first = part
            elif not equals:
                raise ValueError(f"spec {text!r}: {part!r} has no key; write key=value, separated by commas")
            elif key in values:
                raise ValueError(f"spec {text!r}: {key} is there twice")
            else:
                values[key] = value
        return cls(kind.strip(), first, values)


def parameters(function: Callable[..., Any]) -> dict[str, inspect.Parameter]:
    """What a spec may set: the function's keyword-only parameters, in order."""
    return {
        name: parameter
        for name, parameter in inspect.signature(function).parameters.items()
        if parameter.kind is inspect.Parameter.KEYWORD_ONLY
    }


def call(function: Callable[..., T], spec: Spec, *args: object, **given: object) -> T:
    """Call `function(*args, **spec)`: text becomes the annotated type; `given` wins over the spec.

    The value without a key is the first keyword-only parameter. Raises ValueError for unknown keys, values that do not
    convert, and required values that are missing.
    """
    known = parameters(function)
    values = dict(spec.values)
    if spec.first is not None:
        values = {next(iter(known)): spec.first} | values
    unknown = [key for key in values if key not in known]
    if unknown:
        raise ValueError(f"{spec.kind} has no {', '.join(unknown)}; it has {', '.join(known) or 'no settings'}")
    hints = get_type_hints(function)
    arguments = {key: _convert(spec.kind, key, text, hints[key]) for key, text in values.items()} | given
    missing = [k for k, p in known.items() if p.default is inspect.Parameter.empty and k not in arguments]
    if missing:
        raise ValueError(f"{spec.kind} needs {', '.join(missing)}: write {spec.kind}:{missing[0]}=...")
    try:
        return function(*args, **arguments)
    except ValueError as error:
        raise ValueError(f"{spec.kind}: {error}") from None


def signature(kind: str, function: Callable[..., Any]) -> str:
    """The kind with its settings and their defaults, as a spec shows them; in brackets those that may be left open."""
    known = parameters(function)
    shown = [name if p.default is inspect.Parameter.empty else f"{name}={_text(p.default)}"
             for name, p in known.items() if p.default is not None]  # fmt: skip
    left_open = "".join(f"[,{name}]" for name, p in known.items() if p.default is None)
    return f"{kind}:{','.join(shown)}{left_open}".rstrip(":")


def _text(value: object) -> str:
    if isinstance(value, tuple):
        return "/".join(map(_text, value))
    return f"{value:g}" if isinstance(value, float) else str(value)


def _convert(kind: str, key: str, text: str, hint: Any) -> object:
    if get_origin(hint) in (Union, types.UnionType):
        hint = next(option for option in get_args(hint) if option is not types.NoneType)
    try:
        if get_origin(hint) is tuple:
            return tuple(float(piece) for piece in text.split("/"))
        return hint(text)
    except ValueError:
        expected = {float: "a number", int: "a whole number"}.get(hint, "numbers separated by /")
        raise ValueError(f"{kind}: {key}={text!r} is not {expected}") from None
