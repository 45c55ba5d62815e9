"""The latency table: how long a device takes for a shape. A leaf: no torch."""

from __future__ import annotations

import hashlib
import math
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from profiler.table.accuracy import AccuracyTable
from profiler.table.adapters import AdapterTable, slower_beside
from profiler.table.host import HostTimes
from profiler.table.jitter import Jitter
from profiler.table.layers import LayerTable
from profiler.table.lookup import LookupTable
from profiler.table.metadata import check_meta, read_meta
from profiler.table.plan import LAYOUTS, PACKED, PADDED, BucketPlan, Level, ShapeKey
from profiler.table.reading import names, numbers, read_columns, whole
from traces.shared.text import did_you_mean

#: Where the shipped tables lie: one folder each, named as --table names them.
SHIPPED = Path(__file__).parents[1] / "tables"
REQUIRED = ("model", "students", "depth", "hidden", "batch", "tokens", "latency_us")
#: Sizes are whole numbers from 1 to these: beyond them nobody means it, and predictions would fill the memory.
SIZES = {"students": 10_000, "depth": 10_000, "hidden": 1_000_000, "batch": 100_000, "tokens": 10_000_000}
#: Times from a nanosecond to eleven days, in microseconds.
LEAST_US, MOST_US = 1e-3, 1e12
#: Further columns that have a meaning; cells may be empty.
MEASURED = ("device_us", "staging_us", "wire_us", "p10_us", "p90_us", "p99_us", "samples", "floor_us",
            "back_to_back_us", "low_us", "high_us")  # fmt: skip


@dataclass(frozen=True, eq=False)
class LatencyTable:
    """Measured service times by exact key, with where they come from.

    columns: the file's columns, equal in length. meta: device, versions, date, clocks, kind ("measured" or "modelled").
    Equal keys are looked up, never interpolated: a miss raises LookupError and says what to profile.
    """

    name: str
    columns: Mapping[str, NDArray[Any]]
    meta: Mapping[str, Any] = field(default_factory=dict)
    accuracy: AccuracyTable | None = None
    jitter: Jitter | None = None
    adapters: AdapterTable | None = None
    layers: LayerTable | None = None
    lookup: LookupTable | None = None

    def __post_init__(self) -> None:
        missing = [name for name in REQUIRED if name not in self.columns]
        if missing:
            raise ValueError(f"table {self.name}: no column {', '.join(missing)} (required: {', '.join(REQUIRED)})")
        columns = {name: np.asarray(column) for name, column in self.columns.items()}
        if not len(columns["model"]):
            raise ValueError(f"table {self.name}: it has no rows")
        where = f"table {self.name}"
        columns |= {name: whole(columns[name], name, where, most) for name, most in SIZES.items()}
        columns["model"] = names(columns["model"], "model", where)
        columns |= {
            name: numbers(columns[name], name, where, 0, MOST_US, gaps=True) for name in MEASURED if name in columns
        }
        object.__setattr__(self, "columns", columns)
        numbers(columns["latency_us"], "latency_us", where, LEAST_US, MOST_US)
        check_meta(self.meta, f"{where}: meta.json")
        self._rows  # noqa: B018  duplicate keys and models of two shapes are found here
        self._layouts  # noqa: B018

    def records(self) -> list[dict[str, Any]]:
        """The rows of the file, each a value by column."""
        columns = {name: column.tolist() for name, column in self.columns.items()}
        return [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]

    @property
    def models(self) -> tuple[str, ...]:
        """In the order of the file."""
        return tuple(dict.fromkeys(model for model, _ in self._rows))

    @property
    def modelled(self) -> bool:
        """Whether the figures were computed rather than measured."""
        return self.meta.get("kind") == "modelled"

    @property
    def device(self) -> str:
        """What was measured, for titles and reports."""
        name = str(self.meta.get("device", "unknown device"))
        return f"{name} (modelled)" if self.modelled else name

    @cached_property
    def digest(self) -> str:
        """Hash of everything that can change a run: the keys, the times, the accuracies, and the further tables."""
        body = repr(
            (
                sorted((k, tuple(sorted(v.items()))) for k, v in self._rows.items()),
                self.jitter,
                self.accuracy.rows if self.accuracy else None,
                self.meta.get("idle_factor"),
                *(self.adapters.key if self.adapters else []),
                *(
                    ["beside", [slower_beside(self.meta, each) for each in self.models]]
                    if self.meta.get("adapters")
                    else []
                ),
                *(["layers", self.layers.rows] if self.layers else []),
                *(["lookup", self.lookup.rows] if self.lookup else []),
                *(["host", HostTimes.of(self.meta, self.name)] if self.meta.get("host") else []),
                *(["updates", self.lookup.updates] if self.lookup and self.lookup.updates else []),
                *([self._layouts] if PACKED in self._layouts.values() else []),
            )
        )
        return hashlib.sha256(body.encode()).hexdigest()[:16]

    @cached_property
    def _rows(self) -> dict[tuple[str, int], dict[tuple[int, int], float]]:
        """Seconds by (batch, tokens), by (model, students): the latency and, of a server, the wire."""
        rows: dict[tuple[str, int], dict[tuple[int, int], float]] = {}
        shape: dict[str, tuple[int, int]] = {}
        wire = np.nan_to_num(self.columns.get("wire_us", np.zeros(len(self.columns["model"])))).tolist()
        for number, (model, students, depth, hidden, batch, tokens, latency) in enumerate(
            zip(*(self.columns[name].tolist() for name in REQUIRED), strict=True)
        ):
            if shape.setdefault(str(model), (depth, hidden)) != (depth, hidden):
                raise ValueError(
                    f"table {self.name}, row {number}: {model} is {depth}x{hidden} here and "
                    f"{'x'.join(map(str, shape[model]))} above; give each shape its own model name"
                )
            cells = rows.setdefault((str(model), students), {})
            if (batch, tokens) in cells:
                raise ValueError(
                    f"table {self.name}, row {number}: {model}/{students} at batch {batch}, "
                    f"{tokens} tokens is there twice"
                )
            cells[batch, tokens] = (float(latency) + wire[number]) * 1e-6
        return rows

    def layout(self, model: str) -> str:
        """How batches of a model lie in memory: one of LAYOUTS."""
        return self._layouts[model]

    @cached_property
    def _layouts(self) -> dict[str, str]:
        """The layout of each model: of all its rows."""
        column = self.columns.get("layout")
        if column is None:
            return dict.fromkeys(self.models, PADDED)
        found: dict[str, str] = {}
        for number, (model, layout) in enumerate(zip(self.columns["model"].tolist(), column.tolist(), strict=True)):
            if layout not in LAYOUTS or found.setdefault(str(model), layout) != layout:
                raise ValueError(
                    f"table {self.name}, row {number}: layout {layout!r} of {model} (must be {' or '.join(LAYOUTS)}, "
                    f"one of them for all rows of a model)"
                )
        return found

    def default_model(self) -> str:
        """The first ensemble of students, else the first model."""
        return next((model for model in self.models if model.startswith("students-")), self.models[0])

    def default_task(self, model: str | None = None) -> str | None:
        """The first task; the first that a model (or all of several, with commas between them) was evaluated on."""
        if self.accuracy is None or not self.accuracy.tasks:
            return None
        models = [] if model is None else self.named(model)
        known = (task for task in self.accuracy.tasks if all(self.accuracy.of(each, task) for each in models))
        return next(known, self.accuracy.tasks[0])

    def levels(self, model: str, task: str | None = None) -> tuple[Level, ...]:
        """The levels of a model, ascending by students, with their accuracy on the task (NaN without one).

        Raises LookupError for an unknown model or task, and where a task was not measured for one of the levels.
        """
        self._refuse_unknown(model)
        accuracy: dict[int, float] = {}
        if task is not None:
            known = self.accuracy.tasks if self.accuracy else ()
            if task not in known or self.accuracy is None:
                raise LookupError(
                    f"table {self.name} has no accuracies for task {task!r}; it has {', '.join(known) or 'none'}"
                )
            accuracy = self.accuracy.of(model, task)
        counts = sorted(students for name, students in self._rows if name == model)
        missing = [k for k in counts if k not in accuracy] if accuracy else []
        if missing:
            raise LookupError(
                f"table {self.name}: accuracy of {model} on {task} lacks {missing} students; "
                f"its latencies have them, so evaluate them too"
            )
        row = self.columns["model"].tolist().index(model)
        depth, hidden = int(self.columns["depth"][row]), int(self.columns["hidden"][row])
        return tuple(Level(i, model, k, depth, hidden, accuracy.get(k, math.nan)) for i, k in enumerate(counts))

    def plan(self, model: str) -> BucketPlan:
        """The distinct batch sizes and lengths that were measured for a model; for several, those that all have.

        Of packed rows the texts and the totals. Raises LookupError where models have nothing in common.
        """
        models = self.named(model)
        layouts = {each: self.layout(each) for each in models}
        if len(set(layouts.values())) > 1:
            said = ", ".join(f"{each} is {layout}" for each, layout in layouts.items())
            raise LookupError(f"table {self.name}: {said}: models that serve together need one layout")
        sizes: list[tuple[int, ...]] = []
        for axis, name in enumerate(("batch size", "length")):
            of_each = [
                {key[axis] for (known, _), cells in self._rows.items() if known == each for key in cells}
                for each in models
            ]
            common = set.intersection(*of_each)
            if not common:
                raise LookupError(f"table {self.name}: {' and '.join(models)} have no {name} in common: profile one")
            sizes.append(tuple(sorted(common)))
        batches, tokens = sizes
        return BucketPlan.packed(batches, tokens) if PACKED in layouts.values() else BucketPlan(batches, tokens)

    def named(self, model: str) -> list[str]:
        """The models that a text names, commas between them."""
        models = [each.strip() for each in model.split(",")]
        for each in models:
            self._refuse_unknown(each)
            if models.count(each) > 1:
                raise ValueError(f"model {each!r} is named twice in {model!r}")
        return models

    def _refuse_unknown(self, model: str) -> None:
        if model not in self.models:
            known = f"it has {', '.join(self.models)}{did_you_mean(model, self.models)}"
            raise LookupError(f"table {self.name} has no model {model!r}; {known}")

    def seconds(self, level: Level, key: ShapeKey) -> float:
        """The measured median for a key. Raises LookupError where it was not measured."""
        try:
            return self._rows[level.model, level.students][key.batch, key.tokens]
        except KeyError:
            raise LookupError(
                f"table {self.name} has no {level} at {key}: profile it with python -m profiler run"
            ) from None

    def service(self, level: Level, plan: BucketPlan) -> NDArray[np.float64]:
        """Seconds by [kind, size], sizes from 1 to the plan's largest. Raises LookupError naming the first hole."""
        known = self._rows.get((level.model, level.students), {})
        cells = [[known.get((batch, tokens), math.nan) for tokens in plan.widths] for batch in plan.batches]
        found = np.asarray(cells)[plan.places]
        if np.isnan(found).any():
            kind, size = np.argwhere(np.isnan(found))[0].tolist()
            self.seconds(level, plan.shape(level.students, kind, size + 1))  # says what is missing
        return found

    def idle_factor(self, gap_s: float) -> float:
        """The factor on the first batch after an idle gap, from meta `idle_factor` ([[gap_s, factor], ...]); else 1."""
        curve = self.meta.get("idle_factor")
        if not curve:
            return 1.0
        gaps, factors = zip(*curve, strict=True)
        return float(np.interp(gap_s, gaps, factors))

    @classmethod
    def load(cls, source: str | os.PathLike[str]) -> LatencyTable:
        """A table by shipped name, folder, or single file. Raises LookupError or ValueError saying what is wrong."""
        path = Path(source)
        if not path.exists():
            if not (SHIPPED / str(source) / "meta.json").exists():
                known = f"{', '.join(shipped())}{did_you_mean(str(source), shipped())}"
                raise LookupError(f"no table {str(source)!r}: neither a path nor one of {known}")
            path = SHIPPED / str(source)
        if path.is_file():
            return cls(path.stem, read_columns(path, REQUIRED), {"device": "unknown device", "kind": "unknown"})
        files = [path / f"latency.{suffix}" for suffix in ("csv", "parquet") if (path / f"latency.{suffix}").exists()]
        if not files:
            raise LookupError(f"{path} has neither latency.csv nor latency.parquet: it is not a table")
        if len(files) > 1:
            raise ValueError(f"{path} has both latency.csv and latency.parquet: remove the one that is not meant")
        return cls(
            path.resolve().name,
            read_columns(files[0], REQUIRED),
            read_meta(path / "meta.json"),
            AccuracyTable.read(path / "accuracy.csv") if (path / "accuracy.csv").exists() else None,
            Jitter.read(path / "jitter.csv") if (path / "jitter.csv").exists() else None,
            AdapterTable.read(path / "adapters.csv") if (path / "adapters.csv").exists() else None,
            LayerTable.read(path / "layers.csv") if (path / "layers.csv").exists() else None,
            LookupTable.read(path / "lookup.csv") if (path / "lookup.csv").exists() else None,
        )


def shipped() -> tuple[str, ...]:
    """The names of the tables in the package; the first is the default."""
    names = sorted(path.parent.name for path in SHIPPED.glob("*/meta.json"))
    ranks = {name: read_meta(SHIPPED / name / "meta.json").get("rank", 99) for name in names}
    return tuple(sorted(names, key=lambda name: (ranks[name], name)))
