"""One random case of a random policy, and all the rules that it must keep."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import replace
from math import inf
from pathlib import Path
from typing import Any

import numpy as np

from policies import make, needs
from policies.bounds.optimum import Optimum
from policies.interface import Policy
from policies.machinery.wrapped import chain
from policies.pruning.cascadeserve import CascadeServe
from policies.pruning.deferral import Deferral
from policies.pruning.margin import Margin
from profiler.answers.recorded import Answers
from profiler.table import Jitter
from profiler.table.predictions import Predictions
from simulator.conformance.cases import Case, bound, formula, random_case
from simulator.conformance.check import hold, keep, run, same
from simulator.conformance.devices import Early, Elsewhere
from simulator.conformance.drawing import random_spec
from simulator.conformance.invariants import RULES, no_starvation, same_columns
from simulator.core import Executor
from simulator.executors.planned import PlannedExecutor
from simulator.executors.table import NoisyTableExecutor, TableExecutor
from simulator.queue.backlog import Backlog
from simulator.reporting.journal import Journal
from simulator.serving.clock import VirtualClock
from traces.streams import Stream, stream

MODEL = "students-2x8"
#: A third of all batches takes a tenth less than the median, a third up to half as long again.
JITTER = Jitter((inf,), ((0.0, 0.3, 0.7, 1.0),), ((0.9, 1.0, 1.0, 1.5),))
#: What is compared in one case each, besides the rules of its one run; most cases have only these.
MORE = ("again", "post", "future", "journal", "", "", "", "")


class Trial:
    """The case of a seed. spec: a policy; drawn, where it is not named. folder: with `record`ed answers."""

    def __init__(self, seed: int, folder: Path, spec: str | None = None) -> None:
        rng, self.folder, case = np.random.default_rng([seed, 2]), folder, random_case(seed, most=60)
        self.seed, self.noisy, self.device = seed, bool(rng.random() < 0.3), int(rng.integers(6))
        self.more = MORE[rng.integers(len(MORE))]
        students = [level.students for level in case.table.levels(MODEL)]
        self.spec = spec or random_spec(np.random.default_rng([seed, 3]), students)
        self._made = make(self.spec)
        for each in chain(self._made):
            served = getattr(each, "students", students[0]) in students
            if isinstance(each, Margin | CascadeServe | Deferral) and each.items is None and served:
                each.items = str(folder / "items.parquet")
        self.needs = needs(self._made)
        if "memory" in self.needs:
            case = bound(case)
        if any(isinstance(each, Optimum) for each in chain(self._made)):
            case = _exact(case)
        self.case = replace(case, table=replace(case.table, jitter=JITTER))

    def check(self) -> None:
        """Raise AssertionError where a rule is broken."""
        case, policy = self.case, self._new()
        report, log = self._run(policy)
        for rule in RULES:
            if rule is not no_starvation:  # which some policies, such as strict priority, let happen
                keep(rule, report, log, case)
        if self.more == "future" and "future" not in self.needs:
            twin = self._run(self._new(), case.twin)[1]
            same(log, twin, case.cut, "I5: what came later changed a decision before it", case)
        if self.more == "again":
            other, its = self._run(policy)
            same(log, its, inf, "I4: run again, the same object decides otherwise", case)
            hold(same_columns(report, other), f"I4: run again, the output is another: {case.name}")
        if self.more == "post" and not self.needs & {"memory", "preempt"}:
            other, its = self._run(self._new(), post=True)
            same(log, its, inf, "I4: by events that come by post it decides otherwise", case)
            hold(same_columns(report, other), f"I4: by events that come by post the output is another: {case.name}")
        if self.more == "journal":
            journal = Journal(self.folder / f"journal-{self.seed}", {})
            records = journal.records(lambda number: (0.0, 0.0, 0.0, 0.0))
            other = self._run(self._new(), records=records)[0]
            other = replace(other, records=journal.read(records, other.levels))
            journal.remove()
            hold(same_columns(report, other), f"I9: the journal tells other times: {case.name}")

    def _new(self) -> Policy:
        return deepcopy(self._made)

    def _run(self, policy: Policy, trace: Any = None, post: bool = False, **how: Any) -> Any:
        """The report and the log of a run on the case's device."""
        case, trace = self.case, trace or self.case.trace
        early = not self.needs & {"memory", "preempt"} and self.device < 2
        if early or post:
            how["clock"] = clock = VirtualClock()
            device = self._times(trace)
            device = Early(device, self.device == 0) if early else device
            how["executor"] = Elsewhere(device, clock) if post else device
        return run(policy, case, trace, service_noise="profiled" if self.noisy else "none", **how)

    def _times(self, trace: Any) -> Executor:
        """What `simulate` would take."""
        table = self.case.table
        known = Predictions(table, table.levels(MODEL, "toy"), table.plan(MODEL))
        noisy = NoisyTableExecutor(known, table, stream(0, Stream.SERVICE_NOISE))
        kind = Backlog(trace, known.plan.buckets(trace.tokens), len(known.plan.tokens), 1.0).kind
        times = noisy if self.noisy else TableExecutor(known)
        return PlannedExecutor(times, known.levels, trace, kind, predictions=known)


def record(folder: Path, texts: int = 60) -> None:
    """Write made-up answers of eight students, which agree the more the surer they are."""
    rng = np.random.default_rng(0)
    label = rng.integers(0, 2, texts)
    margin = np.sort(rng.random((8, texts)), axis=0).astype(np.float32)
    answer = np.where(rng.random((8, texts)) < 0.3 * (0.8 - margin), 1 - label, label)
    names, place = np.full(texts, "held-out", object), np.arange(texts)
    more = {"model": MODEL, "task": "toy", "teacher": MODEL}
    items = Answers(
        np.full(texts, 9, np.int32),
        label,
        names,
        place,
        answer,
        margin / 2 + np.float32(0.5),
        margin,
        label,
        margin[0],
        more,
    )
    items.write(folder / "items.parquet")


def _exact(case: Case) -> Case:
    """What the exact optimum is known for: one GPU, one length, one target, times that grow."""
    trace = replace(case.trace, slo_s=None)
    return replace(case, trace=trace, twin=trace, gpus=1, table=formula([1, 2, 4], [1, 4, 16], [64]))
