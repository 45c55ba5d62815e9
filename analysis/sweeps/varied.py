"""Settings inside specs that a sweep varied, as columns: the cv of a trace's gaps, the timeout of a policy."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from policies import make
from policies.machinery.wrapped import chain
from policies.registry import fields_of
from traces.spec import Spec


def varied(rows: Sequence[Mapping[str, Any]]) -> dict[str, list[Any]]:
    """Columns of the settings in the traces' and the policies' specs that differ; None where a row has none of them."""
    policies = {row["policy"]: _of_policy(row["policy"]) for row in rows}
    tuned = {name for own in policies.values() for name in own if _differs(name, own[""], policies.values())}
    traces = {row["trace"]: _of_trace(row["trace"]) for row in rows}
    shaped = {name for own in traces.values() for name in own if len({each.get(name) for each in traces.values()}) > 1}
    columns = {name: [traces[row["trace"]].get(name) for row in rows] for name in sorted(shaped)}
    return columns | {name: [policies[row["policy"]].get(name) for row in rows] for name in sorted(tuned)}


def _differs(name: str, kind: str, policies: Iterable[Mapping[str, Any]]) -> bool:
    """Whether a parameter differs between policies of the same classes."""
    return len({repr(each.get(name)) for each in policies if each[""] == kind}) > 1


def _of_policy(spec: str) -> dict[str, Any]:
    """The plain parameters of a policy and of those that it wraps; under "" which classes these are."""
    found: dict[str, Any] = {"": " ".join(type(policy).__name__ for policy in chain(make(spec)))}
    for policy in chain(make(spec)):
        values = {name: getattr(policy, name) for name in fields_of(type(policy))}
        found = {name: value for name, value in values.items() if isinstance(value, int | float)} | found
    return found


def _of_trace(source: str | None) -> dict[str, Any]:
    """The numbers in a generator's spec."""
    if source is None or os.path.exists(source):
        return {}
    found = {}
    for name, text in Spec.parse(source).values.items():
        try:
            found[name] = float(text)
        except ValueError:
            continue
    return found
