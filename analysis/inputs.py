"""What plots and reports are made of, read from disk: runs, sweeps, comparisons, plans, studies."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv

from analysis.comparisons.statistics import Interval
from analysis.plans.candidates import Candidate
from analysis.plans.planner import Closest, Less, Point
from analysis.plans.planning import Choice, Plan
from analysis.runs import Run
from analysis.sweeps.columns import Columns, read, to_columns

#: The columns by which a table is told to be a comparison.
_COMPARED = {"difference", "reference"}
#: ... a sensitivity, and a capacity.
_VARIED = {"assumption", "low", "high", "base"}
_CAPACITY = {"capacity", "capacity_low", "capacity_high"}
#: ... and the accuracy.csv of a distillation.
_STUDY = {"model", "students", "task", "accuracy", "low", "high", "runs_as"}


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
    """What a path holds, and its content: ("run", a Run), ("plan", a Plan), or columns and what they are of.

    Raises LookupError for a path that is nothing of these, ValueError for what cannot be read.
    """
    if (path / "requests.parquet").exists():
        return "run", Run.read(path)
    if (path / "plan.json").exists():
        return "plan", _read_plan(path)
    if (path / "results.parquet").exists() or (path.is_file() and path.suffix == ".parquet"):
        columns = read(path)
    elif path.is_file() and path.suffix == ".csv":
        columns = _read_csv(path)
    else:
        raise LookupError(
            f"{path} is nothing that can be drawn: name the folder of a run (requests.parquet), of a sweep "
            f"(results.parquet) or of a plan (plan.json), or a .parquet or .csv that another command wrote"
        )
    if set(columns) >= _VARIED:
        return "sensitivity", columns
    if set(columns) >= _CAPACITY:
        return "capacity", columns
    if set(columns) >= _STUDY:
        return "study", columns
    if "policy" not in columns:
        raise ValueError(
            f"{path} is neither a sweep nor a comparison: it has no column policy, but {', '.join(columns)}"
        )
    return ("comparison" if set(columns) >= _COMPARED else "sweep"), columns


def _read_plan(folder: Path) -> Plan:
    try:
        values = json.loads((folder / "plan.json").read_text(encoding="utf-8"))
        choices = [
            Choice(**each | {"best": _point(each["best"]), "less": each["less"] and Less(**each["less"])})
            for each in values["choices"]
        ]
        closest = [Closest(**each | {"best": each["best"] and _point(each["best"])}) for each in values["closest"]]
        return Plan(values["asked"], values["traffic"], tuple(choices), tuple(closest), read(folder / "points.parquet"))
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{folder} is not the output of a plan: {error}") from error


def _point(values: dict[str, Any]) -> Point:
    candidate, attainment = Candidate(**values["candidate"]), Interval(*values["attainment"])
    return Point(**values | {"candidate": candidate, "attainment": attainment})


def _read_csv(path: Path) -> Columns:
    try:
        options = pyarrow.csv.ConvertOptions(strings_can_be_null=True, null_values=[""])
        return to_columns(pyarrow.csv.read_csv(path, convert_options=options))
    except pa.ArrowException as error:
        raise ValueError(f"{path} cannot be read: {str(error).splitlines()[0]}") from None
