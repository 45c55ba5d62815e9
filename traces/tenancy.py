"""Tenant models: who asks, where a trace does not say, or is to say otherwise."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from traces.processes.fitted import sessions_of
from traces.processes.popularity import Popularity, classes, power, zipf
from traces.processes.sessions import Sessions, named
from traces.spec import Spec, call
from traces.trace import Trace

POPULARITIES: dict[str, Callable[..., Popularity]] = {"zipf": zipf, "power": power, "classes": classes}


def sessions(*, file: str, count: int | None = None) -> tuple[Sessions, int | None]:
    """Tenants in sessions, like those of a recorded trace or saved parameters (.json); count: how many there are."""
    if count is not None and count < 1:
        raise ValueError(f"count is {count} (must be at least 1)")
    return sessions_of(Path(file)), count


#: What --tenants takes, by name.
TENANTS: dict[str, Callable[..., Any]] = {**POPULARITIES, "fit": sessions}


def with_tenants(trace: Trace, text: str, rng: np.random.Generator) -> Trace:
    """The trace with tenants drawn by a spec. Raises LookupError for an unknown one, ValueError for wrong settings."""
    spec = Spec.parse(text)
    if spec.kind not in TENANTS:
        known = ", ".join(TENANTS)
        raise LookupError(f"no tenants {text!r}: choose one of {known}, as in zipf:count=10000,exponent=0.9")
    if spec.kind == "fit":
        model, count = call(sessions, spec)
        names = named(model.draw(rng, len(trace), count))
        text += f" (hit ratios of what was fitted missed by at most {model.missed:.3f})"
    else:
        tenant, generation = call(POPULARITIES[spec.kind], spec).draw(rng, trace.arrival_s - trace.window[0])
        names = named(tenant) + (np.asarray(".", object) + named(generation) if generation.any() else "")
    replaced = ", replacing its own" * (trace.tenant is not None)
    return replace(trace, tenant=names).noted(f"tenants drawn from {text}{replaced}")
