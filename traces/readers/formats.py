"""Readers: public trace formats, and ours, by name; and which of them a file is in."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa

from traces import files
from traces.columns import COLUMNS
from traces.draft import Draft
from traces.readers import access, recorded
from traces.readers.counts import counts
from traces.readers.findings import findings
from traces.readers.load_tools import aiperf, guidellm
from traces.readers.named import completions, mapped, names_of, texts, timed, times_and_texts
from traces.readers.reading import Reading
from traces.readers.times import read_timed, seconds
from traces.writing import Declared, declared

Reader = Callable[[Path, Reading], Draft]
#: What pandas calls an index that it writes as a column: it is left out.
_INDEX = ("", "Unnamed: 0", "__index_level_0__")


def csv(path: Path, reading: Reading) -> Draft:
    """Our own format as .csv or .csv.gz: arrival_s, optionally tokens, tenant, klass, slo_s, text, item, parent."""
    return _own(path, files.header(path), reading)


def parquet(path: Path, reading: Reading) -> Draft:
    """Our own format as .parquet; the declared window comes with it where we wrote it."""
    return _own(path, files.parquet_schema(path).names, reading)


def azure_llm(path: Path, reading: Reading) -> Draft:
    """Azure LLM inference traces (2023, 2024): TIMESTAMP, ContextTokens; t = 0 is the first request."""
    return _llm(timed(path, "TIMESTAMP", {"tokens": "ContextTokens"}, reading, unit="iso", shift=True))


def burstgpt(path: Path, reading: Reading) -> Draft:
    """BurstGPT: Timestamp in seconds, Request tokens (other columns vary by release)."""
    return _llm(timed(path, "Timestamp", {"tokens": "Request tokens"}, reading, unit="s"))


def mooncake(path: Path, reading: Reading) -> Draft:
    """Mooncake: JSON lines with timestamp in ms and input_length."""
    return _llm(timed(path, "timestamp", {"tokens": "input_length"}, reading, unit="ms"))


def azure_functions_2021(path: Path, reading: Reading) -> Draft:
    """Azure Functions invocations 2021: app, func, end_timestamp, duration; arrival = end - duration, then sorted."""
    kinds = {"app": pa.string(), "func": pa.string(), "duration": pa.float64()}
    read, _ = read_timed(path, "end_timestamp", "s", kinds)
    end_s, _ = seconds(path, "end_timestamp", read["end_timestamp"], "s", shift=False)
    arrival_s = end_s - read["duration"]
    notes: tuple[str, ...] = ("arrival is end_timestamp - duration; sorted by it",)
    early = int((arrival_s < 0).sum())
    if early:
        notes += (f"{early} invocations that began before 0 were moved to 0",)
        arrival_s[arrival_s < 0] = 0.0
    order = np.argsort(arrival_s, kind="stable")
    return Draft(arrival_s[order], {"tenant": read["app"][order], "klass": read["func"][order]}, notes=notes)


def gentd26(path: Path, reading: Reading) -> Draft:
    """GenTD26, requests of a service of many adapters: arrival_s, tenant, base_model (the class), adapters."""
    return timed(path, "arrival_s", {"tenant": "tenant", "klass": "base_model"}, reading)


FORMATS: dict[str, Reader] = {
    "csv": csv,
    "parquet": parquet,
    "azure-llm": azure_llm,
    "burstgpt": burstgpt,
    "mooncake": mooncake,
    "counts": counts,
    "azure-functions-2021": azure_functions_2021,
    "gentd26": gentd26,
    "aiperf": aiperf,
    "guidellm": guidellm,
    "access": access.access,
    "access-json": access.access_json,
    "triton-log": access.triton_log,
    "triton-trace": access.triton_trace,
    "completions": completions,
    "texts": texts,
}
#: The columns that tell a format, most telling first.
_TELLING: dict[str, tuple[str, ...]] = {
    "azure-llm": ("TIMESTAMP", "ContextTokens"),
    "burstgpt": ("Timestamp", "Request tokens"),
    "azure-functions-2021": ("app", "func", "end_timestamp", "duration"),
    "gentd26": ("arrival_s", "base_model", "adapters"),
    "csv": ("arrival_s",),
    "completions": ("end", "duration"),
    "counts": ("count",),
}


def detect(path: Path) -> tuple[str, str]:
    """The name of the format a file is in, and by what it was told. Raises ValueError where none fits."""
    head = files.first_bytes(path)
    if files.is_json(head):
        if b'"bin_s"' in head:
            raise ValueError(f"{path} holds fitted parameters, not requests: use fit:{path}")
        for name, key in (("aiperf", "request_start_ns"), ("guidellm", "benchmarks")):
            if f'"{key}"'.encode() in head:
                return name, f"it is JSON with {key}"
    if (log := access.detected(head)) is not None:
        return log
    if files.is_json(head) and b'"input_length"' in head:
        return "mooncake", "it is JSON with input_length"
    names = [name for name in names_of(path) if name not in _INDEX]
    for name, telling in _TELLING.items():
        if set(telling) <= set(names):
            if name == "csv" and files.is_parquet(path):
                return "parquet", "it is a Parquet file"
            return name, f"it has {'columns' if len(telling) > 1 else 'column'} {', '.join(telling)}"
    if (pair := times_and_texts(names)) is not None:
        return "texts", f"it has times ({pair[0]}) and texts ({pair[1]})"
    if files.is_json(head):
        return "mooncake", "it is JSON"
    raise ValueError(
        f"{files.missing_columns(path, ['arrival_s'], names)}: no known format fits; name the columns with "
        f"python -m traces convert {path} --columns arrival=NAME,tokens=NAME"
    )


def read(path: Path, format: str, reading: Reading) -> Draft:
    """Read a file in a named format, or the one detected; the notes begin with which it was and why."""
    if path.is_dir() and format == "auto" and not reading.columns:
        note = "a recorded session: it is a folder"
        draft = recorded.read(path)
    elif reading.columns:
        note = "columns " + ", ".join(f"{ours}={theirs}" for ours, theirs in reading.columns.items())
        draft = mapped(path, reading)
    elif format == "auto":
        format, why = detect(path)
        note = f"format {format}: {why}"
        draft = FORMATS[format](path, reading)
    elif format in FORMATS:
        note = f"format {format}, as asked"
        draft = FORMATS[format](path, reading)
    else:
        raise LookupError(f"no trace format {format!r}; choose auto, {', '.join(FORMATS)}")
    return replace(draft, notes=(note, *draft.notes, *findings(draft.arrival_s)))


def _own(path: Path, found: list[str], reading: Reading) -> Draft:
    """A file whose columns have our names."""
    names = [name for name in found if name not in _INDEX]
    if "arrival_s" not in names:
        raise ValueError(files.missing_columns(path, ["arrival_s"], found))
    if unknown := [name for name in names if name not in COLUMNS]:
        raise ValueError(
            f"{path}: unknown columns {', '.join(unknown)}; a trace has {', '.join(COLUMNS)} "
            f"(python -m traces convert --columns takes others)"
        )
    unit = reading.time_unit or "s"
    draft = timed(path, "arrival_s", {name: name for name in names if name != "arrival_s"}, reading, shift=unit != "s")
    window = declared(path, draft.arrival_s) if files.is_parquet(path) else Declared()
    index = [name for name in found if name in _INDEX]
    notes = (*draft.notes, *window.notes, *([f"column {index[0]!r} is an index: left out"] if index else []))
    return replace(draft, start_s=window.start_s, duration_s=window.duration_s, notes=notes, own=True)


def _llm(draft: Draft) -> Draft:
    none = draft.columns["tokens"] == 0
    if not none.any():
        return draft
    note = f"{int(none.sum())} requests with 0 tokens count as 1"
    return replace(draft, columns={"tokens": np.where(none, 1, draft.columns["tokens"])}, notes=(*draft.notes, note))
