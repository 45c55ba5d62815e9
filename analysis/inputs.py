"""What plots and reports are made of, read from disk: runs, sweeps, comparisons, plans, studies."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NotRequired

from pydantic import ConfigDict, with_config
from typing_extensions import TypedDict

from analysis.columns import refuse_columns
from analysis.plans.options import Option
from analysis.plans.planner import Closest
from analysis.plans.planning import Choice, Plan
from analysis.runs import Run
from analysis.sweeps.frames import read
from traces.shared.documents import checked, read_json

#: The columns that tell what a table is, most telling first; a study is the accuracy.csv of a distillation.
_TELLING = {
    "sensitivity": {"assumption", "low", "high", "base"},
    "capacity": {"capacity", "capacity_low", "capacity_high"},
    "study": {"model", "students", "task", "accuracy", "low", "high", "runs_as"},
    "comparison": {"policy", "difference", "reference"},
    "crossover": {"technique", "best", "behind"},
    "sweep": {"policy"},
}


_TEXTS = ("table", "model", "policy")
_NUMBERS = ("gpus", "growth", "slo_ms", "attainment", "attainment_low", "attainment_high", "accuracy", "met")


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
            return kind, found
    raise ValueError(f"{path} is neither a sweep nor a comparison: it has no column policy, but {', '.join(found)}")


def _read_plan(folder: Path) -> Plan:
    try:
        values = checked(_Plan, read_json(folder / "plan.json"), "plan.json")
        points = read(folder / "points.parquet")
        if len(points):
            refuse_columns(points, dict.fromkeys(_NUMBERS, True), dict.fromkeys(_TEXTS, False), "points.parquet")
        parts = (tuple(values["options"]), tuple(values["choices"]), tuple(values["closest"]))
        return Plan(dict(values["asked"]), dict(values["traffic"]), *parts, points)
    except (ValueError, LookupError, OSError) as error:
        raise ValueError(f"{folder} is not the output of a plan: {str(error).splitlines()[0]}") from error
