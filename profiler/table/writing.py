"""A table's folder, written beside its place, loaded once to be sure, and moved there in one step."""

from __future__ import annotations

import csv
import io
import shutil
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from profiler.table.latency import LatencyTable
from traces.shared.atomic import refuse_foreign, replacing_folder
from traces.shared.documents import json_text


def write_table(
    out: Path,
    latency: Sequence[Mapping[str, Any]],
    meta: Mapping[str, Any],
    *,
    jitter: Sequence[Mapping[str, Any]] = (),
    accuracy: Sequence[Mapping[str, Any]] = (),
    layers: Sequence[Mapping[str, Any]] = (),
    interactions: Sequence[Mapping[str, Any]] = (),
    adapters: Sequence[Mapping[str, Any]] = (),
    extra: Iterable[Path] = (),
    replace: bool = False,
) -> LatencyTable:
    """Write latency.csv, meta.json and what else there is; returns the table as it loads.

    interactions: sets of ramps whose times do not add up. extra: files to copy in. Raises ValueError where `out` exists
    and is not to be replaced.
    """
    refuse_existing(out, replace)
    with replacing_folder(out) as partial:
        files = {"latency": latency, "jitter": jitter, "accuracy": accuracy}
        files |= {"layers": layers, "interactions": interactions, "adapters": adapters}
        for name, rows in files.items():
            if rows:
                (partial / f"{name}.csv").write_text(as_csv(rows))
        (partial / "meta.json").write_text(json_text(meta, indent=1) + "\n")
        for path in extra:
            shutil.copy(path, partial)
        LatencyTable.load(partial)
    return LatencyTable.load(out)


def refuse_existing(out: Path, replace: bool) -> None:
    """Raise ValueError where a folder is in the way and may not be replaced, or is not a table."""
    if out.exists() and not replace:
        raise ValueError(f"{out} exists: choose another --out, or add --replace")
    refuse_foreign(out, "meta.json", "a table's folder")


def as_csv(rows: Sequence[Mapping[str, Any]]) -> str:
    """Rows of equal keys as the text of a CSV file."""
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()
