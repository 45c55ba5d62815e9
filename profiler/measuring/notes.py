"""What a table says besides its timings, kept beside them: so a run that was interrupted still makes a table."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from profiler.measuring import noise, summary
from profiler.measuring.grid import ModelKey, rectangle
from profiler.measuring.journal import TimingSample, read_samples
from profiler.measuring.rules import MINIMUM
from profiler.models.spec import Dims
from profiler.table import LatencyTable, ShapeKey
from profiler.table.metadata import Ceilings
from profiler.table.validate import holes
from profiler.table.writing import write_table
from traces.shared.atomic import write_text
from traces.shared.documents import json_text, read_json

FILE = "notes.json"


@dataclass(frozen=True)
class TableNotes:
    """What is known of a table once its executors are warm.

    meta: of the table, as far as it is known. specs, dtypes: by model. describe: how each cell is run; its keys are the
    cells of the table.
    """

    meta: Mapping[str, Any]
    specs: Mapping[str, Dims]
    dtypes: Mapping[str, str]
    describe: Mapping[ModelKey, str]

    @property
    def cells(self) -> list[ModelKey]:
        return list(self.describe)

    def rows(self, samples: Iterable[TimingSample], cells: Sequence[ModelKey]) -> list[dict[str, Any]]:
        """The rows of latency.csv for these cells."""
        ceilings = Ceilings.of(self.meta)
        rows = summary.latency_rows(samples, cells, self.specs, self.describe, "", ceilings)
        return [row | {"dtype": self.dtypes[cell.model]} for cell, row in zip(cells, rows, strict=True)]

    def found(self, samples: Sequence[TimingSample], waiting: float) -> dict[str, Any]:
        """The metadata that follows from the samples: noise, precision, idle effect. waiting: for a core, a share."""
        drift = noise.canary_drift([sample.seconds for sample in samples if sample.kind == "canary"])
        quiet = noise.verdict(drift, waiting)
        found: dict[str, Any] = {"noise": quiet, "precision": summary.precision(samples)}
        found["measured_s"] = round(samples[-1].at_s, 1) if samples else 0.0
        if idle := summary.idle_factor(samples):
            found["idle_observed"] = idle
            if quiet["verdict"] == "quiet":  # else it would be the other processes' doing
                found["idle_factor"] = idle
        return found

    def save(self, folder: Path) -> None:
        """Write them beside the samples."""
        described = [[cell.model, *cell.key, how] for cell, how in self.describe.items()]
        specs = {name: asdict(spec) for name, spec in self.specs.items()}
        whole = {"meta": dict(self.meta), "specs": specs, "dtypes": dict(self.dtypes), "describe": described}
        write_text(folder / FILE, json_text(whole, indent=1) + "\n")

    @classmethod
    def load(cls, folder: Path) -> TableNotes:
        """Read them. Raises LookupError where there are none, ValueError for another file."""
        if not (folder / FILE).exists():
            raise LookupError(f"{folder} has no {FILE}: the run ended before its executors were ready")
        try:
            whole: Any = read_json(folder / FILE)
            specs = {name: Dims(**spec) for name, spec in whole["specs"].items()}
            cells = {ModelKey(model, ShapeKey(*key)): how for model, *key, how in whole["describe"]}
            return cls(whole["meta"], specs, whole["dtypes"], cells)
        except (KeyError, TypeError) as error:
            raise ValueError(f"{folder / FILE} is not what a run leaves there: {error!r}") from None


def complete(cells: Sequence[ModelKey], short: Iterable[ModelKey]) -> tuple[list[ModelKey], dict[str, str]]:
    """The cells that make a table when some lack samples, in their order; what each model is left without, and why."""
    lacking, kept, without = set(short), set[ModelKey](), dict[str, str]()
    for model in dict.fromkeys(cell.model for cell in cells):
        keys = [cell.key for cell in cells if cell.model == model]
        own, dropped = rectangle(keys, {cell.key for cell in lacking if cell.model == model})
        kept |= {ModelKey(model, key) for key in own}
        without |= {f"{model}, {what}": "too few samples" for what in dropped}
    return [cell for cell in cells if cell in kept], without


def table_of(folder: Path, out: Path) -> tuple[LatencyTable | None, dict[str, str]]:
    """Write the table that an interrupted run left in `folder` to `out`; None where no model has enough samples.

    Also what the table is left without, and why. Times back to back are missing: only the device has them.
    """
    notes, samples = TableNotes.load(folder), read_samples(folder)
    counts = dict.fromkeys(notes.cells, 0)
    for sample in samples:
        if sample.kind == "sample" and sample.cell in counts:
            counts[sample.cell] += 1
    cells, without = complete(notes.cells, (cell for cell, count in counts.items() if count < MINIMUM))
    if not cells:
        return None, without
    skipped = {**notes.meta.get("skipped", {}), **without}
    meta = {**notes.meta, **notes.found(samples, float("nan")), "skipped": skipped}
    jitter = summary.jitter_rows(samples)
    table = write_table(out, notes.rows(samples, cells), meta, jitter=jitter, replace=True)
    assert not list(holes(table))
    return table, without
