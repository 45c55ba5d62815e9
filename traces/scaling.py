"""Scaling: the same traffic at another rate, in the three ways that keep different things."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from traces.arrivals import bounded
from traces.clients import client_numbers, renamed
from traces.readers.findings import tick
from traces.streams import Stream, stream
from traces.trace import Trace

MODES = {
    "superpose": "whole copies with small independent jitter, the fraction thinned: bursts keep their length",
    "thin": "a random subset: the rate keeps its shape over time (only to a lower rate)",
    "compress": "time divided: the shape is kept exactly, and bursts become shorter",
}


def scale(trace: Trace, rate: float, *, mode: str = "superpose", seed: int = 0) -> Trace:
    """The trace at a mean rate of `rate` requests per second, with a note that says how.

    superpose: the trace itself, plus copies in which every arrival is moved by up to the trace's mean gap (the finest
    scale at which it says anything about its rate), plus a random part of one more copy. Counts over windows much
    longer than that are multiplied, so bursts keep their length, and index of dispersion - 1
    grows with the rate as it does when one service's traffic grows. Below the trace's own rate this is thinning.
    thin: a random subset. The rate keeps its shape; the index of dispersion moves towards 1 (Poisson).
    compress: arrival times divided. Counts over windows divided alike are exactly the same; bursts are shorter against
    time-outs and batch times, which stay as they are.

    Raises ValueError for an unknown mode, a rate that is not positive, a trace without extent in time, and thinning to
    a higher rate.
    """
    if mode not in MODES:
        raise ValueError(f"no scaling mode {mode!r}; choose {', '.join(MODES)}")
    if not 0 < rate < math.inf:
        raise ValueError(f"rate is {rate} (must be positive and finite)")
    if trace.rate is None:
        raise ValueError(f"trace {trace.source}: all requests arrive at one instant, so it has no rate to scale")
    factor = rate / trace.rate
    if mode == "compress":
        scaled = compress(trace, factor)
    elif mode == "thin" or factor < 1:
        if factor > 1:
            raise ValueError(
                f"thinning cannot raise the rate from {trace.rate:.6g} to {rate:.6g} requests/s: superpose or compress"
            )
        scaled = _subset(trace, factor, stream(seed, Stream.SCALING))
    else:
        scaled = _superpose(trace, factor, 1 / trace.rate, stream(seed, Stream.SCALING))
    verb = {"superpose": "superposing", "thin": "thinning", "compress": "compressing time"}[mode]
    return scaled.noted(f"scaled by {factor:.4g} to {rate:.6g} requests/s by {verb}")


def cut(trace: Trace, duration: float | None = None, start: float = 0.0) -> Trace:
    """The `duration` seconds of the observed window from `start` seconds into it on; without a duration, all the rest.

    Times stay as they are; the window becomes what was cut out. Raises ValueError for a duration that is not positive,
    a start outside the window, and a cut that holds no request.
    """
    if duration is not None and not 0 < duration < math.inf:
        raise ValueError(f"duration is {duration} (must be positive and finite)")
    if not 0 <= start < math.inf:
        raise ValueError(f"start is {start} (must be a number of seconds, at least 0)")
    begin, end = trace.window
    left = (trace.seconds or 0.0) - start
    if start and left <= 0:
        raise ValueError(
            f"trace {trace.source} lasts {left + start:g} s only, so it cannot start {start:g} s into that"
        )
    rest = duration is None or duration > left
    if duration is not None and rest:
        last = f"lasts {left:.6g} s only, shorter than the {duration:.6g} s asked for: not cut" + " at the end" * (
            start > 0
        )
        trace = trace.noted(last)
    if rest and not start:
        return trace
    since = begin + start
    seconds = left if duration is None or rest else duration
    until = end if rest else since + seconds
    first = int(np.searchsorted(trace.arrival_s, since)) if start else 0
    stop = len(trace) if rest else int(np.searchsorted(trace.arrival_s, until))
    where = f"first {duration:g} s" if not start else f"{seconds:g} s from {start:g} s on"
    if stop == first:
        raise ValueError(f"trace {trace.source}: no request arrives in the {where}")
    kept = replace(trace.take(slice(first, stop)), start_s=since, duration_s=seconds)
    return kept.noted(f"cut to its {where} ({len(kept)} of {len(trace)} requests)")


def spread_ticks(trace: Trace, seed: int = 0) -> Trace:
    """Spread arrivals uniformly over the tick that follows their stamp; as it is where stamps lie on no coarse tick."""
    step = tick(np.diff(trace.arrival_s))
    if step is None:
        return trace.noted("stamps lie on no coarse tick: nothing was spread")
    whose, clients = _clients(trace)
    moved = trace.arrival_s + stream(seed, Stream.SCALING).random(clients)[whose] * step
    if trace.duration_s is not None:  # the last tick may reach beyond the window
        trace = replace(trace, duration_s=max(trace.duration_s, float(moved.max()) - trace.start_s))
    return _rearranged(trace, np.arange(len(trace)), moved).noted(f"spread over ticks of {step:g} s")


def join(traces: Sequence[Trace]) -> Trace:
    """One trace after the other: each starts where the window of the one before ends, and the notes say where.

    Columns that not all of them have are left out.
    """
    names = [name for name, _ in traces[0].columns() if all(getattr(trace, name) is not None for trace in traces)]
    columns: dict[str, Any] = {name: np.concatenate([getattr(trace, name) for trace in traces]) for name in names}
    windows = [trace.window for trace in traces]
    seams = np.concatenate([[0.0], np.cumsum([trace.seconds or 0.0 for trace in traces])]).tolist()
    columns["arrival_s"] = np.concatenate(
        [trace.arrival_s + (seam - start) for trace, (start, _), seam in zip(traces, windows, seams[:-1], strict=True)]
    )
    if "parent" in columns:  # the same name in two files is two requests
        file = np.repeat(np.arange(len(traces)), [len(trace) for trace in traces])
        own = client_numbers(columns["parent"])
        columns["parent"] = renamed(columns["parent"], file * (int(own.max()) + 1) + own)
    at = ", ".join(f"{seam:.6g}" for seam in seams[1:-1])
    notes = tuple(note for trace in traces for note in trace.notes) + (f"joined {len(traces)} files; seams at {at} s",)
    return Trace(**columns, duration_s=seams[-1], source=" + ".join(trace.source for trace in traces), notes=notes)


def compress(trace: Trace, factor: float) -> Trace:
    """The same requests, `factor` times as fast."""
    duration = None if trace.duration_s is None else trace.duration_s / factor
    return replace(trace, arrival_s=trace.arrival_s / factor, start_s=trace.start_s / factor, duration_s=duration)


def _subset(trace: Trace, share: float, rng: np.random.Generator) -> Trace:
    whose, clients = _clients(trace)
    rows = _rows_of(whose, _choose(clients, round(share * clients), rng))
    if not len(rows):
        raise ValueError(f"trace {trace.source}: {share:.3g} of its {len(trace)} requests is less than one")
    return trace.take(rows)


def _superpose(trace: Trace, factor: float, jitter_s: float, rng: np.random.Generator) -> Trace:
    n = len(trace)
    bounded(n * factor)
    whose, clients = _clients(trace)
    copies, part = int(factor), round((factor - int(factor)) * clients)
    last = _rows_of(whose, _choose(clients, part, rng))
    rows = np.concatenate([np.tile(np.arange(n), copies), last])
    start, end = trace.window
    moved = trace.arrival_s[rows]
    if trace.parent is None:
        moved[n:] += rng.uniform(-jitter_s, jitter_s, len(rows) - n)
        parent = None
    else:  # texts of one client request move together, and are another request in each copy
        number = np.repeat(np.arange(copies + 1), [n] * copies + [len(last)]) * clients + whose[rows]
        names, together = np.unique(number[n:], return_inverse=True)
        moved[n:] += rng.uniform(-jitter_s, jitter_s, len(names))[together]
        parent = renamed(trace.parent[rows], number)
    # What is moved out of the observed time is reflected into it: the first and last second keep their counts.
    np.abs(moved - start, out=moved)
    moved = end - np.abs(end - (start + moved))
    np.clip(moved, start, np.nextafter(end, 0) if trace.duration_s is not None else end, out=moved)
    moved[:n] = trace.arrival_s
    return _rearranged(trace, rows, moved, parent)


def _rearranged(
    trace: Trace, rows: NDArray[np.intp], arrival_s: NDArray[np.float64], parent: NDArray[Any] | None = None
) -> Trace:
    """The requests `rows` at new times, which need not be sorted. parent: their new parents, where these change."""
    order = np.argsort(arrival_s, kind="stable")
    columns: dict[str, Any] = {name: column[rows[order]] for name, column in trace.columns()}
    if parent is not None:
        columns["parent"] = parent[order]
    return replace(trace, **(columns | {"arrival_s": arrival_s[order]}))


def _clients(trace: Trace) -> tuple[NDArray[np.int64], int]:
    """The number of each text's client request, and how many there are: what is kept, and moved, as a whole."""
    whose = np.arange(len(trace)) if trace.parent is None else client_numbers(trace.parent)
    return whose, int(whose.max()) + 1


def _rows_of(whose: NDArray[np.int64], chosen: NDArray[np.intp]) -> NDArray[np.intp]:
    """The rows of these client requests, ascending."""
    if len(whose) == int(whose.max()) + 1:  # none has two texts
        return chosen
    kept = np.zeros(int(whose.max()) + 1, bool)
    kept[chosen] = True
    return np.flatnonzero(kept[whose])


def _choose(n: int, count: int, rng: np.random.Generator) -> NDArray[np.intp]:
    """`count` rows of n, each set as likely, ascending."""
    if count == 0:
        return np.zeros(0, np.intp)
    lots = rng.random(n)
    return np.flatnonzero(lots <= np.partition(lots, count - 1)[count - 1])
