"""From the text of a policy to the object and back: `admission(timeout(max_batch=8), max_waiting=100)`."""

from __future__ import annotations

import ast
import importlib
import math
import os
import re
import types
import typing
from collections.abc import Mapping
from dataclasses import MISSING, Field, dataclass, field, fields, is_dataclass
from functools import cache
from typing import Any

from policies.interface import Policy
from policies.machinery.raised import attribute, described, heed_interrupt
from policies.machinery.wrapped import chain, declared
from traces.shared.text import did_you_mean

#: A text in quotes, or (as group 1) a class outside the repository.
_OUTSIDE = re.compile(r"""'[^']*'|"[^"]*"|([A-Za-z_][\w.]*:[A-Za-z_]\w*)""")


def make(spec: str, parameters: Mapping[str, str] | None = None) -> Policy:
    """Build a policy from its spec, with further parameters as text (`-p key=value`).

    A spec is a name of `POLICIES` or `package.module:Class`, optionally with arguments in parentheses; a wrapper takes
    the wrapped policy first. A parameter goes to the one policy of the spec that has it. Raises ValueError or
    LookupError that say what is valid.
    """
    outside: dict[str, str] = {}

    def stand_in(match: re.Match[str]) -> str:
        if match[1] is None:
            return match[0]
        outside[f"outside_{len(outside)}"] = match[0]
        return f"outside_{len(outside) - 1}"

    try:
        tree = ast.parse(_OUTSIDE.sub(stand_in, spec.strip()), mode="eval").body
    except SyntaxError:
        raise ValueError(f"policy {spec!r} cannot be read: write name, name(key=value) or wrapper(name)") from None
    named = _read(tree, spec, outside)
    chain = named.chain()
    for key, text in (parameters or {}).items():
        if not (owners := [each for each in chain if key in _parameters(each.cls)]):
            valid = ", ".join(name for each in chain for name in _parameters(each.cls)) or "none"
            raise ValueError(f"policy {spec!r} has no parameter {key!r}; it has {valid}")
        if len(owners) > 1:
            raise ValueError(
                f"parameter {key!r} belongs to several policies of {spec!r}: write it inside the parentheses"
            )
        owners[0].values[key] = _fitting(owners[0].cls, key, spec, _literal(text), text)
    return named.made(spec)


def describe(policy: Policy) -> str:
    """The spec that `make` turns into the same policy; parameters at their defaults are left out.

    Raises ValueError where a parameter cannot be compared or shown.
    """
    arguments: list[str] = []
    for name, each in fields_of(type(policy)).items():
        value = attribute(policy, name)
        try:
            if _is_policy(value):
                arguments.insert(0, describe(value))
            elif value != each.default:
                arguments.append(f"{name}={_as_text(value)}")
        except BaseException as error:
            heed_interrupt(error)
            raise ValueError(f"policy {_name(type(policy))}: {name} cannot be shown: {described(error)}") from error
    return _name(type(policy)) + (f"({', '.join(arguments)})" if arguments else "")


def needs(policy: Policy) -> frozenset[str]:
    """What a policy and those that it wraps need of the run; see `policies.Policy`. Raises ValueError as `declared`."""
    return frozenset().union(*(declared(each, "needs") or () for each in chain(policy)))


def modules_of(policy: Policy) -> set[str]:
    """The modules that hold its classes and those of what it wraps, those that they inherit from among them."""
    return {cls.__module__ for each in chain(policy) for cls in type(each).__mro__}


def answers_of(policy: Policy) -> list[str]:
    """The files of recorded answers that it and those that it wraps name as `items`."""
    named = [attribute(each, "items") for each in chain(policy)]
    return sorted({each for each in named if isinstance(each, str) and os.path.isfile(each)})


@dataclass
class _Named:
    """A policy as a spec names it: its class, the values of its parameters, and what it wraps."""

    cls: type[Any]
    inner: list[_Named] = field(default_factory=list)
    values: dict[str, Any] = field(default_factory=dict)

    def chain(self) -> list[_Named]:
        """Itself and all that it wraps, outermost first."""
        return [self, *(each for part in self.inner for each in part.chain())]

    def made(self, spec: str) -> Policy:
        """The policy, from all its values at once: it may be frozen, and may compute from them as it is made."""
        inner = [each.made(spec) for each in self.inner]
        values = self.values | dict(zip(_wrapped(self.cls), inner, strict=False))
        try:
            policy: Any = self.cls(**values) if is_dataclass(self.cls) else self.cls(*inner)
        except BaseException as error:
            heed_interrupt(error)
            raise ValueError(f"policy {spec!r}: {_name(self.cls)} cannot be made: {described(error)}") from error
        if not _is_policy(policy):
            raise ValueError(f"{_name(self.cls)} is not a policy: it has no method decide(view)")
        made: Policy = policy
        return made


def _read(node: ast.expr, spec: str, outside: Mapping[str, str]) -> _Named:
    """What a syntax tree names."""
    function, arguments, keywords = node, [], []
    if isinstance(node, ast.Call):
        function, arguments, keywords = node.func, node.args, node.keywords
    if not isinstance(function, ast.Name):
        raise ValueError(f"policy {spec!r} cannot be read: write name, name(key=value) or wrapper(name)")
    cls = _class(outside.get(function.id, function.id))
    named = _Named(cls, [_read(argument, spec, outside) for argument in arguments])
    if is_dataclass(cls):
        wrapped = _wrapped(cls)
        defaults = [(fields_of(cls)[name].default, fields_of(cls)[name].default_factory) for name in wrapped]
        needed = defaults.count((MISSING, MISSING))
        if not needed <= len(arguments) <= len(wrapped):
            example = f": write {_name(cls)}(greedy)" if wrapped else ""
            raise ValueError(f"policy {spec!r}: {len(arguments)} in {_name(cls)}, which wraps {len(wrapped)}{example}")
    for keyword in keywords:
        if keyword.arg is None:
            raise ValueError(f"policy {spec!r}: ** is not understood")
        if keyword.arg not in _parameters(cls):
            valid = ", ".join(_parameters(cls)) or "none"
            raise ValueError(f"policy {_name(cls)} has no parameter {keyword.arg!r}; it has {valid}")
        try:
            value = ast.literal_eval(keyword.value)
        except ValueError:
            raise ValueError(f"policy {spec!r}: {keyword.arg} must be a number, a text in quotes or a tuple") from None
        named.values[keyword.arg] = _fitting(cls, keyword.arg, spec, value)
    return named


def _class(name: str) -> type[Any]:
    from policies.catalogue import POLICIES

    if ":" not in name:
        if name not in POLICIES:
            near = did_you_mean(name, POLICIES)
            raise LookupError(f"no policy {name!r}; there is {', '.join(POLICIES)}, or package.module:Class{near}")
        return POLICIES[name]
    module, _, attribute = name.partition(":")
    try:
        found = getattr(importlib.import_module(module), attribute, None)
    except ModuleNotFoundError as error:
        raise LookupError(f"policy {name!r}: {error}; it must be importable from the current folder") from None
    except BaseException as error:
        heed_interrupt(error)
        raise ValueError(f"policy {name!r}: its module cannot be imported: {described(error)}") from error
    if not isinstance(found, type):
        raise LookupError(f"policy {name!r}: module {module} has no class {attribute}")
    return found


def _name(cls: type) -> str:
    from policies.catalogue import POLICIES

    return next((name for name, known in POLICIES.items() if known is cls), f"{cls.__module__}:{cls.__qualname__}")


def fields_of(cls: type) -> dict[str, Field[Any]]:
    """The fields of a policy's dataclass that its constructor takes."""
    if not is_dataclass(cls):
        return {}
    return {each.name: each for each in fields(cls) if each.init}


def _parameters(cls: type) -> list[str]:
    """The fields that a spec may set: all but what the policy wraps."""
    return [name for name in fields_of(cls) if name not in _wrapped(cls)]


def _wrapped(cls: type) -> list[str]:
    """The fields that are policies themselves."""
    hints = _hints(cls)
    return [name for name in fields_of(cls) if isinstance(hints.get(name), type) and _is_policy(hints[name])]


@cache
def _hints(cls: type) -> Mapping[str, Any]:
    try:
        return types.MappingProxyType(typing.get_type_hints(cls))
    except NameError:  # annotated with what is imported for type checkers alone
        return {}
    except BaseException as error:
        heed_interrupt(error)
        raise ValueError(f"{_name(cls)}: its annotations cannot be read: {described(error)}") from error


def _is_policy(thing: object) -> bool:
    """Whether it decides: a policy, or the class of one."""
    return callable(attribute(thing, "decide"))


def _as_text(value: object) -> str:
    """As `ast.literal_eval` reads it: infinity has no literal of its own."""
    return {math.inf: "1e999", -math.inf: "-1e999"}.get(value, repr(value)) if isinstance(value, float) else repr(value)


def _literal(text: str) -> Any:
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text


def _fitting(cls: type, name: str, spec: str, *readings: Any) -> Any:
    """The first of these readings of a parameter's text that its annotation allows."""
    hint = _hints(cls).get(name, Any)
    fitted = next((fit for each in readings if (fit := _fit(each, hint)) is not MISSING), MISSING)
    if fitted is MISSING:
        wanted = getattr(hint, "__name__", None) if isinstance(hint, type) else str(hint)
        raise ValueError(f"policy {spec!r}: {name} is {readings[0]!r}; it must be {wanted}")
    return fitted


def _fit(value: Any, hint: Any) -> Any:
    """The value as its annotation has it; MISSING where it does not fit."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        return next((fit for each in arguments if (fit := _fit(value, each)) is not MISSING), MISSING)
    if origin is tuple:
        items = list(value) if isinstance(value, tuple | list) else [value]
        fitted = [_fit(item, arguments[0]) for item in items]
        return MISSING if MISSING in fitted else tuple(fitted)
    if hint is Any:
        return value
    if hint is type(None):
        return None if value is None or value == "none" else MISSING
    if hint is float and ((isinstance(value, int) and not isinstance(value, bool)) or value in ("inf", "-inf")):
        return float(value)
    if hint is int and isinstance(value, bool):
        return MISSING
    return value if isinstance(hint, type) and isinstance(value, hint) else MISSING
