"""What plots and reports are made of, read from disk: runs, sweeps, comparisons, plans, studies."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NotRequired

from pandas import DataFrame
from pydantic import ConfigDict, with_config
from typing_extensions import TypedDict

from analysis.columns import refuse_columns, refuse_unsettled
from analysis.plans.options import Option
from analysis.plans.planner import Closest
from analysis.plans.planning import Choice, Plan
from analysis.plots.axes.quantities import QUANTITIES
from analysis.runs import Run
from analysis.sweeps.frames import read
from simulator.settings import KINDS
from traces.shared.documents import checked, read_json

#: The columns that tell what a table is, most telling first; a study is the accuracy.csv of a distillation, adapters
#: that of tenants.
_TELLING = {
    "sensitivity": {"assumption", "low", "high", "base"},
    "capacity": {"capacity", "capacity_low", "capacity_high"},
    "study": {"model", "students", "task", "accuracy", "low", "high", "runs_as"},
    "adapters": {"tenant", "trained", "states", "accuracy"},
    "comparison": {"policy", "difference", "reference"},
    "crossover": {"technique", "best", "behind"},
    "sweep": {"policy"},
}
#: What the tables of each kind must hold beyond the settings and figures that they have, and may have gaps in.
_NEEDED_NUMBERS = {
    "sensitivity": ("low", "high", "base"),
    "capacity": ("capacity", "load", "p99_s", "accuracy", "students_mean", "seeds", "target"),
    "study": ("students", "accuracy", "low", "high", "texts"),
    "adapters": ("accuracy",),
    "comparison": tuple(
        f"{name}{end}" for name in ("difference", "accuracy_weighted_goodput") for end in ("", "_low", "_high")
    ),
    "crossover": ("load", "rate", "slo_ms", "value", "behind", "attainment", "accuracy"),
    "sweep": (),
}
_NEEDED_TEXTS = {
    "sensitivity": ("assumption", "low_label", "high_label"),
    "capacity": ("policy", "verdict"),
    "study": ("model", "task", "runs_as"),
    "adapters": ("tenant", "trained", "states"),
    "comparison": ("policy", "reference"),
    "crossover": ("technique", "model", "policy", "task"),
    "sweep": ("policy",),
}


_TEXTS = ("table", "model", "policy")
_NUMBERS = ("gpus", "growth", "slo_ms", "attainment", "attainment_low", "attainment_high", "accuracy")


@with_config(ConfigDict(extra="allow"))
class _Asked(TypedDict):
    slo_ms: float
    attainment: float
    min_accuracy: float | None
    growth: float
    max_gpus: int
    tasks: NotRequired[dict[str, str | None]]
    left_out: NotRequired[list[str]]
    warnings: NotRequired[list[str]]


@with_config(ConfigDict(extra="allow"))
class _Traffic(TypedDict):
    source: str
    requests: int
    seconds: float
    rate: float
    notes: list[str]
    simulated: str
    exact: bool


@with_config(ConfigDict(extra="allow"))
class _Plan(TypedDict):
    """What plan.json holds."""

    asked: _Asked
    traffic: _Traffic
    options: list[Option]
    choices: list[Choice]
    closest: list[Closest]


def read_all(paths: Sequence[Path], of: str) -> Any:
    """What a plot of `of` takes: a list of runs, a plan, or the frame of a sweep, a comparison or a sensitivity.

    Raises LookupError and ValueError for what is not that.
    """
    if of == "runs":
        return [Run.read(path) for path in paths]
    if len(paths) > 1:
        raise ValueError(f"this plot is of one {of}, not of {len(paths)}")
    kind, found = read_any(paths[0])
    if kind != of:
        raise ValueError(f"{paths[0]} is a {kind}; this plot is of a {of}")
    return found


def read_any(path: Path) -> tuple[str, Any]:
    """What a path holds, and its content: ("run", a Run), ("plan", a Plan), or a DataFrame and what it is of.

    Raises LookupError for a path that is nothing of these, ValueError for what cannot be read.
    """
    if (path / "requests.parquet").exists():
        return "run", Run.read(path)
    if (path / "plan.json").exists():
        return "plan", _read_plan(path)
    if not (path / "results.parquet").exists() and not (path.is_file() and path.suffix in (".parquet", ".csv")):
        raise LookupError(
            f"{path} is nothing that can be drawn: name the folder of a run (requests.parquet), of a sweep "
            f"(results.parquet) or of a plan (plan.json), or a .parquet or .csv that another command wrote"
        )
    found = read(path)
    for kind, columns in _TELLING.items():
        if columns <= set(found):
            _refuse_other(found, kind, path)
            return kind, found
    raise ValueError(f"{path} is neither a sweep nor a comparison: it has no column policy, but {', '.join(found)}")


def _refuse_other(found: DataFrame, kind: str, path: Path) -> None:
    """Raise ValueError where a table has no rows, or a column that is drawn or printed is not of its kind."""
    if not len(found):
        raise ValueError(f"{path} has no rows: there is nothing to show")
    numbers = {name for name, own in KINDS.items() if own is not str} | set(QUANTITIES)
    numbers = {name for name in found if name in numbers or str(name).endswith(("_low", "_high"))}
    texts = {name for name, own in KINDS.items() if own is str} & set(found)
    numbers |= set(_NEEDED_NUMBERS[kind])
    texts |= set(_NEEDED_TEXTS[kind])
    refuse_columns(found, dict.fromkeys(sorted(numbers), True), dict.fromkeys(sorted(texts), True), str(path))
    if kind == "crossover":
        refuse_unsettled(found, "best", str(path))


def _read_plan(folder: Path) -> Plan:
    try:
        values = checked(_Plan, read_json(folder / "plan.json"), "plan.json")
        points = read(folder / "points.parquet")
        if len(points):
            refuse_columns(points, dict.fromkeys(_NUMBERS, True), dict.fromkeys(_TEXTS, False), "points.parquet")
            refuse_unsettled(points, "met", "points.parquet")
        parts = (tuple(values["options"]), tuple(values["choices"]), tuple(values["closest"]))
        return Plan(dict(values["asked"]), dict(values["traffic"]), *parts, points)
    except (ValueError, LookupError, OSError) as error:
        raise ValueError(f"{folder} is not the output of a plan: {str(error).splitlines()[0]}") from error
