"""Several tables of one device made one: the rows of all, the metadata of each under its name."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from profiler.table.latency import LatencyTable
from profiler.table.writing import write_table

#: Metadata that describes the whole device, taken from the first table; the rest is kept by part.
_COMMON = ("kind", "device", "multiprocessors", "cache_bytes", "memory_bytes", "capability", "cuda", "dtype", "rank")
_SHARED = ("ceilings", "idle_factor", "versions", "platform", "cores")
#: Metadata of the first table that stands for the whole, and is kept by part as well.
_FIRST = ("created", "command", "commit", "card")


def merge_tables(out: Path, folders: Sequence[Path]) -> LatencyTable | None:
    """Write the table of all folders that are there to `out`; None where there is none of them.

    The jitter and the idle effect are those of the first. Raises ValueError where the devices differ or two tables have
    a model in common.
    """
    tables = {folder.name: LatencyTable.load(folder) for folder in folders if (folder / "meta.json").exists()}
    if not tables:
        return None
    first = next(iter(tables.values()))
    devices = {table.meta.get("device") for table in tables.values()}
    if len(devices) > 1:
        raise ValueError(
            f"tables of different devices cannot be merged: {', '.join(map(str, sorted(devices, key=str)))}"
        )
    names = list(dict.fromkeys(name for table in tables.values() for name in table.columns))
    rows = [{name: row.get(name) for name in names} for table in tables.values() for row in table.records()]
    meta = {name: first.meta[name] for name in (*_COMMON, *_SHARED, *_FIRST) if name in first.meta}
    noise = {table.meta.get("noise", {}).get("verdict") for table in tables.values()}
    meta["noise"] = {"verdict": "quiet" if noise == {"quiet"} else "noisy"}
    meta["parts"] = {
        part: {name: value for name, value in table.meta.items() if name not in (*_COMMON, *_SHARED)}
        for part, table in tables.items()
    }
    jitter = next(folder for folder in folders if folder.name in tables) / "jitter.csv"
    extra = [jitter] if jitter.exists() else []
    return write_table(out, rows, meta, extra=extra, replace=True)
