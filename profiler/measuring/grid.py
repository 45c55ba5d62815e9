"""What to measure: a rectangle of keys per model, from flags or from a plan file. A leaf: no torch."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

from profiler.models.spec import Dims, parse_spec
from profiler.table import BucketPlan, ShapeKey
from profiler.table.latency import SIZES
from profiler.table.plan import PACKED
from traces.shared.documents import checked, read_json

#: Plans that come with the package, named as --plan names them.
PLANS = Path(__file__).parents[1] / "plans"


class ModelKey(NamedTuple):
    """One thing to measure: a key of a model."""

    model: str
    key: ShapeKey

    def columns(self, spec: Dims) -> dict[str, Any]:
        """The columns that say which row of a table it is. spec: its model's."""
        students, batch, tokens, layout = self.key
        own = {"model": self.model, "students": students, "depth": spec.layers, "hidden": spec.hidden}
        return own | {"batch": batch, "tokens": tokens, "layout": layout}

    def __str__(self) -> str:
        return f"{self.model}/{self.key.students} at {self.key}"


@dataclass(frozen=True)
class Grid:
    """The keys of one model that its plan runs, with so many students.

    padded: all combinations of batches and tokens. packed: `totals` in place of `tokens`, for texts up to `longest`.
    dims: the shape of a model whose name does not say it.
    """

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    model: str
    students: tuple[int, ...]
    batches: tuple[int, ...]
    tokens: tuple[int, ...] = ()
    totals: tuple[int, ...] = ()
    longest: int | None = None
    dims: Dims | None = None

    def __post_init__(self) -> None:
        for name, most in (("students", SIZES["students"]), ("batches", SIZES["batch"])):
            if (largest := max(getattr(self, name), default=0)) > most:
                raise ValueError(f"{self.model}: {largest:,} {name} are more than a table may have ({most:,})")
        if list(self.students) != sorted(set(self.students)) or not self.students or self.students[0] < 1:
            raise ValueError(f"{self.model}: students must be distinct, ascending and positive, not {self.students}")
        if bool(self.tokens) == bool(self.totals) or (self.longest is not None and not self.totals):
            raise ValueError(f"{self.model}: give tokens (padded), or totals and perhaps longest (packed)")
        self.spec  # noqa: B018  unknown names and impossible shapes are found here
        self.plan  # noqa: B018
        if self.plan.max_tokens > self.spec.positions:
            raise ValueError(
                f"{self.model}: the model has {self.spec.positions} positions, {self.plan.max_tokens} asked for"
            )

    @property
    def spec(self) -> Dims:
        return self.dims or parse_spec(self.model, self.students[-1])

    @property
    def plan(self) -> BucketPlan:
        if self.totals:
            return BucketPlan.packed(self.batches, self.totals, self.longest)
        return BucketPlan(self.batches, self.tokens)

    def cells(self) -> list[ModelKey]:
        """Every key, in the order of the table's rows."""
        return [ModelKey(self.model, key) for students in self.students for key in self.plan.keys(students)]


def grids(models: Sequence[str], students: Iterable[int], batches: Iterable[int], tokens: Iterable[int]) -> list[Grid]:
    """One grid per model, all alike; only students are several. Raises LookupError for unknown models."""
    counts, sizes, lengths = (tuple(sorted(set(values))) for values in (students, batches, tokens))
    if len(set(models)) < len(models):
        raise ValueError(f"a model is named twice in {', '.join(models)}")
    return [Grid(model, counts if model.startswith("students-") else (1,), sizes, lengths) for model in models]


def rectangle(keys: Sequence[ShapeKey], missing: Collection[ShapeKey]) -> tuple[list[ShapeKey], list[str]]:
    """The keys of a model that are left when some cannot be had, so that no size has a hole; what was dropped.

    A table has every size for every number of students. So a number of students that lacks a key is dropped; where the
    smallest number lacks it too, the largest batch or length that is missing, whichever costs fewer keys.
    """
    kept, dropped = list(keys), []
    while lacking := [key for key in kept if key in missing]:
        fewest = min(key.students for key in kept)
        small = [key for key in lacking if key.students == fewest]
        if small:
            axes = ("batch",) if small[0].layout == PACKED else ("batch", "tokens")
            ways = [(axis, max(getattr(key, axis) for key in small)) for axis in axes]
        else:
            ways = [("students", max(key.students for key in lacking))]
        axis, size = min(ways, key=lambda way: sum(getattr(key, way[0]) == way[1] for key in kept))
        kept = [key for key in kept if getattr(key, axis) != size]
        dropped.append(f"{axis} {size}")
    return kept, dropped


def measured_as(grids: Sequence[Grid]) -> dict[Grid, str]:
    """The grids that are not measured, each with the model whose times it takes: the same shape at the same sizes.

    These are single models and those whose name ends in -of-LxH: random weights of a shape take the same time whatever
    they are called, and two measurements of it would differ by noise alone.
    """
    named = [own for own in grids if own.model.startswith("single-") or "-of-" in own.model]
    found: dict[Grid, str] = {}
    for own in named:
        for other in grids:
            shapes = [replace(grid.spec, name="", students=1) for grid in (own, other)]
            if other is own or other in found or shapes[0] != shapes[1]:
                continue
            if own.plan == other.plan and set(own.students) <= set(other.students):
                found[own] = other.model
                break
    return found


def read_plan(source: str | os.PathLike[str]) -> list[Grid]:
    """The grids of a plan file, or of a plan of the package by name.

    A plan is a JSON list of objects with `model`, `students`, `batches`, and `tokens` or `totals`. Raises LookupError
    for no such plan or model, ValueError for a bad one.
    """
    path = Path(source)
    if not path.is_file():
        path = PLANS / f"{source}.json"
    if not path.is_file():
        known = ", ".join(sorted(entry.stem for entry in PLANS.glob("*.json")))
        raise LookupError(f"no plan {str(source)!r}: neither a file nor one of {known}")
    try:
        result = checked(list[Grid], read_json(path), f"{path} is not a plan")
    except ValueError as error:
        valid = "model, students, batches and tokens (or totals)"
        raise ValueError(f"{error}; a plan is a list of {valid}") from None
    if not result or len({grid.model for grid in result}) < len(result):
        raise ValueError(f"{path}: a plan names at least one model, and each model once")
    return result
