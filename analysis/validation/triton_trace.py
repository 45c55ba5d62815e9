"""A trace that Triton wrote of its requests, against its twin: the same arrivals, a table of it, and its own rule."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from simulator.reporting.boundaries import BOUNDARIES
from simulator.settings import Settings, prepare
from traces import Trace, write
from traces.readers import triton
from traces.shared.text import aligned, milliseconds, percent

#: Triton's moments of a request, in order, of a trace with level=TIMESTAMPS.
MOMENTS = ("REQUEST_START", "QUEUE_START", "COMPUTE_START", "COMPUTE_END", "REQUEST_END")
#: How far the twin may be: p50 and p99 as shares, attainment in points.
BOUNDS = {"p50_s": 0.03, "p99_s": 0.05, "attainment": 0.005}


def read(path: Path) -> NDArray[np.float64]:
    """Seconds [requests, MOMENTS] from the first request on, by arrival; parts of ensembles are left out.

    So are requests that lack a moment, or have them out of order. Raises ValueError where none is left.
    """
    found, _ = triton.requests(path)
    rows = [[own[name] for name in MOMENTS] for own in found if set(MOMENTS) <= own.keys()]
    ns = np.array([row for row in rows if row == sorted(row)], np.int64)
    if not len(ns):
        raise ValueError(
            f"{path} has no request with {', '.join(MOMENTS)} in order: trace with level=TIMESTAMPS "
            "(--trace-config level=TIMESTAMPS --trace-config rate=1)"
        )
    ns = ns[np.argsort(ns[:, 0], kind="stable")]
    return np.asarray((ns - ns[0, 0]) / 1e9, np.float64)


def compare(path: Path, settings: Settings) -> dict[str, Any]:
    """The figures of what happened, and of the simulation of the same arrivals by the settings, as plain values.

    Lengths are not in Triton's trace: those of the settings are drawn. The host's part is Triton's own: it is in the
    times before the queue and after computing, which the twin has within its batches.
    """
    times = read(path)
    with tempfile.TemporaryDirectory() as folder:
        arrivals = Path(folder) / "arrivals.csv"
        _write(times[:, 0], arrivals)
        prepared = prepare(Settings(**{**vars(settings), "trace": str(arrivals), "host_time": "none"}))
        twin = prepared.run()
    latency = times[:, -1] - times[:, 0]
    summary = twin.summary
    p50, p99 = np.percentile(latency, [50, 99]).tolist()
    stretches = dict(zip(BOUNDARIES, np.diff(times).mean(axis=0).tolist(), strict=True))
    return {
        "requests": len(times),
        "policy": twin.run["policy"],
        "slo_s": twin.slo_s,
        "happened": {"p50_s": p50, "p99_s": p99, "attainment": float((latency <= twin.slo_s).mean())},
        "twin": {name: summary[name] for name in BOUNDS},
        "stretches": stretches,
        "twin_wait_s": summary["wait_mean_s"],
    }


def missed(found: Mapping[str, Any]) -> list[str]:
    """The figures of the twin that are further off than BOUNDS."""
    return [name for name, bound in BOUNDS.items() if not _apart(found, name) <= bound]


def page(found: Mapping[str, Any]) -> str:
    """The comparison as an aligned table."""
    happened, twin = found["happened"], found["twin"]
    rows = [["", "happened", "twin", "apart", "bound", ""]]
    for name, bound in BOUNDS.items():
        word = "missed" if name in missed(found) else "met"
        if name == "attainment":
            cells = [percent(happened[name]), percent(twin[name]), f"{_apart(found, name) * 100:.2f} points"]
            rows.append(["on time", *cells, f"{bound * 100:g} points", word])
        else:
            cells = [*(f"{milliseconds(each[name])} ms" for each in (happened, twin)), f"{_apart(found, name):.1%}"]
            rows.append([name.removesuffix("_s"), *cells, f"{bound:.0%}", word])
    where = ", ".join(f"{name} {milliseconds(seconds)}" for name, seconds in found["stretches"].items())
    return "\n".join(
        [
            f"{found['requests']:,} requests, twin {found['policy']}, target {milliseconds(found['slo_s'])} ms",
            "",
            aligned(rows),
            f"where the time went, mean ms: {where}; in the twin's queue {milliseconds(found['twin_wait_s'] or 0.0)}",
            "not judged: how quiet the machine was; a trace does not say",
        ]
    )


def _apart(found: Mapping[str, Any], name: str) -> float:
    ours, theirs = found["happened"][name], found["twin"][name]
    if theirs is None:
        return float("inf")
    return float(abs(theirs - ours) if name == "attainment" else abs(theirs / ours - 1))


def _write(arrival_s: NDArray[np.float64], path: Path) -> None:
    """A trace of these arrivals; its lengths are replaced."""
    write(Trace(arrival_s, np.ones(len(arrival_s), np.int32)), path)
