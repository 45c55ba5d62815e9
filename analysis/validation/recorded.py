"""What happened at an endpoint, against what the simulator says would have happened to the same arrivals."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import NoneType
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pandas import DataFrame, concat

from analysis.validation.executors import CalibratedExecutor, RecordedExecutor, Residuals
from analysis.validation.figures_of_merit import decisions, figures
from analysis.validation.verdicts import of_session
from policies import make, needs
from profiler.events import Event, Kind
from profiler.table import Deployment
from simulator.core import Records
from simulator.defaults import saturation
from simulator.reporting.boundaries import means
from simulator.reporting.output import read_run
from simulator.reporting.report import Report
from simulator.reporting.validity import judge
from simulator.settings import Prepared, Settings, prepare, unchanged
from traces.readers.recorded import pieces
from traces.shared.modules import refuse_changed

#: Requests with these outcomes were in the queue and left it; the rest was refused at the door or has no end.
ENDED = ("ok", "late", "dropped", "rejected")


class Recorded(NamedTuple):
    """A session. happened: a report of it. prepared: the simulation of the same requests.

    refused: requests that were turned away before the queue, which the simulation does not have. unknown: those whose
    end or batch is not in what is left of the record. reasons: why the session is INVALID as a measurement.
    """

    happened: Report
    prepared: Prepared
    refused: int
    unknown: int
    reasons: tuple[str, ...]


def read(folder: Path) -> Recorded:
    """A session's folder, or a folder with one session. Raises LookupError or ValueError where it is neither."""
    folder = _session(folder)
    run = read_run(folder)
    settings = replace(Settings.read(run["settings"]), trace=str(folder), device=None, clock="virtual", weights=None)
    settings = replace(settings, adapters=None, host_time="none")  # what is recorded lies between the host's two parts
    if settings.slo_ms is None:
        raise ValueError(f"{folder / 'run.json'} has no slo_ms: it is not that of a recorded session")
    unchanged(settings)
    try:
        prepared = prepare(settings)
    finally:  # as --rerun does: where the policy cannot be made any more, the change is why
        refuse_changed(run.get("modules", {}))
    deployment = prepared.deployment
    if deployment.table.digest != run["table"].get("digest"):
        raise ValueError(f"table {deployment.table.name} has changed since the session: validation needs the old one")
    found = list(pieces(folder))
    batches = concat([each.batches.to_pandas() for each in found], ignore_index=True)
    # A session that goes on has more by now than when its trace was read.
    outcomes = concat([each.outcomes.to_pandas() for each in found], ignore_index=True)[: len(prepared.trace)]
    known = outcomes["outcome"].isin(ENDED) & (outcomes["batch"].isna() | outcomes["batch"].isin(batches["batch"]))
    if not known.any():
        raise ValueError(f"{folder} has no request that left the queue: there is nothing to compare")
    trace = prepared.trace.take(known.to_numpy())
    buckets = deployment.plan.buckets(trace.tokens)
    records = _records(outcomes[known], batches, deployment, trace.tokens)
    rate, slo_s = saturation(deployment.predictions, buckets), settings.slo_ms / 1e3
    report = Report(trace, deployment.levels, deployment.plan, settings.gpus, slo_s, rate, records)
    refused = int((outcomes["outcome"] == "refused").sum())
    unknown = len(outcomes) - refused - int(known.sum())
    waiting = run.get("run_queue_delay")
    if not isinstance(waiting, (int, float, NoneType)):
        raise ValueError(f"{folder / 'run.json'}: run_queue_delay is {waiting!r} (must be a number or null)")
    reasons = _reasons(report, waiting)
    return Recorded(report, replace(prepared, trace=trace), refused, unknown, reasons)


def compare(recorded: Recorded, seed: int = 0, repeats: Sequence[Recorded] = ()) -> dict[str, Any]:
    """The figures of what happened and of three simulations, as plain values.

    table: the bare medians. calibrated, the session's twin: plus a residual drawn from what batches took beyond them,
    those of the repeats, or of the session itself where there are none. replayed: with the very times that the batches
    took, which must lead to the same decisions. repeats: further sessions of the same traffic, of which the VALID ones
    count; `spread` is how far all of them are apart. With adapters there is the table's simulation alone. stretches:
    mean seconds in the queue and on the device; the host's part, before and behind them, is in no record.
    """
    happened, prepared = recorded.happened, recorded.prepared
    predictions = prepared.deployment.predictions
    for each in repeats:
        if replace(each.prepared.settings, trace=None) != replace(prepared.settings, trace=None):
            its = each.prepared.settings.trace
            raise ValueError(f"{its} was served with other settings: name sessions of the same traffic, served alike")
    others = [each.happened for each in repeats if not each.reasons]
    runs = {"table": prepared.run()}
    loads = happened.trace.tenant is not None and prepared.settings.adapter_budget is not None
    loads |= "memory" in needs(make(prepared.settings.policy))
    if happened.records.batches and not loads:
        residuals, rng = Residuals.of(others or [happened], predictions), np.random.default_rng(seed)
        runs["calibrated"] = prepared.run(executor=CalibratedExecutor(predictions, residuals, rng))
    every = {"happened": happened, **runs}
    found: dict[str, Any] = {
        "requests": len(happened.trace),
        "refused": recorded.refused,
        "unknown": recorded.unknown,
        "valid": not recorded.reasons,
        "reasons": list(recorded.reasons),
        "happened": figures(happened),
        "repeats": len(others),
        "spread": _spread([happened, *others]),
        **{name: figures(run) for name, run in runs.items()},
        "stretches": {name: means(run.trace.arrival_s, run.times) for name, run in every.items()},
        **{f"{name}_decisions": decisions(happened, run) for name, run in runs.items()},
    }
    if loads:  # when adapters moved is in no record
        return found | {"replayed_same_decisions": None}
    try:
        replayed = prepared.run(executor=RecordedExecutor(happened.records))
    except ValueError:  # more batches than there were
        found["replayed_same_decisions"] = False
    else:
        found["replayed"] = figures(replayed)
        found["replayed_same_decisions"] = _dispatched(happened) == _dispatched(replayed)
    if "calibrated" in found:
        found["verdicts"] = of_session(found)
    return found


def _spread(happened: Sequence[Report]) -> dict[str, float] | None:
    """How far the figures of these sessions are apart; None of one."""
    found = [figures(each) for each in happened]
    return {name: float(np.ptp([each[name] for each in found])) for name in found[0]} if len(found) > 1 else None


def _dispatched(report: Report) -> list[tuple[Any, ...]]:
    """Who was dispatched when, where and at which level."""
    return [(start, gpu, level, sorted(requests)) for start, _, gpu, level, _, requests in report.records.batches]


def _session(folder: Path) -> Path:
    if (folder / "run.json").exists():
        return folder
    inner = sorted(each.parent for each in folder.glob("*/run.json"))
    if len(inner) != 1:
        what = f"has {len(inner)} sessions: name one of them" if inner else "is not a recorded session (no run.json)"
        raise LookupError(f"{folder} {what}")
    return inner[0]


def _records(requests: DataFrame, batches: DataFrame, served: Deployment, tokens: NDArray[np.int32]) -> Records:
    """Records of a run, by the requests' new numbers, in the order of dispatch."""
    level_of = {(level.model, level.students): level for level in served.levels}
    members = requests.groupby("batch").indices
    kept = batches.set_index("batch").loc[sorted(map(int, members))]
    records = Records()
    for number, row in enumerate(kept.itertuples()):
        own, level = members[row.Index], level_of.get((row.model, row.students))
        if level is None:
            raise ValueError(f"batch {row.Index} ran {row.model}/{row.students}, which is not one of the levels served")
        for (time, students), answered in requests.iloc[own].reset_index().groupby(["finish_s", "students"]):
            if (time, students) != (row.finish_s, level.students):
                columns = {"students": [int(students)] * len(answered)}
                leaves = Event(time - row.start_s, Kind.RELEASE, answered.index.tolist(), columns)
                records.events.append((number, time, leaves))
        kind = served.plan.kind(tokens[own].tolist())
        records.batches.append((row.start_s, row.finish_s, row.gpu, level, kind, tuple(own.tolist())))
    records.measured = {name: kept[name].tolist() for name in ("cycle_s", "late_s")}
    for name, reason in (("rejected", "admission"), ("dropped", "recorded")):
        gone = np.flatnonzero(requests["outcome"] == name)
        if len(gone):
            records.drops.append((float("nan"), tuple(gone.tolist()), reason))
    records.gpus.append((0.0, 1 + max((row[2] for row in records.batches), default=0)))
    return records


def _reasons(report: Report, waiting: float | None) -> tuple[str, ...]:
    """What the record shows of disturbances: stalls, batches that began late, threads that waited for a core.

    waiting: the share of the session's time, None where it did not end properly or the system does not say.
    """
    batches = report.batch_columns
    if not len(batches["batch"]):
        return ("no batch was recorded",)
    keys = [(row[3].index, row[4], report.plan.padded_batch(len(row[5]))) for row in report.records.batches]
    seconds = float(batches["finish_s"].max() - batches["start_s"].min())
    return judge(batches, keys, report.slo_s, seconds, waiting).reasons
