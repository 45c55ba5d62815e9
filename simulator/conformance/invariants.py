"""The numbered rules of a run, each a test of its report and of what the policy decided."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from policies.interface import Loaded
from profiler.events import Event, Kind
from simulator.conformance.cases import Case
from simulator.conformance.watching import Log
from simulator.reporting.report import DROPPED, OUTCOMES, REJECTED, Report

#: So many batches may start while the oldest waiting request is passed over; more is called starvation.
PATIENCE = 100


def served_once(report: Report, log: Log, case: Case) -> bool:
    """I1: every request is served or turned away exactly once."""
    batch, outcome = report.times["batch"], report.times["outcome"]
    turned_away = [request for _, action in log if action[0] == "Drop" for request in action[1]]
    dropped = np.flatnonzero(np.isin(outcome, (DROPPED, REJECTED)))
    answers = np.bincount(batch[batch >= 0], minlength=len(report.answers))
    return (
        sorted(turned_away) == dropped.tolist() == np.flatnonzero(batch < 0).tolist()
        and answers.tolist() == report.answers.tolist()
        and all(np.array_equal(np.isnan(report.times[name]), batch < 0) for name in ("start_s", "finish_s"))
        and sum(report.summary[name] for name in OUTCOMES) == len(case.trace)
    )


def in_order(report: Report, log: Log, case: Case) -> bool:
    """I2: arrival <= start <= finish."""
    served = report.times["batch"] >= 0
    times = (case.trace.arrival_s, report.times["start_s"], report.times["finish_s"])
    arrival, start, finish = (each[served] for each in times)
    return bool((arrival <= start).all() and (start <= finish).all())


def no_overlap(report: Report, log: Log, case: Case) -> bool:
    """I3: batches of one GPU do not overlap, unless it accepts the next one before the end of the last."""
    gpu, start, free = report.batch_columns["gpu"], report.batch_columns["start_s"], _free(report)
    return all((start[gpu == each][1:] >= free[gpu == each][:-1]).all() for each in np.unique(gpu))


def _free(report: Report) -> NDArray[np.float64]:
    """When each batch let go of its GPU."""
    free: NDArray[np.float64] = report.batch_columns["finish_s"].copy()
    for number, time, _ in _events(report, Kind.ACCEPT):
        free[number] = time
    return free


def idles_on_a_wait(report: Report, log: Log, case: Case) -> bool:
    """I6: a GPU idles beside waiting requests only because the policy returned a Wait."""
    if any(action[0] == "Scale" for _, action in log):
        return True  # which GPUs serve is then a matter of cold starts
    taken = [(time, len(action[1])) for time, action in log if action[0] in ("Dispatch", "Drop")]
    taken = sorted(taken + [(time, -len(requests)) for time, requests in _came_back(report)])
    left_s, left = np.array([time for time, _ in taken]), np.array([0, *(n for _, n in taken)]).cumsum()
    batches, decided = report.batch_columns, [time for time, _ in log]
    start, free = batches["start_s"], np.sort(_free(report))
    moments = np.unique(np.concatenate([case.trace.arrival_s, start, free]))

    def until(times: Any) -> NDArray[np.intp]:
        return np.searchsorted(times, moments, side="right")

    waiting = until(case.trace.arrival_s) - left[until(left_s)]
    idle = case.gpus - (until(start) - until(free))
    last = [log[index - 1][1] for index in until(decided)[(waiting > 0) & (idle > 0)]]
    return all(
        action[0] == "Wait" and moment < action[1]
        for moment, action in zip(moments[(waiting > 0) & (idle > 0)], last, strict=True)
    )


def littles_law(report: Report, log: Log, case: Case) -> bool:
    """I8: the requests in the system, summed over time, are the times in the system, summed over requests."""
    leaving = _leaving(report)
    drops = [(time, action[1]) for time, action in log if action[0] == "Drop"]
    events = [(time, 1) for time in case.trace.arrival_s] + [(time, -count) for time, count in leaving]
    events += [(time, -len(requests)) for time, requests in drops]
    inside, before, area = 0, 0.0, 0.0
    for time, change in sorted(events, key=lambda event: event[0]):
        area += inside * (time - before)
        inside, before = inside + change, time
    stays = (report.summary["mean_s"] or 0.0) * sum(count for _, count in leaving)
    stays += sum(time - case.trace.arrival_s[request] for time, requests in drops for request in requests)
    return inside == 0 and abs(area - stays) <= 1e-9 * (1 + len(events)) * max(1.0, before)


def _leaving(report: Report) -> list[tuple[float, int]]:
    """When answers left, and how many at once: released before the end of their batch, or with it."""
    released = [(number, time, len(event.rows or ())) for number, time, event in _events(report, Kind.RELEASE)]
    left = report.answers.copy()
    if (exited := report.records.exited) is not None:
        out = ~np.isnan(exited.finish_s)
        batch = report.times["batch"][exited.requests[out]].tolist()
        released += zip(batch, exited.finish_s[out].tolist(), [1] * len(batch), strict=True)
    for number, _, count in released:
        left[number] -= count
    return [(time, count) for _, time, count in released] + list(
        zip(report.batch_columns["finish_s"], left, strict=True)
    )


def within_memory(report: Report, log: Log, case: Case) -> bool:
    """I10: adapters fit the budget, stay while a batch or a load needs them, and come over a link layer by layer."""
    its, tables, tenants = report.records.adapters, case.table.adapters, report.trace.tenant
    if its is None or tables is None or tenants is None or case.adapter_budget is None:
        return True
    size = next(iter(tables.adapters(report.levels[0].model).values())).bytes
    loads, used = iter(its.loads), [0] * case.gpus
    stays: dict[tuple[int, str], list[list[float]]] = {}  # when an adapter was asked for, resident, and evicted
    for time, action in log:
        if action[0] not in ("Load", "Evict"):
            continue
        gpu, tenant = action[1:3]
        of = stays.setdefault((gpu, tenant), [])
        if action[0] == "Evict":
            if not of or not of[-1][1] <= time < of[-1][2]:
                return False
            of[-1][2] = time
            used[gpu] -= size
            continue
        load = next(loads)
        used[gpu] += size
        if load[:2] != (gpu, tenant) or used[gpu] > case.adapter_budget or (of and of[-1][2] == np.inf):
            return False
        if load.start < time:
            return False
        of.append([time, load.finish, np.inf])
    for number, (start, finish, gpu, _, _, requests) in enumerate(report.records.batches):
        preempted = not report.answers[number]  # it may end before its adapters are there
        for tenant in {tenants[each] for each in requests}:
            held = [each for each in stays.get((gpu, tenant), ()) if each[0] <= start and finish <= each[2]]
            if not any(there <= finish or preempted for _, there, _ in held):
                return False
    return all(_one_at_a_time([load for load in its.loads if load.gpu == gpu]) for gpu in range(case.gpus))


def _one_at_a_time(loads: Sequence[Loaded]) -> bool:
    """Whether one link can have sent these: between any start and any end no more than there is time for."""
    done = sorted((load for load in loads if load.finish < np.inf), key=lambda load: load.finish)
    finish, start, seconds = (np.array([load[at] for load in done]) for at in (3, 2, 4))
    for begin in start:
        within = start >= begin
        if (np.cumsum(seconds[within]) > (finish[within] - begin) * (1 + 1e-9)).any():
            return False
    return True


def no_starvation(report: Report, log: Log, case: Case) -> bool:
    """No request starves: the oldest is not passed over for long, unless it is late and others can be on time."""
    own_s = np.full(len(case.trace), np.nan) if case.trace.slo_s is None else case.trace.slo_s
    deadlines = (case.trace.arrival_s + np.where(np.isnan(own_s), case.slo_s, own_s)).tolist()
    left, head, passed = bytearray(len(case.trace) + 1), 0, 0
    back = iter([*_came_back(report), (np.inf, ())])
    due, requests = next(back)
    for time, action in log:
        while due <= time:
            for request in requests:
                left[request] = 0
                head = min(head, request)
            due, requests = next(back)
        if action[0] not in ("Dispatch", "Drop"):
            continue
        for request in action[1]:
            left[request] = 1
        if left[head]:
            passed, head = 0, left.find(0, head)
        elif action[0] == "Dispatch" and not deadlines[head] < time <= max(deadlines[each] for each in action[1]):
            passed += 1
        if passed > PATIENCE:
            return False
    return True


def same_columns(report: Report, other: Report) -> bool:
    """I4, I9: two reports of a run have equal figures and columns; the other's batches may have more."""
    tables = ((report.batch_columns, other.batch_columns), (report.request_columns(), other.request_columns()))
    return report.summary == other.summary and all(
        np.array_equal(column, theirs[name], equal_nan=column.dtype.kind == "f")
        for ours, theirs in tables
        for name, column in ours.items()
    )


RULES = (served_once, in_order, no_overlap, idles_on_a_wait, littles_law, within_memory, no_starvation)


def _events(report: Report, kind: Kind) -> list[tuple[int, float, Event]]:
    """The events of one kind."""
    return [each for each in report.records.events if each[2].kind is kind]


def _came_back(report: Report) -> list[tuple[float, tuple[int, ...]]]:
    """When requests waited again, and which."""
    found = []
    for number, time, event in _events(report, Kind.RETURN):
        requests = report.records.batches[number][5]
        found.append((time, tuple(requests if event.rows is None else (requests[row] for row in event.rows))))
    return sorted(found)
