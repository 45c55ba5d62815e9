"""Load: a path, a generator's spec or a shipped name becomes a trace with lengths, at the rate that was asked for."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from traces import formats
from traces.draft import Draft
from traces.formats import Reading
from traces.generators import GENERATORS
from traces.lengths import length_model
from traces.scaling import cut, scale, window
from traces.spec import Spec, call
from traces.streams import Stream, stream
from traces.trace import Trace

SHIPPED = Path(__file__).parent / "shipped"
#: Traces that come with the package: parameters fitted to real traffic, for `fit:`.
NAMED = {
    "twitter-like": "a day of Twitter's public stream: level with about ten long bursts",
    "azure-conversation-like": "an hour of a chat service: nearly Poisson on a slow wave",
    "azure-code-like": "an hour of a code-completion service: three quarters of all seconds empty, short peaks",
}


def load(
    source: str | os.PathLike[str],
    *,
    format: str = "auto",
    rate: float | None = None,
    rate_mode: str = "superpose",
    duration: float | None = None,
    lengths: str | os.PathLike[str] | None = None,
    seed: int = 0,
    max_tokens: int | None = None,
    bin_s: float = 1.0,
    sort: bool = False,
) -> Trace:
    """Load a trace file, run a generator's spec (`poisson:rate=2000,duration=60`), or a shipped name (`twitter-like`).

    duration cuts a file to its first seconds and sets a generator's duration. rate then sets the mean rate: of a
    generator by its settings, of a file by `scale` with rate_mode (a generator too, where the mode is not superpose);
    a file to be compressed gives its first rate x duration requests. lengths, a file or a spec, draws or replaces
    token counts; without it a trace that has none gets short-text. max_tokens clips the counts of LLM traces and of
    `lengths`; a trace of our own format is never clipped. What was decided and altered is said in `Trace.notes`.

    Raises LookupError for an unknown source, ValueError for bad input, in one line.
    """
    path = Path(source)
    if path.exists():
        draft = formats.read(path, format, Reading(bin_s, seed, sort))
        trace = _resize(draft.trace(str(source)), rate, rate_mode, duration, seed)
    else:
        by_mode = None if rate_mode == "superpose" else rate
        draft = generate(str(source), None if by_mode else rate, duration, seed)
        trace = _resize(draft.trace(str(source)), by_mode, rate_mode, None, seed)
    return _with_lengths(trace, draft, lengths, seed, max_tokens)


def generate(source: str, rate: float | None, duration: float | None, seed: int) -> Draft:
    """Run a spec or shipped name; rate and duration win over the spec's own."""
    spec = Spec.parse(source)
    if spec.kind in NAMED:
        spec = Spec("fit", str(SHIPPED / f"{spec.kind}.json"), spec.values)
    if spec.kind not in GENERATORS:
        raise LookupError(
            f"no trace {source!r}: neither a file, nor one of {', '.join(NAMED)}, "
            f"nor a generator ({', '.join(GENERATORS)}, as in poisson:rate=2000,duration=60)"
        )
    given = {name: value for name, value in (("rate", rate), ("duration", duration)) if value is not None}
    if "rate" in given and "base" in spec.values:
        spec = replace(spec, values={key: text for key, text in spec.values.items() if key != "base"})
    return call(GENERATORS[spec.kind], spec, stream(seed, Stream.ARRIVALS), **given)


def _resize(trace: Trace, rate: float | None, mode: str, duration: float | None, seed: int) -> Trace:
    if rate is not None and mode == "compress" and duration is not None:
        wanted = round(rate * duration)
        if wanted < len(trace):
            # The first rate x duration requests, compressed into the duration: the mean is exact for what is kept.
            end = float(trace.arrival_s[wanted])
            trace = cut(trace, end - window(trace)[0])
    elif duration is not None:
        trace = cut(trace, duration)
    return trace if rate is None else scale(trace, rate, mode=mode, seed=seed)


def _with_lengths(
    trace: Trace, draft: Draft, lengths: str | os.PathLike[str] | None, seed: int, max_tokens: int | None
) -> Trace:
    if draft.has_lengths and lengths is None:
        return trace if draft.own or max_tokens is None else _clip(trace, max_tokens)
    model = length_model(str(lengths or "short-text"), _recorded)
    start, end = window(trace)
    place = (trace.arrival_s - start) / (end - start or 1.0)
    trace = replace(trace, tokens=model(stream(seed, Stream.LENGTHS), np.minimum(place, 1.0)))
    trace = trace.noted(f"lengths drawn from {lengths or 'short-text'}" + (", replacing its own" * draft.has_lengths))
    return trace if max_tokens is None else _clip(trace, max_tokens)


def _clip(trace: Trace, max_tokens: int) -> Trace:
    if max_tokens < 1:
        raise ValueError(f"max_tokens is {max_tokens} (must be at least 1)")
    longer = int((trace.tokens > max_tokens).sum())
    if not longer:
        return trace
    clipped = replace(trace, tokens=np.minimum(trace.tokens, np.int32(max_tokens)))
    return clipped.noted(
        f"{longer} of {len(trace)} requests ({longer / len(trace):.1%}) clipped to {max_tokens} tokens"
    )


def _recorded(path: Path) -> tuple[NDArray[np.int32], NDArray[np.float64]]:
    """The lengths in a file and their places in time, for the length models that draw from a record."""
    raise NotImplementedError
