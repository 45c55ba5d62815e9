"""The fitted generator: new traffic like a recorded trace, from the trace or from saved parameters."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from traces.draft import Draft
from traces.processes.fit import fit
from traces.processes.ratemodel import RateModel, arrivals
from traces.processes.sessions import Sessions, fit_sessions, named
from traces.readers.formats import read
from traces.readers.reading import Reading


def fitted(
    rng: np.random.Generator, *, file: str, rate: float | None = None, duration: float | None = None, start: float = 0.0
) -> Draft:
    """Traffic like a trace's: its rate curve, its burstiness from 1 s to minutes, its busiest and empty seconds.

    `file` is a trace in any known format, or parameters that were saved (.json). `start` is where in the curve to
    begin. A trace's tenants come in sessions like its own. Without `rate` and `duration` both are the trace's; a longer
    duration repeats the curve.
    """
    model = rate_model(Path(file))
    draft = arrivals(model, rng, rate=rate, duration=duration, start=start)
    notes: tuple[str, ...] = (f"fitted to {model.source}",)
    if model.sessions is not None:
        draft = replace(draft, columns={"tenant": named(model.sessions.draw(rng, len(draft.arrival_s)))})
    end = start + (model.seconds if duration is None else duration)
    if end > model.seconds * (1 + 1e-9):
        notes += (f"its rate curve of {model.seconds:.6g} s is repeated",)
    return replace(draft, notes=notes)


def rate_model(path: Path) -> RateModel:
    """Saved parameters, or those fitted to a trace file. Raises LookupError where there is no such file."""
    if not path.exists():
        raise LookupError(f"no file {str(path)!r} to fit to: name a trace or saved parameters (.json)")
    if path.suffix == ".json":
        return RateModel.load(path)
    return fit(read(path, "auto", Reading()).trace(str(path)))


def sessions_of(path: Path) -> Sessions:
    """The tenants of saved parameters, or those fitted to a trace file.

    Raises LookupError where there is no such file, ValueError where it has no tenants.
    """
    if not path.exists():
        raise LookupError(f"no file {str(path)!r} to fit tenants to: name a trace or saved parameters (.json)")
    if path.suffix == ".json":
        found = RateModel.load(path).sessions
    else:
        tenants = read(path, "auto", Reading()).columns.get("tenant")
        found = None if tenants is None else fit_sessions(tenants)
    if found is None:
        raise ValueError(f"{path} has no tenants to fit")
    return found
