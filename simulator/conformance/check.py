"""What every policy must do, checked on random traffic: `check_policy("my_policy:MyPolicy")`."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from math import inf
from typing import Any

from policies import describe, make, needs
from policies.interface import Policy
from simulator.conformance.cases import Case, bound, extreme_cases, random_case
from simulator.conformance.invariants import RULES
from simulator.conformance.watching import Log, WatchedPolicy
from simulator.reporting.report import Report
from simulator.simulate import simulate
from traces import Trace

#: Until a GPU that a policy adds serves, in SLOs: soon, so that it matters within a case.
COLD_START = 0.5


def check_policy(
    policy: Policy | Callable[[], Policy] | str,
    *,
    seeds: Sequence[int] = range(12),
    only: Callable[[Case], bool] = lambda case: True,
) -> None:
    """Run a policy on random traffic and tables, 1 to 4 GPUs, and on the extremes; check what every policy must do.

    policy: a spec such as "greedy" or "my_policy:MyPolicy(limit=3)", an object, or what makes one when called. only:
    the cases to try, for a policy that is not for all of them. The tables allow batches of at least 16; every request
    has a class and a tenant. Raises AssertionError that names the broken rule and the case.

    The rules: every request is served or turned away exactly once (I1); nothing starts before it arrived or overlaps on
    a GPU (I2, I3); equal runs are equal, also of a used or copied object (I4); the future changes nothing before it
    (I5), unless the policy needs the future; a GPU idles beside waiting requests only on a Wait (I6); Little's law
    (I8); where it needs memory, adapters fit, stay while something needs them and are loaded one by one (I10); none
    starves; the text that `describe` gives makes the same policy again; where it declares what it `uses`, it reads no
    other name of the View and its lines, and of completions only if it names `completions`.
    """
    new = _maker(policy)
    for case in filter(only, [*map(random_case, seeds), *extreme_cases()]):
        used = new()
        case = bound(case) if "memory" in needs(used) else case
        report, log = run(used, case, case.trace)
        for rule in RULES:
            keep(rule, report, log, case)
        same(log, run(used, case, case.trace)[1], inf, "I4: run again, the same object decides otherwise", case)
        same(log, run(_copy(new()), case, case.trace)[1], inf, "I4: a deep copy decides otherwise", case)
        same(log, run(_remade(new()), case, case.trace)[1], inf, "what its text makes decides otherwise", case)
        if "future" not in needs(used):
            twin = run(new(), case, case.twin)[1]
            same(log, twin, case.cut, "I5: what came later changed a decision before it", case)


def _maker(policy: Policy | Callable[[], Policy] | str) -> Callable[[], Policy]:
    """A function that makes the policy anew."""
    if isinstance(policy, str):
        spec = policy
        return lambda: make(spec)
    if hasattr(policy, "decide") and not isinstance(policy, type):
        made = policy
        return lambda: copy.deepcopy(made)
    hold(callable(policy), f"{policy!r} is neither a policy, nor what makes one, nor the text of one")
    return policy


def hold(true: bool, otherwise: str) -> None:
    """Raise AssertionError unless it is true. Not an `assert`: python -O would take the whole suite away."""
    if not true:
        raise AssertionError(otherwise)


def _copy(policy: Policy) -> Policy:
    try:
        return copy.deepcopy(policy)
    except Exception as error:
        raise AssertionError(f"I4: it cannot be copied: {type(error).__name__}: {error}") from error


def run(policy: Policy, case: Case, trace: Trace, **how: Any) -> tuple[Report, Log]:
    """The report of a run, and what its policy decided. how: as of `simulate`."""
    recorder = WatchedPolicy(policy)
    try:
        cold_start_s = COLD_START * case.slo_s
        report = simulate(
            trace,
            recorder,
            case.table,
            gpus=case.gpus,
            slo_s=case.slo_s,
            cold_start_s=cold_start_s,
            adapter_budget=case.adapter_budget,
            **how,
        )
    except Exception as error:
        raise AssertionError(f"{type(policy).__name__} does not serve {case.name}: {error}") from error
    return report, recorder.log


def keep(rule: Callable[[Report, Log, Case], bool], report: Report, log: Log, case: Case) -> None:
    """Raise AssertionError where a run does not keep a rule."""
    hold(rule(report, log, case), f"{(rule.__doc__ or rule.__name__).rstrip('.')}: not so for {case.name}")


def same(log: Log, other: Log, before: float, broken: str, case: Case) -> None:
    """Raise AssertionError where two runs decide differently before a time."""
    ours, theirs = ([entry for entry in each if entry[0] < before] for each in (log, other))
    for one, two in zip(ours, theirs, strict=False):
        if one != two:
            raise AssertionError(f"{broken}: {one} and {two} in {case.name}")
    hold(len(ours) == len(theirs), f"{broken}: {len(ours)} and {len(theirs)} decisions in {case.name}")


def _remade(policy: Policy) -> Policy:
    spec = describe(policy)
    try:
        return make(spec)
    except (ValueError, LookupError) as error:
        raise AssertionError(f"the text of the policy, {spec}, does not make it again: {error}") from error
