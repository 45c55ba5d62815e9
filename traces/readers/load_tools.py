"""What load tools write of the requests that they sent, as traces: AIPerf's records, guidellm's benchmarks."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from traces import files
from traces.draft import Draft
from traces.readers.reading import Reading
from traces.shared.documents import parse_json


def aiperf(path: Path, reading: Reading) -> Draft:
    """AIPerf's profile_export.jsonl: request_start_ns, input_sequence_length; t = 0 is the first request."""
    rows, warm = [], 0
    for line, record in _lines(path):
        about, metrics = (record.get(name) for name in ("metadata", "metrics"))
        if not isinstance(about, dict) or not isinstance(metrics, dict):
            raise ValueError(f"{path}, line {line}: a record of AIPerf has the objects metadata and metrics")
        if about.get("benchmark_phase") == "warmup":
            warm += 1
            continue
        length = metrics.get("input_sequence_length")
        tokens = length.get("value") if isinstance(length, dict) else None
        rows.append((f"line {line}", about.get("request_start_ns"), tokens))
    notes = (f"{warm} requests of the warm-up are left out",) if warm else ()
    return _draft(path, rows, 1e-9, notes)


def guidellm(path: Path, reading: Reading) -> Draft:
    """guidellm's benchmarks.json: request_start_time, prompt_tokens of every request; t = 0 is the first."""
    found = parse_json(files.content(path), path)
    listed = found.get("benchmarks") if isinstance(found, dict) else None
    if not isinstance(listed, list):
        raise ValueError(f"{path} has no list of benchmarks, as guidellm writes")
    rows = []
    for number, each in enumerate(listed):
        requests = each.get("requests") if isinstance(each, dict) else None
        if not isinstance(requests, dict):
            raise ValueError(f"{path}, benchmark {number}: it has no object requests")
        for outcome in ("successful", "errored", "incomplete"):
            for at, own in enumerate(requests.get(outcome) or ()):
                if not isinstance(own, dict):
                    raise ValueError(f"{path}, benchmark {number}: {outcome} request {at} is no object")
                where = f"benchmark {number}, {outcome} request {at}"
                rows.append((where, own.get("request_start_time"), own.get("prompt_tokens")))
    notes = (f"{len(listed)} benchmarks, one after another",) if len(listed) > 1 else ()
    return _draft(path, rows, 1.0, notes)


def _draft(path: Path, rows: Iterable[tuple[str, Any, Any]], unit_s: float, notes: tuple[str, ...]) -> Draft:
    """A trace of (where, start, tokens), sorted; requests that were never sent, or have no length, are left out."""
    starts, lengths, unsent = [], [], 0
    for where, start, tokens in rows:
        if start is None or tokens is None:
            unsent += 1
            continue
        if type(start) not in (int, float) or not 0 <= start < 1e19:
            raise ValueError(f"{path}, {where}: its start is {start!r:.40} (must be a time)")
        if type(tokens) not in (int, float) or tokens != int(tokens) or not 0 <= tokens < 2**31:
            raise ValueError(f"{path}, {where}: it has {tokens!r:.40} tokens (must be a whole number)")
        starts.append(start)
        lengths.append(max(1, int(tokens)))
    if not starts:
        raise ValueError(f"{path} has no request with a start and a length")
    base = min(starts)  # before anything is rounded: nanoseconds of the epoch are no floats
    arrival_s = np.array([(start - base) * unit_s for start in starts])
    order = np.argsort(arrival_s, kind="stable")
    if unsent:
        notes += (f"{unsent} requests without a start or a length are left out",)
    tokens = np.asarray(lengths, np.int32)[order]
    return Draft(arrival_s[order], {"tokens": tokens}, notes=(f"t = 0 is {base} of the tool's clock", *notes))


def _lines(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    for number, line in enumerate(files.content(path).splitlines(), 1):
        if line.strip():
            found = parse_json(line, f"{path}, line {number}")
            if not isinstance(found, dict):
                raise ValueError(f"{path}, line {number}: it is no object")
            yield number, found
