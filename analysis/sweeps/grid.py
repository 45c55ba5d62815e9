"""The grid of a sweep: axes of settings, written as values, text or TOML, become one Settings per cell."""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

from policies import POLICIES, Policy, describe, make
from policies.machinery.wrapped import chain
from policies.registry import fields_of
from simulator.settings import KINDS, WITHIN, Settings, refuse_beyond

#: What a sweep may vary, the slowest first; each is a field of Settings.
AXES = ("table", "model", "task", "levels", "trace", "trace_format", "bin_s", "time_unit", "rate_mode", "start",
        "duration", "lengths", "max_tokens", "tenants", "gpus", "adapter_budget", "host_budget", "slo_ms",
        "service_noise", "host_time", "policy", "rate", "load", "seed")  # fmt: skip
#: Other words for an axis.
ALIASES = {"seeds": "seed", "policies": "policy", "traces": "trace", "tables": "table", "models": "model"}
#: A target of so many seconds and more was meant in milliseconds.
MOST_SLO_S = 5.0
#: Cells that are more than anybody means; the grid is refused before it fills the memory.
MOST = 1_000_000


def grid(axes: Mapping[str, Any], parameters: Mapping[str, Any] | None = None) -> list[Settings]:
    """One Settings per cell of the product of the axes, each once; `seed` varies fastest.

    axes: by the names of AXES, each a value, a sequence of values, or text (numbers with commas, `0-9` for whole
    numbers, `0.1:1.2:0.1` for a range with its end; texts with semicolons, since specs contain commas). `seeds`: how
    many, or which; `slo_s` in place of `slo_ms`. parameters: of policies, likewise; each goes to the policies that have
    it, the others stay as they are.

    Raises ValueError or LookupError for unknown axes, values of the wrong kind, unknown policies and an empty grid.
    """
    given = named(axes)
    unknown = [name for name in given if name not in AXES]
    if unknown:
        raise LookupError(f"a sweep has no axis {', '.join(unknown)}; it has {', '.join(AXES)}")
    values = {name: axis(name, given[name]) for name in AXES if name in given}
    if "rate" in values and "load" in values:
        raise ValueError("rate and load both set the rate: give one of them")
    specs = values.get("policy", [Settings.policy])
    _refuse_unused(specs, parameters or {})
    values["policy"] = [each for spec in specs for each in _tuned(spec, parameters or {})]
    cells = float(np.prod([len(each) for each in values.values()]))
    if cells > MOST:
        raise ValueError(f"the grid has {cells:.3g} cells; at most {MOST:,} are run: leave out some values")
    names = [name for name in AXES if name in values]
    rows = dict.fromkeys(product(*(values[name] for name in names)))
    return [Settings(**dict(zip(names, row, strict=True))) for row in rows]


def named(axes: Mapping[str, Any]) -> dict[str, Any]:
    """What is given of the axes, by their own names. Raises ValueError for one that is given by two of its names."""
    found: dict[str, Any] = {}
    for word, value in axes.items():
        name = ALIASES.get(word, word)
        if name in found:
            raise ValueError(f"{name} is given twice, the second time as {word}: give it once")
        if value is not None:
            found[name] = seeds_of(value) if word == "seeds" else value
    if "slo_s" in found:
        found["slo_ms"] = target_ms(found.get("slo_ms"), found.pop("slo_s"))
    return found


def target_ms(slo_ms: Any, slo_s: Any) -> Any:
    """The latency targets in milliseconds, of which one or several are given in one unit or the other.

    Raises ValueError where both are given, and for seconds that look like milliseconds.
    """
    if slo_s is None:
        return slo_ms
    if slo_ms is not None:
        raise ValueError("slo_ms and slo_s both say the latency target: give one of them")
    found = _numbers("slo_s", slo_s, float) if isinstance(slo_s, str) else np.atleast_1d(slo_s).tolist()
    found = [_one("slo_s", each, float) for each in found]
    for each in found:
        if each >= MOST_SLO_S:
            raise ValueError(
                f"slo_s is {each:g}: did you mean slo_ms={each:g}? So many seconds are slo_ms={1e3 * each:g}"
            )
    values = [float(f"{1e3 * each:.12g}") for each in found]
    return values if np.ndim(slo_s) or isinstance(slo_s, str) else values[0]


def axis(name: str, value: Any) -> list[Any]:
    """The values of one axis, of the kind that its setting has. Raises ValueError for others, and for none at all."""
    kind = KINDS[name]
    if isinstance(value, str):
        found: list[Any] = _parts(value, ";") if kind is str else _numbers(name, value, kind)
    elif isinstance(value, Iterable) and not isinstance(value, (Mapping, bytes)):
        found = [_one(name, each, kind) for each in value]
    else:
        found = [_one(name, value, kind)]
    if not found:
        raise ValueError(f"{name} has no values: a sweep needs at least one of each")
    for each in found:
        if name in WITHIN:
            refuse_beyond(name, each)
    return found


def seeds_of(seeds: Any) -> list[int]:
    """Which seeds: a number says how many, from 0 on; else the values of an axis, as "0-4" or [1, 5, 8].

    Raises ValueError for none at all, and for what cannot be a seed.
    """
    if isinstance(seeds, str) and seeds.strip().isdecimal():
        seeds = int(seeds)
    if isinstance(seeds, int) and not isinstance(seeds, bool):
        if not 1 <= seeds <= MOST:
            raise ValueError(f"seeds is {seeds}, which says how many; it must lie in 1 to {MOST:,} (0-0: seed 0 alone)")
        return list(range(seeds))
    return axis("seed", seeds)


def read_toml(path: Path) -> dict[str, Any]:
    """The axes in a TOML file: keys as in AXES, and a table `parameters` for those of policies.

    Raises LookupError where there is no such file, ValueError where it is not TOML, each in one line.
    """
    if not path.is_file():
        raise LookupError(f"no file {str(path)!r} to read a sweep from")
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is not TOML: {error}") from None
    except RecursionError:
        raise ValueError(f"{path} is nested too deeply to be a sweep") from None


def _parts(text: str, between: str) -> list[str]:
    return [part.strip() for part in text.split(between) if part.strip()]


def _numbers(name: str, text: str, kind: type) -> list[Any]:
    found: list[Any] = []
    for part in _parts(text, ","):
        first, dash, last = part.partition("-")
        if kind is int and dash and first.isdigit() and last.isdigit():
            _refuse_many(name, part, int(last) - int(first))
            found += range(int(first), int(last) + 1)
        elif kind is float and part.count(":") == 2:
            start, stop, step = (_one(name, piece, float) for piece in part.split(":"))
            if not step > 0 or stop < start:
                raise ValueError(f"{name}: {part!r} is no range; write first:last:step, as in 0.1:1.2:0.1")
            _refuse_many(name, part, (stop - start) / step)
            steps = np.arange(int((stop - start) / step + 1e-9) + 1)
            found += [float(f"{start + step * each:.12g}") for each in steps]
        else:
            found.append(_one(name, part, kind))
    return found


def _refuse_many(name: str, part: str, values: float) -> None:
    """Raise ValueError for a range that alone has more values than a grid may have cells."""
    if values >= MOST:
        raise ValueError(f"{name}: {part!r} has {values:.3g} values; at most {MOST:,} cells are run")


def _one(name: str, value: Any, kind: type) -> Any:
    """A single value of an axis, as its kind."""
    if isinstance(value, np.generic):
        value = value.item()
    if kind is str and hasattr(value, "__fspath__"):
        value = str(value)
    fits = not isinstance(value, bool) and (isinstance(value, kind) or (kind is not str and value != ""))
    with suppress(ValueError, TypeError, OverflowError):
        found = kind(value)
        same = kind is not int or not isinstance(value, float) or found == value
        if fits and same and (kind is not float or np.isfinite(found)):
            return found
    wanted = {int: "a whole number", float: "a number", str: "text"}[kind]
    raise ValueError(f"{name} is {value!r}; it must be {wanted}")


def _tuned(spec: str, parameters: Mapping[str, Any]) -> list[str]:
    """A policy with every combination of those parameters that it has, as specs."""
    policy = _made(spec)
    own = {name: values for name, values in (parameters or {}).items() if _has(policy, name)}
    choices = [[(name, each) for each in _choices(name, values)] for name, values in own.items()]
    return [describe(make(spec, dict(chosen))) for chosen in product(*choices)]


def _refuse_unused(specs: Sequence[str], parameters: Mapping[str, Any]) -> None:
    """Raise ValueError for a parameter that none of the policies has."""
    made = [_made(spec) for spec in specs]
    unused = [name for name in parameters if not any(_has(policy, name) for policy in made)]
    if unused:
        raise ValueError(f"none of the policies {'; '.join(specs)} has a parameter {', '.join(unused)}")


def _made(spec: str) -> Policy:
    if "," in spec and all(part.strip() in POLICIES for part in spec.split(",")):
        raise ValueError(f"policy {spec!r}: put semicolons between policies")
    return make(spec)


def _choices(name: str, values: Any) -> list[str]:
    if isinstance(values, str):
        found = _parts(values, ",")
    else:
        many = isinstance(values, Iterable) and not isinstance(values, (Mapping, bytes))
        found = [str(each) for each in values] if many else [str(values)]
    if not found:
        raise ValueError(f"parameter {name} has no values: a sweep needs at least one of each")
    return found


def _has(policy: Any, name: str) -> bool:
    return any(name in fields_of(type(each)) for each in chain(policy))
