"""A fault world: the real loop, clock, queue, memory and journal on a host, devices and a policy that go wrong."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

from policies import make, needs
from profiler.table import Deployment
from profiler.table.predictions import Predictions
from simulator.conformance.cases import bound, random_case
from simulator.conformance.check import COLD_START
from simulator.conformance.devices import Apart, Early, TableDevice, Troubled
from simulator.conformance.drawing import ON_DEMAND, random_spec
from simulator.conformance.faults import Faults
from simulator.conformance.host import Host, HostClock
from simulator.conformance.troubles import TroubledMemory, TroubledPolicy, on_full_disk
from simulator.conformance.watching import WatchedPolicy
from simulator.core import Executor, Records
from simulator.endpoint.backlog import OpenBacklog
from simulator.executors.adapters import AdapterExecutor, measured_extra
from simulator.executors.device import DeviceExecutor, TraceAskers
from simulator.executors.planned import PlannedExecutor
from simulator.executors.table import TableExecutor
from simulator.queue.backlog import Backlog
from simulator.queue.view import ServerView
from simulator.reporting.journal import Journal
from simulator.serving.loop import Server
from simulator.simulate import started

MODEL = "students-2x8"
#: A batch that has not ended after so many seconds ends a run.
PATIENCE_S = 30.0
#: The share of worlds whose tenants are bound to adapters, at least.
BOUND = 0.15
#: When a server that nobody shuts down is closed, in seconds after its last request.
LONG_AFTER_S = 1e5


class World:
    """The world of a seed. spec: a policy; drawn where it is not named. journal: where the run is written down.

    Devices block the loop ("block"), say beforehand what a batch will take ("known"), or post what happens ("apart").
    Requests are those of a trace, or come in one by one as at the endpoint (`open`). Everything is ready to `serve`.
    """

    def __init__(self, seed: int, spec: str, journal: Journal) -> None:
        self._rng = rng = np.random.default_rng([seed, 4])
        self.seed, case = seed, random_case(seed, most=60)
        made = make(spec)
        its = needs(made)
        self.case = case = bound(case) if "memory" in its else case
        self.faults = faults = Faults(rng, "memory" in its)
        self.devices = str(rng.choice(["apart", "apart", "apart", "block", "known"]))
        if its:
            self.devices = "known" if "preempt" in its else "apart"
        self.open = not its & {"future", "memory", "layers", "returns"} and bool(rng.random() < 0.4)
        slow = faults.strikes_at_all("host slow")
        self.host = Host(np.random.default_rng([seed, 5]), 0.0 if slow is None else min(slow.size, 1.0))
        self.clock = HostClock(self.host, float(rng.choice([0.0, 20e-6])), self._closes_s())
        self.known = known = Deployment.of(case.table, MODEL, "toy").predictions
        self._askers = TraceAskers([np.zeros(tokens, np.int32) for tokens in case.trace.tokens], 2)
        self.records = records = on_full_disk(journal.records(self._measured), faults)
        self.backlog, tokens = self._queue(known)
        idle, memory = list(range(case.gpus)), self._memory(records)
        view = ServerView(self.backlog, known, case.gpus, case.slo_s, tokens, records, idle, memory)
        executor = self._executor(known, memory)
        self.watched = WatchedPolicy(made)
        policy = TroubledPolicy(self.watched, self.host, self.clock, faults, PATIENCE_S, seed)
        cold_s = COLD_START * case.slo_s if "scale" in its else None
        self._server = Server(
            self.clock, executor, policy, self.backlog, view, records, idle, None, cold_s, memory, PATIENCE_S
        )
        started(policy, view, case.trace)

    def serve(self) -> None:
        """Run it, with whatever it raises."""
        self.clock.start()
        self._server.serve()

    def _closes_s(self) -> float | None:
        """When it is shut down, and when its clock steps: somewhere among the arrivals."""
        end_s = float(self.case.trace.arrival_s[-1])
        if (step := self.faults.strikes_at_all("clock steps")) is not None:
            self.host.at(self._rng.uniform(0, end_s), partial(self.host.step, step.size * (-1) ** step.at))
        if self.faults.strikes_at_all("shutdown") is not None:
            return float(self._rng.uniform(0, 1.2 * end_s))
        return end_s + LONG_AFTER_S if self.open else None

    def _queue(self, known: Predictions) -> tuple[Backlog, Any]:
        """The queue, and the lengths of its requests."""
        trace, lengths, slo_s = self.case.trace, len(known.plan.tokens), self.case.slo_s
        buckets = known.plan.buckets(trace.tokens)
        if not self.open:
            return Backlog(trace, buckets, lengths, slo_s, known.plan.layout), trace.tokens
        backlog = OpenBacklog(lengths, slo_s, layout=known.plan.layout)
        for number, time in enumerate(trace.arrival_s.tolist()):
            asked = partial(self._let_in, backlog, number, int(buckets[number]))
            self.host.at(time, partial(self.clock.call, asked))
        return backlog, backlog.tokens

    def _let_in(self, backlog: OpenBacklog, number: int, bucket: int) -> None:
        """A request arrives, as at the endpoint."""
        trace = self.case.trace
        own = None if trace.slo_s is None or np.isnan(trace.slo_s[number]) else float(trace.slo_s[number])
        klass = "" if trace.klass is None else str(trace.klass[number])
        if backlog.open and backlog.append(self.clock.now, int(trace.tokens[number]), bucket, own, klass) != number:
            raise AssertionError(f"request {number} came out of order")
        if backlog.satisfied():
            self._server.interrupt()

    def _memory(self, records: Records) -> TroubledMemory | None:
        case, tables, tenant = self.case, self.case.table.adapters, self.case.trace.tenant
        if case.adapter_budget is None or tables is None or tenant is None:
            return None
        adapter, names = next(iter(tables.adapters(MODEL).values())), tenant.tolist()
        adapter = adapter._replace(layers=case.table.levels(MODEL)[0].depth)
        return TroubledMemory(
            self.faults, case.adapter_budget, case.gpus, dict.fromkeys(names, adapter), names, records
        )

    def _executor(self, known: Predictions, memory: TroubledMemory | None) -> Executor:
        """The table's times, on devices that go wrong."""
        trace, early = self.case.trace, self._rng.integers(4)
        executor: Executor = PlannedExecutor(
            TableExecutor(known), known.levels, trace, self.backlog.kind, predictions=known
        )
        if memory is not None:
            extra_s = measured_extra(self.case.table, [MODEL], known.plan, memory.distinct)
            executor = AdapterExecutor(TableExecutor(known), memory, known.plan, extra_s)
        elif self.devices == "apart" and early < 2:
            executor = Early(executor, bool(early))
        if self.devices == "block":
            device: Any = {MODEL: TableDevice(known, self.host, self.faults)}
            return DeviceExecutor([device] * self.case.gpus, self._askers, self.clock)
        if self.devices == "known":
            return Troubled(executor, self.faults)
        return Apart(executor, self.host, self.clock, self.faults)

    def _measured(self, number: int) -> tuple[float, float, float, float]:
        return self._askers.measured(number) if self.devices == "block" else (0.0, 0.0, 0.0, 0.0)


def drawn(seed: int) -> str:
    """A policy for the world of a seed; the exact optimum's sort of case is another."""
    rng, case = np.random.default_rng([seed, 3]), random_case(seed, most=60)
    if rng.random() < BOUND:
        return f"{ON_DEMAND}(max_batch={rng.integers(1, 17)})"
    students = [level.students for level in case.table.levels(MODEL)]
    while True:
        spec = random_spec(rng, students)
        if not spec.startswith(("optimum", "oracle")):
            return spec
