"""Access logs: Nginx, Apache and Envoy, as lines of text or of JSON; and Triton's own log and trace."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from traces import files
from traces.draft import Draft
from traces.readers import triton
from traces.readers.logs import Logged, requests
from traces.readers.reading import Reading

#: Common and combined formats, whatever stands before the time or after the size.
_COMMON = re.compile(
    r'\[(\d\d/\w{3}/\d{4}:\d\d:\d\d:\d\d [+-]\d{4})\] "((?:[^"\\]|\\.)*)" \d{3} (?:\d+|-)'
    r'(?:\s+"(?:[^"\\]|\\.)*")*(.*)'
)
#: What follows of Nginx: $request_time in seconds, bare or named. Apache's %D is a whole number.
_SECONDS = re.compile(r'(?:^|\s|(?:rt|request_time|time)="?)(\d+\.\d+)"?(?:\s|$)')
#: Envoy's default format: the time is that of the start.
_ENVOY = re.compile(r'\[(\d{4}-\d\d-\d\dT[\d:.]+(?:Z|[+-]\d\d:?\d\d))\] "((?:[^"\\]|\\.)*)" \d+ ')
#: Triton with --log-verbose=1: 2 is POST; the time has no year.
_TRITON = re.compile(r'^I(\d\d)(\d\d) (\d\d:\d\d:\d\d\.\d+) .*HTTP request: 2 (/v2/models/\S+/infer)"?')
_YEAR = 2000

#: Of JSON lines: fields with the time of the end, of the start, and of either; as they are preferred.
_ENDS, _STARTS, _EITHER = (
    ("msec", "time_iso8601", "time_local"),
    ("start_time", "StartUTC"),
    ("@timestamp", "timestamp", "time", "ts"),
)
#: Fields with the duration, and the microseconds of their unit. Envoy's `duration` comes with a start.
_DURATIONS = {"request_time": 1e6, "request_time_ms": 1e3, "duration_ms": 1e3, "duration_s": 1e6, "duration_us": 1.0}
_PATHS = ("uri", "request_uri", "path", "request")
_TELLING = ("request_time", "time_local", "time_iso8601", "msec", "start_time")
TEXT_LIKE = '127.0.0.1 - - [10/Oct/2026:13:55:36 +0000] "POST /predict HTTP/1.1" 200 12 (Nginx, Apache), or Envoy\'s'
JSON_LIKE = '{"msec": "1700000000.123", "request_time": "0.012", ...} (Nginx) or {"start_time": ...} (Envoy)'
TRITON_LIKE = "I1010 13:55:36.000001 1 http_server.cc:1] HTTP request: 2 /v2/models/NAME/infer (--log-verbose=1)"


def access(path: Path, reading: Reading) -> Draft:
    """Access logs of Nginx and Apache (common, combined, with $request_time or %D at the end) and Envoy (default)."""
    return requests(path, _text, TEXT_LIKE, reading)


def access_json(path: Path, reading: Reading) -> Draft:
    """Access logs as JSON lines: Nginx (msec, time_iso8601 or time_local, request_time), Envoy (start_time)."""
    return requests(path, _json, JSON_LIKE, reading)


def triton_log(path: Path, reading: Reading) -> Draft:
    """Triton's log with --log-verbose=1: the HTTP requests for inference; the times have no year."""
    return requests(path, _triton, TRITON_LIKE, reading)


def triton_trace(path: Path, reading: Reading) -> Draft:
    """Triton's trace (--trace-config triton,file=...,level=TIMESTAMPS): a list of objects; a request begins once."""
    found, parts = triton.requests(path)
    starts = [min(moments.values()) for moments in found]
    base = min(starts)
    notes = (
        f"t = 0 is {base} ns of Triton's clock",
        *([f"{parts} parts of ensembles are left out"] if parts else []),
    )
    return Draft(np.sort(np.array([ns - base for ns in starts], np.int64)) / 1e9, notes=notes)


def detected(head: bytes) -> tuple[str, str] | None:
    """The format of a log by its beginning, and by what it was told; None where it is none of these."""
    lines = head.decode("utf-8", errors="replace").splitlines()[:20]
    kinds: dict[str, Callable[[str], Logged | None]] = {"access": _text, "triton-log": _triton}
    for name, reads in kinds.items():
        if any(map(reads, lines)):
            return name, "it has lines of requests to a server"
    if files.is_json(head):
        if b'"timestamps"' in head and b'"ns"' in head:
            return "triton-trace", "it is JSON with timestamps in ns"
        if any(_json(line) is not None and any(f'"{name}"' in line for name in _TELLING) for line in lines):
            return "access-json", "it has lines of JSON with the time of a request"
    return None


def _text(line: str) -> Logged | None:
    if (found := _COMMON.search(line)) is not None:
        stamp, request, rest = found.groups()
        with suppress(ValueError):
            took = 0
            if (seconds := _SECONDS.search(rest)) is not None:  # Nginx logs a request when it ends
                took = round(float(seconds[1]) * 1e6)
            # Apache's time is that of the start: its %D changes nothing.
            return Logged(_clock(stamp), took, _path(request))
    if (found := _ENVOY.search(line)) is not None:
        with suppress(ValueError):
            return Logged(_iso(found[1]), 0, _path(found[2]))
    return None


def _triton(line: str) -> Logged | None:
    if (found := _TRITON.match(line)) is None:
        return None
    month, day, clock, path = found.groups()
    with suppress(ValueError):
        return Logged(_iso(f"{_YEAR}-{month}-{day}T{clock}"), 0, path)
    return None


def _json(line: str) -> Logged | None:
    try:
        found = json.loads(line)
    except (ValueError, RecursionError):
        return None
    if not isinstance(found, dict):
        return None
    path = next((_path(str(found[name])) for name in _PATHS if found.get(name)), "")
    with suppress(ValueError, TypeError, OverflowError):
        for name in _STARTS:
            if name in found:
                return Logged(_moment(found[name]), 0, path)
        took = next((round(float(found[name]) * unit) for name, unit in _DURATIONS.items() if name in found), 0)
        for name in (*_ENDS, *_EITHER):
            if name in found:
                return Logged(_moment(found[name]), took, path)
    return None


def _moment(value: Any) -> int:
    """Microseconds of the epoch of a time: a date in text, or a number (in quotes, too) of s, ms, us or ns."""
    try:
        number = float(value)
    except (ValueError, TypeError):
        text = str(value)
        return _clock(text) if "/" in text else _iso(text)
    for unit in (1e6, 1e3, 1.0, 1e-3):
        if 0 <= number * unit < 1e17:
            return round(number * unit)
    raise ValueError(value)


@lru_cache(4096)
def _clock(text: str) -> int:
    """Of 10/Oct/2026:13:55:36 +0000."""
    return round(datetime.strptime(text, "%d/%b/%Y:%H:%M:%S %z").timestamp()) * 1_000_000


def _iso(text: str) -> int:
    found = datetime.fromisoformat(text)
    found = found if found.tzinfo else found.replace(tzinfo=UTC)
    return int(found.timestamp()) * 1_000_000 + found.microsecond


def _path(request: str) -> str:
    """The path of "POST /predict?x=1 HTTP/1.1", or of /predict?x=1."""
    words = request.split()
    return (words[1] if len(words) > 1 else request).partition("?")[0]
