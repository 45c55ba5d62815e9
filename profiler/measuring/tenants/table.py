"""What a table says of tenants, measured on this processor and put into its folder: adapters, loads and look-up."""

from __future__ import annotations

import csv
import shutil
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from profiler.measuring.measure import Progress
from profiler.measuring.tenants.bench import Bench, open_bench
from profiler.measuring.tenants.composing import composed
from profiler.measuring.tenants.loading import disk_time, interference, load_times
from profiler.measuring.tenants.lookups import lookup_times
from profiler.measuring.tenants.mixing import Mixing
from profiler.table import LatencyTable
from profiler.table.metadata import read_meta
from profiler.table.writing import as_csv
from profiler.tenants.opening import KIND
from profiler.tenants.store import AdapterShape
from traces.shared.atomic import replacing_folder
from traces.shared.documents import json_text
from traces.shared.origin import origin

#: The parts of the budget.
MIXING, LOADING, BESIDE, COMPOSED, LOOKUP = 0.5, 0.05, 0.05, 0.2, 0.2
#: The files of a table's folder that this measures. loads and composed are for readers: no simulation uses them.
FILES = ("adapters", "loads", "composed", "lookup")
Rows = list[dict[str, Any]]


def measure_tenants(
    folder: Path,
    model: str,
    shape: AdapterShape,
    entries: Sequence[int],
    budget_s: float,
    seed: int = 0,
    progress: Progress = lambda share, what: None,
) -> LatencyTable:
    """Measure a model of a table with adapters of this shape, and add that to the table's folder; returns the table.

    Rows of other models stay. entries: of the tables of windows; none where no lower layer is left. Raises LookupError
    or ValueError where the table lacks the model, or was measured on another machine than this one.
    """
    table = LatencyTable.load(folder)
    with TemporaryDirectory(prefix="cohort-bench-") as scratch:
        bench = open_bench(Path(scratch), table, model, shape, seed)
        files, about = _measured(bench, Path(scratch) / "cold.npy", entries, budget_s, progress)
    with replacing_folder(folder) as partial:
        shutil.copytree(folder, partial, dirs_exist_ok=True)
        for name, rows in files.items():
            if rows:
                (partial / f"{name}.csv").write_text(as_csv([*_others(partial / f"{name}.csv", model, rows), *rows]))
        meta = read_meta(partial / "meta.json")
        meta["adapters"] = {**meta.get("adapters", {}), model: about}
        (partial / "meta.json").write_text(json_text(meta, indent=1) + "\n")
        LatencyTable.load(partial)
    return LatencyTable.load(folder)


def _measured(
    bench: Bench, path: Path, entries: Sequence[int], budget_s: float, progress: Progress
) -> tuple[dict[str, Rows], dict[str, Any]]:
    """The rows of every file, and what the metadata says of them."""
    mixing, shape = Mixing(bench), bench.store.shape
    mixing.run(MIXING * budget_s, progress)
    loads = load_times(bench, LOADING * budget_s)
    beside = interference(bench, BESIDE * budget_s)
    disk_s = disk_time(path, shape)
    largest = max(row["count"] for row in loads)
    own = next(r for r in loads if r["way"] == "layers" and r["bytes"] == shape.bytes and r["count"] == largest)
    load_us = round(own["load_us"] * beside["load"], 2)  # what hides behind batches goes beside them
    checked, cells = composed(bench, mixing, load_us * 1e-6, beside["compute"], COMPOSED * budget_s, progress)
    kind = f"{KIND}{shape.width}"
    same = {"model": bench.model, "kind": kind, "bytes": shape.bytes, "load_us": load_us, "layers": shape.layers}
    same |= {} if disk_s is None else {"disk_us": round(disk_s * 1e6, 2)}
    rows: Rows = []
    for cell in mixing.cells:
        way, extra_s = mixing.fastest(cell)
        samples = len(mixing.ratios[cell, way])
        rows.append({**same, **cell._asdict(), "extra_us": round(extra_s * 1e6, 2), "way": way, "samples": samples})
    files: dict[str, Rows] = {"adapters": rows, "loads": loads, "composed": cells}
    if entries and bench.layers < bench.executor.spec.layers:
        files["lookup"] = lookup_times(bench, entries, LOOKUP * budget_s, progress)
    visits = min(map(len, mixing.ratios.values()))
    about = {"kind": kind, "visits_least": visits, "beside": beside, "composed": checked}
    about |= {name: each for name, each in origin().items() if name in ("created", "command", "commit")}
    return files, about


def _others(path: Path, model: str, rows: Rows) -> Rows:
    """The rows of a file that are of other models. Raises ValueError where they have other columns than these."""
    if not path.exists():
        return []
    with path.open() as file:
        others = [row for row in csv.DictReader(file) if row["model"] != model]
    if others and set(others[0]) != set(rows[0]):
        raise ValueError(f"{path.name} has other columns than are measured ({', '.join(rows[0])}): take it out first")
    return others
