"""What every policy must do, checked on random traffic: `check_policy("my_policy:MyPolicy")`."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from math import inf
from typing import Any

import numpy as np
from numpy.typing import NDArray

from policies import describe, make
from policies.interface import Action, Dispatch, Drop, Policy, View, Wait
from simulator.cases import Case, extreme_cases, random_case
from simulator.report import Report
from simulator.simulate import simulate
from traces import Trace

#: So many batches may start while the oldest waiting request is passed over; more is called starvation.
PATIENCE = 100
#: (time, action) with plain values in the action; equal logs are equal decisions.
Log = list[tuple[float, tuple[Any, ...]]]


class Recorder:
    """A policy in a glass case: decides as it does, keeps what it decided, and is run in place, not as a copy."""

    def __init__(self, policy: Policy) -> None:
        self.policy = policy
        self.log: Log = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self.policy, name)

    def __deepcopy__(self, memo: dict[int, Any]) -> Recorder:
        return self

    def decide(self, view: View) -> Action:
        action = self.policy.decide(view)
        self.log.append((view.now, _plain(action)))
        return action


def check_policy(policy: Policy | Callable[[], Policy] | str, *, seeds: Sequence[int] = range(12)) -> None:
    """Run a policy on random traffic and tables, 1 to 4 GPUs, and on the extremes; check what every policy must do.

    policy: a spec such as "greedy" or "my_policy:MyPolicy(limit=3)", an object, or what makes one when called. The
    tables allow batches of at least 16. Raises AssertionError that names the broken rule and the case. The rules:
    every request is served or turned away exactly once (I1); nothing starts before it arrived or overlaps on a GPU
    (I2, I3); equal runs are equal, also of a used or copied object (I4); the future changes nothing before it (I5); a
    GPU idles beside waiting requests only on a Wait (I6); Little's law (I8); nobody starves; the text that `describe`
    gives makes the same policy again.
    """
    new = _maker(policy)
    for case in [*map(random_case, seeds), *extreme_cases()]:
        used = new()
        report, log = _run(used, case, case.trace)
        for rule in (_served_once, _in_order, _no_overlap, _idles_on_a_wait, _littles_law, _nobody_starves):
            _require(rule, report, log, case)
        _same(log, _run(used, case, case.trace)[1], inf, "I4: run again, the same object decides otherwise", case)
        _same(log, _run(_copy(new()), case, case.trace)[1], inf, "I4: a deep copy decides otherwise", case)
        _same(log, _run(_remade(new()), case, case.trace)[1], inf, "what its text makes decides otherwise", case)
        _same(log, _run(new(), case, case.twin)[1], case.cut, "I5: what came later changed a decision before it", case)


def _maker(policy: Policy | Callable[[], Policy] | str) -> Callable[[], Policy]:
    """A function that makes the policy anew."""
    if isinstance(policy, str):
        spec = policy
        return lambda: make(spec)
    if hasattr(policy, "decide") and not isinstance(policy, type):
        made = policy
        return lambda: copy.deepcopy(made)
    _hold(callable(policy), f"{policy!r} is neither a policy, nor what makes one, nor the text of one")
    return policy


def _hold(true: bool, otherwise: str) -> None:
    """Raise AssertionError unless it is true. Not an `assert`: python -O would take the whole suite away."""
    if not true:
        raise AssertionError(otherwise)


def _copy(policy: Policy) -> Policy:
    try:
        return copy.deepcopy(policy)
    except Exception as error:
        raise AssertionError(f"I4: it cannot be copied: {type(error).__name__}: {error}") from error


def _run(policy: Policy, case: Case, trace: Trace) -> tuple[Report, Log]:
    recorder = Recorder(policy)
    try:
        report = simulate(trace, recorder, case.table, gpus=case.gpus, slo_s=case.slo_s)
    except Exception as error:
        raise AssertionError(f"{type(policy).__name__} does not serve {case.name}: {error}") from error
    return report, recorder.log


def _require(rule: Callable[[Report, Log, Case], bool], report: Report, log: Log, case: Case) -> None:
    _hold(rule(report, log, case), f"{(rule.__doc__ or rule.__name__).rstrip('.')}: not so for {case.name}")


def _served_once(report: Report, log: Log, case: Case) -> bool:
    """I1: every request is served or turned away exactly once."""
    batch, outcome = report.requests["batch"], report.requests["outcome"]
    turned_away = [request for _, action in log if action[0] == "Drop" for request in action[1]]
    dropped = np.flatnonzero(np.isin(outcome, ("dropped", "rejected")))
    return (
        sorted(turned_away) == dropped.tolist() == np.flatnonzero(batch < 0).tolist()
        and np.bincount(batch[batch >= 0]).tolist() == report.batches["size"].tolist()
    )


def _in_order(report: Report, log: Log, case: Case) -> bool:
    """I2: arrival <= start <= finish."""
    served = report.requests["batch"] >= 0
    arrival, start, finish = (report.requests[name][served] for name in ("arrival_s", "start_s", "finish_s"))
    return bool((arrival <= start).all() and (start <= finish).all())


def _no_overlap(report: Report, log: Log, case: Case) -> bool:
    """I3: batches of one GPU do not overlap."""
    gpu, start, finish = (report.batches[name] for name in ("gpu", "start_s", "finish_s"))
    return all((start[gpu == each][1:] >= finish[gpu == each][:-1]).all() for each in range(case.gpus))


def _idles_on_a_wait(report: Report, log: Log, case: Case) -> bool:
    """I6: a GPU idles beside waiting requests only because the policy said so."""
    leaving = [(time, len(action[1])) for time, action in log if action[0] != "Wait"]
    left_s, left = np.array([time for time, _ in leaving]), np.array([0, *(n for _, n in leaving)]).cumsum()
    start, finish, decided = report.batches["start_s"], np.sort(report.batches["finish_s"]), [time for time, _ in log]
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


def _littles_law(report: Report, log: Log, case: Case) -> bool:
    """I8: the requests in the system, summed over time, are the times in the system, summed over requests."""
    finish, size = report.batches["finish_s"], report.batches["size"]
    drops = [(time, action[1]) for time, action in log if action[0] == "Drop"]
    events = [(time, 1) for time in case.trace.arrival_s] + list(zip(finish, -size, strict=True))
    events += [(time, -len(requests)) for time, requests in drops]
    inside, before, area = 0, 0.0, 0.0
    for time, change in sorted(events, key=lambda event: event[0]):
        area += inside * (time - before)
        inside, before = inside + change, time
    stays = (report.summary["mean_s"] or 0.0) * int(size.sum())
    stays += sum(time - case.trace.arrival_s[request] for time, requests in drops for request in requests)
    return inside == 0 and abs(area - stays) <= 1e-9 * (1 + len(events)) * max(1.0, before)


def _nobody_starves(report: Report, log: Log, case: Case) -> bool:
    """Nobody starves: the oldest waiting request is not passed over for long."""
    gone, head, passed = bytearray(len(case.trace) + 1), 0, 0
    for _, action in log:
        if action[0] == "Wait":
            continue
        for request in action[1]:
            gone[request] = 1
        passed = 0 if gone[head] else passed + 1
        head = gone.find(0, head)
        if passed > PATIENCE:
            return False
    return True


def _same(log: Log, other: Log, before: float, broken: str, case: Case) -> None:
    ours, theirs = ([entry for entry in each if entry[0] < before] for each in (log, other))
    for one, two in zip(ours, theirs, strict=False):
        if one != two:
            raise AssertionError(f"{broken}: {one} and {two} in {case.name}")
    _hold(len(ours) == len(theirs), f"{broken}: {len(ours)} and {len(theirs)} decisions in {case.name}")


def _remade(policy: Policy) -> Policy:
    spec = describe(policy)
    try:
        return make(spec)
    except (ValueError, LookupError) as error:
        raise AssertionError(f"the text of the policy, {spec}, does not make it again: {error}") from error


def _plain(action: Any) -> tuple[Any, ...]:
    if isinstance(action, Dispatch):
        return "Dispatch", tuple(action.requests), str(action.level), action.gpu, action.plan
    if isinstance(action, Drop):
        return "Drop", tuple(action.requests), action.reason
    return ("Wait", *action) if isinstance(action, Wait) else (repr(action),)
