"""Live mode: the same loop, policy and trace on real devices, repeated where something disturbed the run."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from math import inf
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from policies import make, needs
from profiler.events import Event, Kind
from profiler.executors.interface import Away
from profiler.executors.server import ServerExecutor
from profiler.servers.client import addresses
from profiler.table import Deployment, ShapeKey
from simulator.core import Records
from simulator.executors.device import TraceAskers, device_errors, on_devices, warm_plans
from simulator.executors.tenants import Ready, TenantDevices, open_tenants
from simulator.reporting.journal import Journal
from simulator.reporting.report import Report
from simulator.reporting.validity import Validity, Watch, judge
from simulator.serving.clock import Clock
from simulator.settings import Prepared, Settings

if TYPE_CHECKING:
    from profiler.executors.interface import Ids
    from profiler.executors.serving import Served
    from profiler.servers.wording import Wording

#: A disturbed run is repeated until so many attempts were made.
ATTEMPTS = 3
#: A run is ended where a batch has not ended after so many seconds.
PATIENCE_S = 60.0


@dataclass(frozen=True)
class Devices:
    """Warm devices and the token ids of a trace's requests: what runs on them needs no further preparation.

    tokenizing: seconds per request where texts were tokenized, which is before the queue and on no device's time.
    tenants: where the run binds adapters.
    """

    prepared: Prepared
    served: Served
    ids: Sequence[Ids]
    tokenizing: NDArray[np.float64] | None = None
    tenants: TenantDevices | None = None

    def warm(self, policy: str | None = None) -> float:
        """Make ready what a policy (default: the settings') runs beside whole batches, where that is new; seconds."""
        deployment, named = self.prepared.deployment, policy or self.prepared.settings.policy
        return warm_plans(self.served, make(named), deployment.predictions, deployment.other_tasks)

    def run(self, policy: str | None = None, journal: Journal | None = None, **how: Any) -> Report:
        """Run the trace once. The report has the devices' times per batch, the answers, and `validity` in its `run`.

        journal: where the run is written down as it happens; by default in a folder that goes with the run.
        """
        if journal is None:
            with TemporaryDirectory() as folder, Journal(Path(folder) / "journal", {}) as journal:
                return self.run(policy, journal, **how)
        warm_s = self.served.warm_s + self.warm(policy)
        clock = self.prepared.clock
        askers = TraceAskers(self.ids, self._classes())
        records = journal.records(askers.measured)
        ready = self._ready(askers, clock, records)
        watch = Watch(canary(self.served))
        # A server that is out keeps its device for as long as that lasts; a request to it has a limit of its own.
        patience_s = inf if addresses(self.prepared.settings.device) else PATIENCE_S
        with watch.watching(), ready.working:
            named: dict[str, Any] = {
                "clock": clock,
                "executor": ready.executor,
                "memory": ready.memory,
                "records": records,
            }
            named |= {"patience_s": patience_s, **how}
            report = self.prepared.run(policy, **named)
        report = replace(report, records=journal.read(records, report.levels))
        validity = self._verdict(report, watch)
        live: dict[str, Any] = {
            "device": self.served.name,
            "notes": [*self.served.notes, *self._refused()],
            "load_s": round(self.served.weights_s, 3),
            "warm_s": round(warm_s, 3),
            "validity": validity.as_dict(),
        }
        if self.tokenizing is not None:
            p50, p99 = np.percentile(self.tokenizing, [50, 99]).tolist()
            live["tokenizing"] = {"p50_s": p50, "p99_s": p99}
        return replace(report, run={**report.run, "live": live}, logits=askers.logits[: len(report.trace)])

    def _classes(self) -> int:
        """The most classes that an answer has."""
        own = [] if self.tenants is None else [self.tenants.store.shape.classes]
        return max(own + [each.spec.outputs for each in self.served.executors[0].values()])

    def _ready(self, askers: TraceAskers, clock: Clock, records: Records) -> Ready:
        """What runs the batches of one run."""
        if self.tenants is not None:
            tenant = self.prepared.trace.tenant
            assert tenant is not None  # or its store would not have opened
            return self.tenants.ready(tenant.tolist(), askers, clock, records)
        executor = on_devices(self.served, askers, clock, PATIENCE_S)
        return Ready(executor, None, executor.working())

    def attempts(self, policy: str | None = None, most: int = ATTEMPTS, **how: Any) -> list[Report]:
        """Run until a run is VALID, at most so many times; all attempts, the last one being what counts."""
        made: list[Report] = []
        while len(made) < most:
            made.append(self.run(policy, **how))
            if validity(made[-1])["valid"] or made[-1].run.get("interrupted"):
                break
        return made

    def _refused(self) -> list[str]:
        """What to say of texts that servers refused to answer: their answers are NaN."""
        each = [own for models in self.served.executors for own in models.values() if isinstance(own, ServerExecutor)]
        return [f"{own.client.url} refused {own.refused} texts ({own.why})" for own in each if own.refused]

    def _verdict(self, report: Report, watch: Watch) -> Validity:
        clocked = self.prepared.settings.clock == "wall"
        keys = ran_at(report)
        return judge(report.batch_columns, keys, report.slo_s, watch.seconds, watch.waiting, watch.canary_s, clocked)


def ran_at(report: Report) -> list[tuple[str, tuple[ShapeKey, ...]]]:
    """What each batch ran at: its model and key, or the keys of its stages where requests stopped early."""
    found = []
    left: dict[int, list[Event]] = {}
    for number, _, event in report.records.events:
        if event.kind is Kind.RELEASE and "students" in (event.columns or {}):
            left.setdefault(number, []).append(event)
    for number, (_, _, _, level, bucket, requests) in enumerate(report.records.batches):
        if (stages := left.get(number)) is None:
            plan = report.plan
            keys = [plan.shape(level.students, bucket, len(requests))]
        else:
            keys = _stages(report, requests, stages)
        found.append((level.model, tuple(keys)))
    return found


def _stages(report: Report, requests: Sequence[int], releases: Sequence[Event]) -> list[ShapeKey]:
    """The keys of a batch's stages, each for the requests that were left. releases: one per stage, in order."""
    keys, before, left = [], 0, set(range(len(requests)))
    for event in releases:
        students = max((event.columns or {})["students"], default=before)
        keys.append(report.plan.key(students - before, [int(report.trace.tokens[requests[row]]) for row in left]))
        before = students
        left.difference_update(event.rows or ())
    return keys


def canary(served: Served) -> Callable[[], object]:
    """The first model's smallest batch, with all its students, on the first device; nothing where that is away."""
    executor = next(iter(served.executors[0].values()))
    length = executor.plan.tokens[0]
    shortest = [np.zeros(length, np.int32)]
    if isinstance(executor, ServerExecutor):
        shortest = executor.draw(ShapeKey(1, 1, length), np.random.default_rng(0))

    def run() -> None:
        with device_errors("GPU 0 failed in the canary"), suppress(Away):
            executor.run(executor.students[-1], shortest)

    return run


def validity(report: Report) -> dict[str, Any]:
    """The validity of a live run, as plain values."""
    found: dict[str, Any] = report.run["live"]["validity"]
    return found


def with_attempts(attempts: Sequence[Report]) -> Report:
    """The report that counts, the last, with the summaries and verdicts of all attempts in its `run`."""
    tried = [{"summary": each.summary, "validity": validity(each)} for each in attempts]
    last = attempts[-1]
    return replace(last, run={**last.run, "live": {**last.run["live"], "attempts": tried}})


def open_live(prepared: Prepared, on_progress: Callable[[str], None] = lambda what: None) -> Devices:
    """Open the device that the settings name, make it warm at every key, and have token ids for every request.

    A trace with texts needs a checkpoint with a tokenizer; its lengths are then those of the tokenizer. Raises what
    `profiler.executors.serving.open_devices` raises, and ValueError for students of another of the table's tasks.
    """
    from profiler.executors import tokens
    from profiler.executors.serving import open_devices

    its, trace, deployment = prepared.settings, prepared.trace, prepared.deployment
    assert its.device is not None
    models, plan = deployment.models, deployment.plan
    _check_task(its, deployment)
    if its.host_budget is not None:
        raise ValueError(
            "--host-budget is simulated: a real device reads its store through the system's page cache, so leave it out"
        )
    on_progress("preparing token ids")
    tokenizing = None
    served = open_devices(
        its.device,
        deployment.table,
        models,
        plan,
        count=its.gpus,
        checkpoint=its.weights,
        seed=its.seed,
        on_progress=on_progress,
    )
    vocab = min(each.spec.vocab for each in served.executors[0].values())
    if trace.text is not None and its.weights is not None:
        ids, tokenizing = tokens.tokenized(trace.text.tolist(), its.weights, plan.max_tokens, vocab)
        lengths = np.fromiter(map(len, ids), np.int32, len(ids))
        prepared = replace(
            prepared, trace=replace(trace, tokens=lengths).noted("tokens counted by the model's tokenizer")
        )
    elif (wording := _wording(served)) is not None:
        ids = tokens.worded(trace.tokens, wording, its.seed)
    else:
        ids = tokens.synthetic(trace.tokens, vocab, its.seed)
    tenants = None
    if its.adapter_budget is not None or "memory" in needs(make(its.policy)):
        on_progress("opening the store of adapters")
        asking = None if trace.tenant is None else trace.tenant.tolist()
        tenants = open_tenants(served, deployment, asking, its.adapter_budget, its.adapters, its.weights, its.seed)
        served = tenants.served
    elif its.adapters is not None:
        raise ValueError(
            "--adapters is given, but nothing loads adapters: add --adapter-budget, or a policy such as lru"
        )
    devices = Devices(prepared, served, ids, tokenizing, tenants)
    on_progress(f"warming the stages of {its.policy}")
    return replace(devices, served=replace(served, warm_s=served.warm_s + devices.warm()))


def _wording(served: Served) -> Wording | None:
    """What makes texts of ids, where the devices are servers that take texts."""
    first = next(iter(served.executors[0].values()))
    return first.wording if isinstance(first, ServerExecutor) else None


def _check_task(its: Settings, deployment: Deployment) -> None:
    """Raise ValueError for a checkpoint of another task: accuracies and margins hold for one."""
    from profiler.executors.serving import task_of

    own = None if its.weights is None else task_of(its.weights)
    if own in deployment.other_tasks:
        counted = f"the run counts with the accuracies of {deployment.task}"
        raise ValueError(f"{its.weights} answers {own}, but {counted}: --task {own}")
