"""Load: a path, a generator's spec or a shipped name becomes a trace with lengths, at the rate that was asked for."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet
from numpy.typing import NDArray

from traces import files
from traces.columns import TYPES
from traces.draft import Draft
from traces.lengths import length_model
from traces.processes.generators import GENERATORS
from traces.readers import formats, named
from traces.readers.reading import Reading
from traces.readers.tokenizing import PER_WORD, count_tokens, estimated_tokens
from traces.scaling import cut, scale
from traces.shared.text import did_you_mean
from traces.spec import Spec, call
from traces.streams import Stream, stream
from traces.tenancy import with_tenants
from traces.trace import Trace

if TYPE_CHECKING:
    from pandas import DataFrame

SHIPPED = Path(__file__).parent / "shipped"
#: Traces that come with the package: parameters fitted to real traffic, for `fit:`.
NAMED = {
    "twitter-like": "a day of Twitter's public stream: level with about ten long bursts",
    "azure-conversation-like": "an hour of a chat service: nearly Poisson on a slow wave",
    "azure-code-like": "an hour of a code-completion service: three quarters of all seconds empty, short peaks",
}


def load(
    source: str | os.PathLike[str] | DataFrame,
    *,
    format: str = "auto",
    rate: float | None = None,
    rate_mode: str = "superpose",
    start: float | None = None,
    duration: float | None = None,
    lengths: str | os.PathLike[str] | None = None,
    tenants: str | None = None,
    seed: int = 0,
    max_tokens: int | None = None,
    longest: int | None = None,
    bin_s: float | None = None,
    sort: bool = False,
    columns: Mapping[str, str] | None = None,
    time_unit: str | None = None,
    tokenizer: str | os.PathLike[str] | None = None,
    arrivals: str | None = None,
) -> Trace:
    """Load a trace file, run a generator's spec (`poisson:rate=2000,duration=60`), or a shipped name (`twitter-like`).

    A DataFrame is read as a file with its columns would be; an index of times becomes the column timestamp.

    start and duration cut a file: so many seconds of its observed time, from start seconds into it on. Of a generator
    duration sets the duration, and start leaves out its head. rate then sets the mean rate: of a generator (with its
    head) by its settings, of a file by `scale` with rate_mode (a generator too, where the mode is not superpose);
    a file to be compressed gives its first rate x duration requests. lengths, a file or a spec, draws or replaces
    token counts; without it those of texts are estimated from their words, and a trace without texts gets short-text.
    max_tokens clips every length; longest, what a table can serve, those of other formats than ours and of `lengths`,
    while a longer request of our own format is for the caller to refuse. tenants, a spec, draws or
    replaces who asks. What was decided and altered is said in `Trace.notes`.

    For files: bin_s is the length of a bin of counts (default: 1 s, or as far apart as the bins are); sort allows rows
    out of order; columns names the columns of any table ({"arrival": "ts", "tokens": "n"}); time_unit is that of its
    times (s, ms, us, ns, iso; default: the format's); tokenizer, a folder, counts the tokens of its text; arrivals, a
    spec, gives times to a file that has none.

    Raises LookupError for an unknown source, ValueError for bad input, in one line.
    """
    if not isinstance(source, str | os.PathLike):
        how = {name: value for name, value in locals().items() if name != "source"}
        return _of_frame(source, how)
    path = Path(source)
    if os.path.exists(source):
        reading = Reading(bin_s, seed, sort, columns or {}, time_unit)
        draft = formats.read(path, format, reading) if arrivals is None else _timed(path, reading, arrivals)
        if tokenizer is not None and lengths is None:
            draft = _tokenized(draft, Path(tokenizer), path)
        trace = _resize(draft.trace(str(source)), rate, rate_mode, start or 0.0, duration, seed)
    else:
        by_mode = None if rate_mode == "superpose" else rate
        lasts = None if duration is None else duration + (start or 0.0)
        draft = generate(str(source), None if by_mode else rate, lasts, seed)
        trace = _resize(draft.trace(str(source)), by_mode, rate_mode, start or 0.0, None, seed)
    trace = _with_lengths(trace, draft, lengths, seed)
    kept = draft.own and draft.has_lengths and lengths is None
    for most in (max_tokens, None if kept else longest):
        trace = trace if most is None else _clip(trace, most)
    return trace if tenants is None else with_tenants(trace, tenants, stream(seed, Stream.TENANTS))


def _of_frame(frame: DataFrame, how: dict[str, Any]) -> Trace:
    """The trace of a DataFrame, by way of Parquet: every check of a file is made. how: the arguments of `load`."""
    from pandas import DatetimeIndex

    if isinstance(frame.index, DatetimeIndex):
        frame = frame.rename_axis(index="timestamp").reset_index()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "frame.parquet"
        try:
            pyarrow.parquet.write_table(pa.Table.from_pandas(frame, preserve_index=False), path)
            return replace(load(path, **how), source="a DataFrame")
        except (ValueError, TypeError, pa.ArrowException) as error:
            raise ValueError(str(error).splitlines()[0].replace(str(path), "the DataFrame")) from None


def generate(source: str, rate: float | None, duration: float | None, seed: int) -> Draft:
    """Run a spec or shipped name; rate and duration win over the spec's own."""
    spec = Spec.parse(source)
    if spec.kind in NAMED:
        spec = Spec("fit", str(SHIPPED / f"{spec.kind}.json"), spec.values)
    if spec.kind not in GENERATORS:
        raise LookupError(
            f"no trace {source!r}: neither a file, nor one of {', '.join(NAMED)}, "
            f"nor a generator ({', '.join(GENERATORS)}, as in poisson:rate=2000,duration=60)"
            f"{did_you_mean(spec.kind, (*NAMED, *GENERATORS))}"
        )
    given = {name: value for name, value in (("rate", rate), ("duration", duration)) if value is not None}
    if "rate" in given and "base" in spec.values:
        spec = replace(spec, values={key: text for key, text in spec.values.items() if key != "base"})
    return call(GENERATORS[spec.kind], spec, stream(seed, Stream.ARRIVALS), **given)


def _timed(path: Path, reading: Reading, arrivals: str) -> Draft:
    """The rows of a file without times, at the first arrivals of a spec."""
    if {"arrival", "arrival_s"} & set(reading.columns):
        raise ValueError("--columns names an arrival column and --arrivals gives other times: leave one of them out")
    columns = named.read_columns(path, reading.columns or {"text": "text"})
    draft = generate(arrivals, None, None, reading.seed)
    rows = len(next(iter(columns.values())))
    used = min(rows, len(draft.arrival_s))
    note = f"{used} of {rows} rows, at the first {used} of {len(draft.arrival_s)} arrivals of {arrivals}"
    columns = {name: column[:used] for name, column in columns.items()}
    return Draft(draft.arrival_s[:used], columns, None, (*draft.notes, note))


def _tokenized(draft: Draft, folder: Path, path: Path) -> Draft:
    if "text" not in draft.columns:
        raise ValueError(f"{path} has no text to count tokens of: name its column with --columns text=NAME")
    tokens = count_tokens(draft.columns["text"].tolist(), folder)
    notes = (*draft.notes, f"tokens counted by {folder / 'tokenizer.json'}")
    return replace(draft, columns={**draft.columns, "tokens": tokens}, notes=notes)


def _resize(trace: Trace, rate: float | None, mode: str, start: float, duration: float | None, seed: int) -> Trace:
    if start:
        trace = cut(trace, start=start)
    if rate is not None and mode == "compress" and duration is not None:
        wanted = round(rate * duration)
        if wanted < len(trace):
            # The first rate x duration requests, compressed into the duration: the mean is exact for what is kept.
            end = float(trace.arrival_s[wanted])
            trace = cut(trace, end - trace.window[0])
        elif wanted > len(trace):
            lasts = f"its {len(trace)} requests last {len(trace) / rate:.6g} s only at {rate:.6g} requests/s"
            trace = trace.noted(lasts)
    elif duration is not None:
        trace = cut(trace, duration)
    return trace if rate is None else scale(trace, rate, mode=mode, seed=seed)


def _with_lengths(trace: Trace, draft: Draft, lengths: str | os.PathLike[str] | None, seed: int) -> Trace:
    if lengths is None and (draft.has_lengths or trace.text is not None):
        return trace if draft.has_lengths else _estimated(trace)
    model = length_model(str(lengths or "short-text"), _recorded)
    trace = replace(trace, tokens=model(stream(seed, Stream.LENGTHS), places(trace)))
    return trace.noted(f"lengths drawn from {lengths or 'short-text'}" + (", replacing its own" * draft.has_lengths))


def _estimated(trace: Trace) -> Trace:
    """Lengths by the words of the texts, as nobody counted their tokens."""
    assert trace.text is not None
    note = f"tokens estimated: 2 and {PER_WORD} for each word or mark of the text; --tokenizer DIR counts them"
    return replace(trace, tokens=estimated_tokens(trace.text.tolist())).noted(note)


def _clip(trace: Trace, max_tokens: int) -> Trace:
    if max_tokens < 1:
        raise ValueError(f"max_tokens is {max_tokens} (must be at least 1)")
    longer = int((trace.tokens > max_tokens).sum())
    if not longer:
        return trace
    note = f"{longer} of {len(trace)} requests ({longer / len(trace):.1%}) clipped to {max_tokens} tokens"
    return replace(trace, tokens=np.minimum(trace.tokens, np.int32(max_tokens)), notes=(*trace.notes, note))


def _recorded(path: Path) -> tuple[NDArray[np.int32], NDArray[np.float64]]:
    """The lengths in a file and their places in its time (0 to 1, evenly where it has no times)."""
    if not path.exists():
        raise LookupError(f"no file {str(path)!r} to draw lengths from")
    names = () if files.is_json(files.first_bytes(path)) else files.header(path)
    if "tokens" in names and "arrival_s" not in names:
        tokens = files.read(path, {"tokens": TYPES["tokens"]})["tokens"]
        rows = np.arange(len(tokens), dtype=np.float64)
        return Trace(rows, tokens, source=str(path)).tokens, rows / len(rows)
    if "text" in names and "arrival_s" not in names:
        raise ValueError(_uncounted(path))
    draft = formats.read(path, "auto", Reading())
    if not draft.has_lengths:
        raise ValueError(_uncounted(path))
    trace = draft.trace(str(path))
    return trace.tokens, places(trace)


def _uncounted(path: Path) -> str:
    return (
        f"{path} has no token counts: count them with python -m traces convert {path} "
        f"--columns text=NAME --tokenizer DIR --arrivals constant:rate=1,duration=1e6 -o lengths.parquet"
    )


def places(trace: Trace) -> NDArray[np.float64]:
    """Where in the trace's time each request arrives, 0 to 1."""
    start, end = trace.window
    return np.minimum((trace.arrival_s - start) / (end - start or 1.0), 1.0)
