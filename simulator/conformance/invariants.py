"""The numbered rules of a run, each a test of its report and of what the policy decided."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from simulator.conformance.cases import Case
from simulator.conformance.watching import Log
from simulator.reporting.report import DROPPED, REJECTED, Report

#: So many batches may start while the oldest waiting request is passed over; more is called starvation.
PATIENCE = 100


def served_once(report: Report, log: Log, case: Case) -> bool:
    """I1: every request is served or turned away exactly once."""
    batch, outcome, size = report.times["batch"], report.times["outcome"], report.batch_columns["size"]
    turned_away = [request for _, action in log if action[0] == "Drop" for request in action[1]]
    dropped = np.flatnonzero(np.isin(outcome, (DROPPED, REJECTED)))
    answers = np.bincount(batch[batch >= 0], minlength=len(size))
    return (
        sorted(turned_away) == dropped.tolist() == np.flatnonzero(batch < 0).tolist()
        and answers.tolist() == np.where(_answered(report), size, 0).tolist()
    )


def in_order(report: Report, log: Log, case: Case) -> bool:
    """I2: arrival <= start <= finish."""
    served = report.times["batch"] >= 0
    times = (case.trace.arrival_s, report.times["start_s"], report.times["finish_s"])
    arrival, start, finish = (each[served] for each in times)
    return bool((arrival <= start).all() and (start <= finish).all())


def no_overlap(report: Report, log: Log, case: Case) -> bool:
    """I3: batches of one GPU do not overlap."""
    gpu, start, finish = (report.batch_columns[name] for name in ("gpu", "start_s", "finish_s"))
    return all((start[gpu == each][1:] >= finish[gpu == each][:-1]).all() for each in np.unique(gpu))


def idles_on_a_wait(report: Report, log: Log, case: Case) -> bool:
    """I6: a GPU idles beside waiting requests only because the policy said so."""
    if any(action[0] == "Scale" for _, action in log):
        return True  # which GPUs serve is then a matter of cold starts
    taken = [(time, len(action[1])) for time, action in log if action[0] in ("Dispatch", "Drop")]
    taken = sorted(taken + [(time, -len(requests)) for time, requests in _came_back(report)])
    left_s, left = np.array([time for time, _ in taken]), np.array([0, *(n for _, n in taken)]).cumsum()
    batches, decided = report.batch_columns, [time for time, _ in log]
    start, finish = batches["start_s"], np.sort(batches["finish_s"])
    moments = np.unique(np.concatenate([case.trace.arrival_s, start, finish]))

    def until(times: Any) -> NDArray[np.intp]:
        return np.searchsorted(times, moments, side="right")

    waiting = until(case.trace.arrival_s) - left[until(left_s)]
    idle = case.gpus - (until(start) - until(finish))
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
    """When answers left, and how many at once: with their batch, or before it where they stopped early."""
    found: list[tuple[float, int]] = []
    for number in np.flatnonzero(_answered(report)).tolist():
        start, finish, *_, requests = report.records.batches[number]
        execution = report.records.executions.get(number)
        if execution is None or execution.released is None:
            found.append((finish, len(requests)))
        else:
            found += [(start + seconds, 1) for seconds in execution.released]
    return found


def nobody_starves(report: Report, log: Log, case: Case) -> bool:
    """Nobody starves: the oldest waiting request is not passed over for long."""
    gone, head, passed = bytearray(len(case.trace) + 1), 0, 0
    back = iter([*_came_back(report), (np.inf, ())])
    due, requests = next(back)
    for time, action in log:
        while due <= time:
            for request in requests:
                gone[request] = 0
                head = min(head, request)
            due, requests = next(back)
        if action[0] not in ("Dispatch", "Drop"):
            continue
        for request in action[1]:
            gone[request] = 1
        passed = 0 if gone[head] else passed + (action[0] == "Dispatch")
        head = gone.find(0, head)
        if passed > PATIENCE:
            return False
    return True


RULES = (served_once, in_order, no_overlap, idles_on_a_wait, littles_law, nobody_starves)


def _answered(report: Report) -> NDArray[np.bool_]:
    """Which batches were answered; the others were preempted, or ran only some layers."""
    return np.asarray(report.batch_columns.get("answered", np.ones(len(report.batch_columns["size"]), bool)))


def _came_back(report: Report) -> list[tuple[float, Any]]:
    """When requests of batches that were not answered waited again, and which."""
    batches = report.records.batches
    return sorted((batches[number][1], tuple(batches[number][5])) for number in report.records.unanswered)
