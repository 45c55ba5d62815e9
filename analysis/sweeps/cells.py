"""A cell: settings in, a row of figures out, and nothing else; cells of the same inputs are run together."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

from analysis.sweeps.grid import AXES
from analysis.sweeps.origin import code_digest
from profiler.table import LatencyTable, as_table
from simulator.core import uncollected
from simulator.defaults import default_slo_s
from simulator.reporting.report import OK, Report
from simulator.settings import Settings, prepare

#: One cell's figures by name: its settings, `Report.summary`, and where they clash what `row` says.
Row = dict[str, Any]
#: Settings that change what is done with the inputs, not the inputs (but where the load sets the rate by the GPUs).
_FREE = ("policy", "slo_ms", "service_noise", "adapter_budget", "host_budget", "gpus")
#: Settings that the default target depends on, but for what the seed draws.
_TARGET = ("table", "model", "task", "levels", "trace", "trace_format", "lengths")


class Cell(NamedTuple):
    """What is run, the key that its row is kept under, and when counting begins (arrivals before that only warm up)."""

    settings: Settings
    key: str
    since_s: float = 0.0


def inputs(settings: Settings) -> tuple[Any, ...]:
    """What a cell's trace and table depend on: cells in which it is equal share them."""
    free = _FREE if settings.load is None else _FREE[:-1]
    return tuple(getattr(settings, name) for name in AXES if name not in free)


def with_targets(cells: Sequence[Settings]) -> list[Settings]:
    """The cells with the default target filled in, the same for all of a trace, its lengths and a table: the first's.

    Else each seed would have that of its own lengths. Raises ValueError that names a cell that cannot be run.
    """
    slo_ms: dict[tuple[Any, ...], float] = {}
    found = []
    for its in cells:
        if its.slo_ms is None:
            shared = tuple(getattr(its, name) for name in _TARGET)
            if shared not in slo_ms:
                with _naming(its):
                    prepared = prepare(its)
                    slo_ms[shared] = 1e3 * default_slo_s(prepared.deployment.predictions, prepared.trace.tokens)
            its = replace(its, slo_ms=slo_ms[shared])
        found.append(its)
    return found


def batches(cells: Sequence[Cell], size: int) -> list[list[Cell]]:
    """The cells in tasks of at most `size`, those of the same inputs beside each other."""
    groups: dict[tuple[Any, ...], list[Cell]] = {}
    for cell in cells:
        groups.setdefault(inputs(cell.settings), []).append(cell)
    tasks: list[list[Cell]] = [[]]
    for part in (group[at : at + size] for group in groups.values() for at in range(0, len(group), size)):
        if len(tasks[-1]) + len(part) > size:
            tasks.append([])
        tasks[-1] += part
    return [task for task in tasks if task]


def run(cells: Sequence[Cell]) -> Iterator[Row]:
    """The row of each cell, in order. A trace is loaded once for all that have it in a row, a table once for all.

    Raises ValueError that names the cell where it cannot be run.
    """
    tables: dict[str | None, LatencyTable] = {}
    loaded: tuple[Any, ...] | None = None
    for cell in cells:
        its = cell.settings
        with _naming(its):
            if inputs(its) != loaded:
                if its.table not in tables:
                    tables[its.table] = as_table(its.table)
                prepared, loaded = prepare(its, table=tables[its.table]), inputs(its)
            free = {name: getattr(its, name) for name in _FREE}
            with uncollected():  # else the garbage collector goes through all that happened as soon as the run ends
                report = replace(prepared, settings=replace(prepared.settings, **free)).run()
                found = row(cell, prepared.settings, report)
        yield found


@contextmanager
def _naming(its: Settings) -> Iterator[None]:
    """Raise ValueError that names the cell where one cannot be run."""
    try:
        yield
    except (ValueError, LookupError, OSError) as error:
        said = error.args[0] if isinstance(error, LookupError) and error.args else error
        raise ValueError(f"{named(its)}: {said}") from None


def run_here(cells: Sequence[Cell], code: str, keep: Callable[[Sequence[Row]], None] | None = None) -> list[Row] | str:
    """What a worker runs: the rows, or what is wrong. Refuses where its code is not the caller's.

    keep: called with each row as soon as it is finished.
    """
    if code_digest() != code:
        return (
            "a worker has other code than this process: a file was changed meanwhile, or another version is installed "
            "there; start again, with the same everywhere"
        )
    try:
        rows = []
        for found in run(cells):
            rows.append(found)
            if keep is not None:
                keep([found])
        return rows
    except ValueError as error:
        return str(error)


def row(cell: Cell, resolved: Settings, report: Report) -> Row:
    """A cell's row: its settings, resolved, then the summary.

    `load` and `rate` are those asked for, so that the seeds of a cell share them, else as measured; `offered_load` and
    `offered_rate` are measured. With warm-up, `attainment` and `accuracy` are of the requests that count, `counted`
    and `counted_ok` their numbers.
    """
    asked, summary = cell.settings, dict(report.summary)
    load = summary.pop("load")
    settings = {name: getattr(resolved, name) for name in AXES}
    settings |= {"policy": report.run["policy"], "slo_ms": asked.slo_ms or 1e3 * report.slo_s, "gpus": asked.gpus}
    settings |= {name: getattr(asked, name) for name in ("adapter_budget", "host_budget", "service_noise")}
    settings |= {"load": load if asked.load is None else asked.load}
    settings["rate"] = resolved.rate if resolved.rate is not None else summary["offered_rate"]
    found = {**settings, **summary, "offered_load": load}
    if cell.since_s:
        first = int(np.searchsorted(report.trace.arrival_s, cell.since_s))
        if first == len(report.trace):
            raise ValueError(f"no request arrives from {cell.since_s:g} s on: there is nothing to count")
        own = summary_from(report, first)
        found |= {"attainment": own["attainment"], "accuracy": own["accuracy"]}
        found |= {"counted": own["requests"], "counted_ok": own["ok"]}
    return found | {"key": cell.key}


def summary_from(report: Report, first: int) -> Row:
    """Figures of the report's summary, by the requests from this one on. Seconds and ratios; None where undefined."""
    rows = report.request_columns(slice(first, None))
    served, ok = rows["batch"] >= 0, report.times["outcome"][first:] == OK
    accuracy = np.asarray([*(each.accuracy for each in report.levels), np.nan])
    right = accuracy[np.append(report.level_of_batch, -1)[rows["batch"]]]
    if "correct" in rows:  # of requests that stopped early
        right = np.where(np.isnan(rows["correct"]), right, rows["correct"])
    latency_s = (rows["finish_s"] - rows["arrival_s"])[served]
    weighted, mean = float(right[ok].sum()) / len(ok), float(right[served].mean()) if served.any() else np.nan
    return {
        "requests": len(ok),
        "ok": int(ok.sum()),
        "attainment": float(ok.mean()),
        "accuracy": None if np.isnan(mean) else mean,
        "accuracy_weighted_goodput": None if np.isnan(weighted) else weighted,
        "p99_s": float(np.percentile(latency_s, 99)) if served.any() else None,
    }


def named(settings: Settings) -> str:
    """A cell for an error message: what differs from the defaults."""
    default = Settings()
    parts = [f"{name} {getattr(settings, name)}" for name in ("policy", *AXES)
             if name == "policy" or getattr(settings, name) != getattr(default, name)]  # fmt: skip
    return ", ".join(dict.fromkeys(parts))
