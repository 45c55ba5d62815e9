"""The tables: how long a device takes for a shape, how often a level is right. A leaf: no torch."""

from __future__ import annotations

import hashlib
import json
import math
import os
from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet
from numpy.typing import NDArray

#: Where the shipped tables lie: one folder each, named as --table names them.
SHIPPED = Path(__file__).parent / "tables"
REQUIRED = ("model", "students", "depth", "hidden", "batch", "tokens", "latency_us")
ACCURACY = ("model", "students", "task", "accuracy")
_WHOLE = ("students", "depth", "hidden", "batch", "tokens")


@dataclass(frozen=True, slots=True)
class Level:
    """One way to answer: a model with so many of its students. Levels of a model ascend by students.

    index: position among the levels of its model. accuracy: in 0..1 for the chosen task, NaN where the table has none.
    """

    index: int
    model: str
    students: int
    depth: int
    hidden: int
    accuracy: float = math.nan

    def __str__(self) -> str:
        return f"{self.model}/{self.students}"


class ShapeKey(NamedTuple):
    """What is really run: so many students on a padded batch. tokens is the padded length of each row."""

    students: int
    batch: int
    tokens: int


@dataclass(frozen=True)
class BucketPlan:
    """The sizes that are captured, ascending; a batch runs at the next size up. Shared by all that run or look up."""

    batches: tuple[int, ...]
    tokens: tuple[int, ...]

    def __post_init__(self) -> None:
        for name in ("batches", "tokens"):
            sizes = getattr(self, name)
            if not sizes or list(sizes) != sorted(set(sizes)) or sizes[0] < 1:
                raise ValueError(f"a bucket plan needs distinct ascending positive {name}, not {sizes}")

    @property
    def max_batch(self) -> int:
        return self.batches[-1]

    @property
    def max_tokens(self) -> int:
        return self.tokens[-1]

    def key(self, students: int, lengths: Sequence[int]) -> ShapeKey:
        """The key that runs a batch of these token counts. Raises LookupError above the largest size."""
        return ShapeKey(students, self.padded_batch(len(lengths)), self.padded_tokens(max(lengths)))

    def padded_batch(self, size: int) -> int:
        """The batch size that `size` requests run at."""
        return _next_up(self.batches, size, "batch", "lower max_batch")

    def padded_tokens(self, tokens: int) -> int:
        """The length that `tokens` tokens run at."""
        return _next_up(self.tokens, tokens, "length", "clip the trace")

    def buckets(self, tokens: NDArray[np.int32]) -> NDArray[np.intp]:
        """The index into `self.tokens` of each length's bucket. Raises LookupError where one exceeds the largest."""
        over = tokens > self.max_tokens
        if over.any():
            row = int(over.argmax())
            raise LookupError(
                f"request {row} has {tokens[row]} tokens, more than the table's largest ({self.max_tokens}): "
                f"profile that length, or clip the trace with --lengths"
            )
        return np.searchsorted(np.asarray(self.tokens), tokens)


def _next_up(sizes: tuple[int, ...], size: int, what: str, remedy: str) -> int:
    position = bisect_left(sizes, size)
    if size < 1 or position == len(sizes):
        raise LookupError(f"{what} {size} is outside the table (1 to {sizes[-1]}): profile it or {remedy}")
    return sizes[position]


@dataclass(frozen=True, eq=False)
class AccuracyTable:
    """How often each prefix of each model is right, by task. The first row names the default task."""

    rows: tuple[tuple[str, int, str, float], ...]

    def __post_init__(self) -> None:
        seen = set()
        for number, (model, students, task, accuracy) in enumerate(self.rows):
            if not 0 <= accuracy <= 1:
                raise ValueError(f"accuracy table, row {number}: accuracy is {accuracy} (must lie in 0 to 1)")
            if (model, students, task) in seen:
                raise ValueError(f"accuracy table, row {number}: {model}/{students} on {task} is there twice")
            seen.add((model, students, task))

    @property
    def tasks(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(task for _, _, task, _ in self.rows))

    def of(self, model: str, task: str) -> dict[int, float]:
        """Accuracy by number of students; empty where the model was not evaluated on the task."""
        return {students: accuracy for name, students, on, accuracy in self.rows if (name, on) == (model, task)}

    @classmethod
    def read(cls, path: Path) -> AccuracyTable:
        columns = _read_columns(path, ACCURACY)
        students = _whole(columns["students"], "students", path)
        return cls(
            tuple(
                zip(
                    map(str, columns["model"]),
                    students.tolist(),
                    map(str, columns["task"]),
                    _numbers(columns["accuracy"], "accuracy", path).tolist(),
                    strict=True,
                )
            )
        )


@dataclass(frozen=True)
class Jitter:
    """The pooled spread of service times about their median: a quantile function per class of median.

    below_s: upper ends of the classes (the last is infinite). ratios: per class, service time over median at the
    `probabilities`. A draw is the quantile function at a uniform number.
    """

    below_s: tuple[float, ...]
    probabilities: tuple[tuple[float, ...], ...]
    ratios: tuple[tuple[float, ...], ...]

    def ratio(self, median_s: float, uniform: float) -> float:
        """The factor on a median at this uniform number in 0..1."""
        at = bisect_left(self.below_s, median_s)
        return float(np.interp(uniform, self.probabilities[at], self.ratios[at]))

    @classmethod
    def read(cls, path: Path) -> Jitter:
        columns = _read_columns(path, ("below_us", "probability", "ratio"))
        below, p, ratio = (_numbers(columns[name], name, path) for name in ("below_us", "probability", "ratio"))
        classes = sorted(set(below.tolist()))
        if not classes or not math.isinf(classes[-1]):
            raise ValueError(f"{path}: the last class needs below_us = inf, so that every median has a class")
        if not (np.isfinite(ratio).all() and (ratio > 0).all() and ((p >= 0) & (p <= 1)).all()):
            raise ValueError(f"{path}: probabilities must lie in 0 to 1 and ratios must be positive")
        rows = [np.flatnonzero(below == b) for b in classes]
        rows = [r[np.argsort(p[r], kind="stable")] for r in rows]
        return cls(
            tuple(b * 1e-6 for b in classes), tuple(tuple(p[r]) for r in rows), tuple(tuple(ratio[r]) for r in rows)
        )


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

    def __post_init__(self) -> None:
        missing = [name for name in REQUIRED if name not in self.columns]
        if missing:
            raise ValueError(f"table {self.name}: no column {', '.join(missing)} (required: {', '.join(REQUIRED)})")
        columns = {name: np.asarray(column) for name, column in self.columns.items()}
        if not len(columns["model"]):
            raise ValueError(f"table {self.name}: it has no rows")
        columns |= {name: _whole(columns[name], name, self.name) for name in _WHOLE}
        object.__setattr__(self, "columns", columns)
        latency = _numbers(columns["latency_us"], "latency_us", self.name)
        bad = ~(np.isfinite(latency) & (latency > 0))
        if bad.any():
            row = int(bad.argmax())
            raise ValueError(f"table {self.name}, row {row}: latency_us is {latency[row]} (must be positive)")
        self._rows  # noqa: B018  duplicate keys and models of two shapes are found here

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
        """Hash of everything that can change a run: the keys, the times, the jitter, the accuracies."""
        body = repr(
            (
                sorted((k, tuple(sorted(v.items()))) for k, v in self._rows.items()),
                self.jitter,
                self.accuracy.rows if self.accuracy else None,
                self.meta.get("idle_factor"),
            )
        )
        return hashlib.sha256(body.encode()).hexdigest()[:16]

    @cached_property
    def _rows(self) -> dict[tuple[str, int], dict[tuple[int, int], float]]:
        """Seconds by (batch, tokens), by (model, students)."""
        column = {name: self.columns[name].tolist() for name in REQUIRED}
        rows: dict[tuple[str, int], dict[tuple[int, int], float]] = {}
        shape: dict[str, tuple[int, int]] = {}
        for number, (model, students, depth, hidden, batch, tokens, latency) in enumerate(
            zip(*(column[name] for name in REQUIRED), strict=True)
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
            cells[batch, tokens] = float(latency) * 1e-6
        return rows

    def default_model(self) -> str:
        """The first ensemble of students, else the first model."""
        return next((model for model in self.models if model.startswith("students-")), self.models[0])

    def default_task(self) -> str | None:
        return self.accuracy.tasks[0] if self.accuracy and self.accuracy.tasks else None

    def levels(self, model: str, task: str | None = None) -> tuple[Level, ...]:
        """The levels of a model, ascending by students, with their accuracy on the task (NaN without one).

        Raises LookupError for an unknown model or task, and where a task was not measured for one of the levels.
        """
        if model not in self.models:
            raise LookupError(f"table {self.name} has no model {model!r}; it has {', '.join(self.models)}")
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
        """The distinct batch sizes and lengths that were measured for a model."""
        keys = [key for (name, _), cells in self._rows.items() if name == model for key in cells]
        return BucketPlan(tuple(sorted({b for b, _ in keys})), tuple(sorted({t for _, t in keys})))

    def seconds(self, level: Level, key: ShapeKey) -> float:
        """The measured median for a key. Raises LookupError where it was not measured."""
        try:
            return self._rows[level.model, level.students][key.batch, key.tokens]
        except KeyError:
            raise LookupError(
                f"table {self.name} has no {level} at batch {key.batch}, {key.tokens} tokens: "
                f"profile it with python -m profiler run"
            ) from None

    def grid(self, level: Level, plan: BucketPlan) -> list[list[float]]:
        """Seconds by [length bucket][batch index of the plan]. Raises LookupError naming the first hole."""
        return [
            [self.seconds(level, ShapeKey(level.students, batch, tokens)) for batch in plan.batches]
            for tokens in plan.tokens
        ]

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
                raise LookupError(f"no table {str(source)!r}: neither a path nor one of {', '.join(shipped())}")
            path = SHIPPED / str(source)
        if path.is_file():
            return cls(path.stem, _read_columns(path, REQUIRED), {"device": "unknown device", "kind": "unknown"})
        files = [path / f"latency.{suffix}" for suffix in ("csv", "parquet") if (path / f"latency.{suffix}").exists()]
        if not files:
            raise LookupError(f"{path} has neither latency.csv nor latency.parquet: it is not a table")
        return cls(
            path.resolve().name,
            _read_columns(files[0], REQUIRED),
            _read_meta(path / "meta.json"),
            AccuracyTable.read(path / "accuracy.csv") if (path / "accuracy.csv").exists() else None,
            Jitter.read(path / "jitter.csv") if (path / "jitter.csv").exists() else None,
        )


def shipped() -> tuple[str, ...]:
    """The names of the tables in the package; the first is the default."""
    names = sorted(path.parent.name for path in SHIPPED.glob("*/meta.json"))
    ranks = {name: _read_meta(SHIPPED / name / "meta.json").get("rank", 99) for name in names}
    return tuple(sorted(names, key=lambda name: (ranks[name], name)))


def _read_meta(path: Path) -> dict[str, Any]:
    if not path.exists():
        raise LookupError(f"{path} is missing: a table's folder says there what was measured where")
    try:
        meta = json.loads(path.read_text())
    except ValueError as error:
        raise ValueError(f"{path} is not valid JSON: {error}") from None
    if not isinstance(meta, dict):
        raise ValueError(f"{path} must hold a JSON object")
    return meta


def _read_columns(path: Path, required: Sequence[str]) -> dict[str, NDArray[Any]]:
    try:
        table = pa.parquet.read_table(path) if path.suffix == ".parquet" else pa.csv.read_csv(path)
    except pa.ArrowInvalid as error:
        raise ValueError(f"{path} cannot be read: {str(error).splitlines()[0]}") from None
    missing = [name for name in required if name not in table.column_names]
    if missing:
        raise ValueError(
            f"{path}: no column {', '.join(missing)} (required: {', '.join(required)}; "
            f"found: {', '.join(table.column_names)})"
        )
    for name in required:
        if table[name].null_count:
            raise ValueError(f"{path}: column {name} has {table[name].null_count} empty cells")
    return {name: table[name].to_numpy(zero_copy_only=False) for name in table.column_names}


def _numbers(column: NDArray[Any], name: str, where: object) -> NDArray[np.float64]:
    if column.dtype.kind not in "iuf":
        raise ValueError(f"{where}: column {name} must hold numbers, not {column.dtype}")
    return column.astype(np.float64)


def _whole(column: NDArray[Any], name: str, where: object) -> NDArray[np.int64]:
    numbers = _numbers(np.asarray(column), name, where)
    bad = ~((numbers >= 1) & (numbers == np.floor(numbers)))
    if bad.any():
        row = int(bad.argmax())
        raise ValueError(f"{where}, row {row}: {name} is {numbers[row]} (must be a whole number of at least 1)")
    return numbers.astype(np.int64)
