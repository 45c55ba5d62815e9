"""A table's folder, written beside its place, loaded once to be sure, and moved there in one step."""

from __future__ import annotations

import csv
import io
import json
import os
import shutil
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from profiler.table.latency import LatencyTable


def write_table(
    out: Path,
    latency: Sequence[Mapping[str, Any]],
    meta: Mapping[str, Any],
    *,
    jitter: Sequence[Mapping[str, Any]] = (),
    accuracy: Sequence[Mapping[str, Any]] = (),
    extra: Iterable[Path] = (),
    replace: bool = False,
) -> LatencyTable:
    """Write latency.csv, meta.json and what else there is; returns the table as it loads.

    extra: files to copy in. Raises ValueError where `out` exists and is not to be replaced.
    """
    refuse_existing(out, replace)
    partial = out.with_name(f"{out.name}.{os.getpid()}.tmp")
    partial.mkdir(parents=True)
    try:
        for name, rows in (("latency", latency), ("jitter", jitter), ("accuracy", accuracy)):
            if rows:
                (partial / f"{name}.csv").write_text(as_csv(rows))
        (partial / "meta.json").write_text(json.dumps(meta, indent=1) + "\n")
        for path in extra:
            shutil.copy(path, partial)
        LatencyTable.load(partial)
        put(partial, out)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return LatencyTable.load(out)


def put(partial: Path, out: Path) -> None:
    """Move a finished folder to its place; what was there before goes only once the new one stands."""
    old = out.with_name(f"{out.name}.{os.getpid()}.old")
    if out.exists():
        os.replace(out, old)
    try:
        os.replace(partial, out)
    except OSError:
        if old.exists():
            os.replace(old, out)
        raise
    shutil.rmtree(old, ignore_errors=True)


def refuse_existing(out: Path, replace: bool) -> None:
    """Raise ValueError where a folder is in the way and may not be replaced, or is not a table."""
    if not out.exists():
        return
    if not replace:
        raise ValueError(f"{out} exists: choose another --out, or add --replace")
    if not out.is_dir() or (any(out.iterdir()) and not (out / "meta.json").exists()):
        raise ValueError(f"{out} is not a table's folder: it will not be replaced")


def as_csv(rows: Sequence[Mapping[str, Any]]) -> str:
    """Rows of equal keys as the text of a CSV file."""
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()
