"""The acceptance set: the same arrivals live and simulated, for every scenario and policy, and what came of each."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from analysis.sweeps.frames import write
from analysis.validation import capacity
from analysis.validation.comparison import cell, row
from analysis.validation.executors import CalibratedExecutor, Learnt, Residuals
from analysis.validation.report import write_values
from profiler.executors.serving import Served
from profiler.executors.tokens import synthetic
from profiler.table import Deployment
from simulator.defaults import default_slo_s, saturation
from simulator.live import Devices, canary, validity
from simulator.reporting.report import Report
from simulator.reporting.validity import median_s
from simulator.settings import Prepared, Settings, prepare
from traces import load as load_trace
from traces.scaling import compress

Progress = Callable[[float, str], None]


class Scenario(NamedTuple):
    """Traffic of the acceptance set: a generator and its mean load."""

    name: str
    source: str
    load: float


#: Where the error is judged; beyond these, small errors of the service time grow without bound.
SCENARIOS = (
    Scenario("poisson 0.3", "poisson:", 0.3),
    Scenario("poisson 0.6", "poisson:", 0.6),
    Scenario("poisson 0.75", "poisson:", 0.75),
    Scenario("bursts 0.35", "mmpp:levels=1/3,stays=1/0.25,", 0.35),
    Scenario("overload 1.2", "poisson:", 1.2),
)
POLICIES = ("greedy", "timeout", "adaptive")
#: Of these the capacity is found too.
CAPACITY_POLICIES = ("greedy", "adaptive")
#: Loads of the runs that a policy's residuals are taken from: with few waiting and with many. They are not scored, and
#: have arrivals of their own.
CALIBRATION_LOADS, CALIBRATION_SEED = (0.3, 0.9), 10_000
#: The canary of a run may be off by so much from what it took when the set began, which is the median of so many.
MAX_MOVED, CANARIES = 0.02, 20


@dataclass
class Acceptance:
    """The set on warm devices. requests: per run. wanted, most: VALID runs per cell, and attempts to get them.

    lengths: of all requests; one length by default, so that a load means the same for every policy (those that mix
    lengths saturate earlier). slo_s: by default five times batch 1, or twice the largest batch where that is more: who
    has just missed a batch waits for it and is served in the next.

    rows: of every live run. cells: of every scenario and policy. Both are plain values for files, which are written as
    soon as they are known; `raw` has the batches of one run per cell.
    """

    table: str
    model: str
    served: Served
    folder: Path
    requests: int = 20_000
    wanted: int = 2
    most: int = 4
    seed: int = 0
    lengths: str = "constant:tokens=32"
    slo_s: float | None = None
    progress: Progress = lambda share, what: None
    rows: list[dict[str, Any]] = field(default_factory=list)
    cells: list[dict[str, Any]] = field(default_factory=list)
    capacities: list[dict[str, Any]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.predictions = Deployment.of(self.table, self.model).predictions
        tokens = load_trace("constant:rate=100,duration=1", lengths=self.lengths, seed=self.seed).tokens
        buckets = self.predictions.plan.buckets(tokens)
        self._saturation = saturation(self.predictions, buckets)
        largest_s = self.predictions.grid[-1][int(np.median(buckets))][-1]
        self.slo_s = self.slo_s or max(default_slo_s(self.predictions, tokens), 2 * largest_s)
        self._canary_s = float("nan")

    def run(self) -> None:
        """Calibrate, run every cell, find capacities."""
        self.progress(0.0, "calibrating")
        learnt = self._calibrated()
        cells = [(scenario, policy) for scenario in SCENARIOS for policy in POLICIES]
        for number, (scenario, policy) in enumerate(cells):
            self.progress(0.05 + 0.75 * number / len(cells), f"{scenario.name}, {policy}")
            self._cell(scenario, policy, learnt[policy])
        for number, policy in enumerate(CAPACITY_POLICIES):
            self.progress(0.8 + 0.2 * number / len(CAPACITY_POLICIES), f"capacity, {policy}")
            self._capacity(policy, learnt[policy])
        self.progress(1.0, "done")

    def prepared(self, source: str, load: float, policy: str, seed: int, clock: str) -> Prepared:
        """A run's inputs, with as many requests as asked for."""
        assert self.slo_s is not None
        seconds = self.requests / (load * self._saturation)
        return prepare(
            Settings(
                policy=policy,
                trace=f"{source}duration={seconds:.6g}",
                load=load,
                lengths=self.lengths,
                table=self.table,
                model=self.model,
                slo_ms=self.slo_s * 1e3,
                seed=seed,
                clock=clock,
            )
        )

    def live(self, prepared: Prepared) -> Report:
        """Run these inputs on the devices, once. INVALID too where the device is not what it was when the set began."""
        vocab = min(each.spec.vocab for each in self.served.executors[0].values())
        report = Devices(prepared, self.served, synthetic(prepared.trace.tokens, vocab, self.seed)).run()
        if report.run.get("interrupted"):
            raise KeyboardInterrupt
        told = validity(report)
        moved = told["canary_s"] / self._canary_s - 1
        if abs(moved) > MAX_MOVED:
            reason = f"the canary is off by {moved:+.1%} from what it took at first (limit {MAX_MOVED:.0%})"
            told |= {"valid": False, "reasons": (*told["reasons"], reason)}
        told["canary_moved"] = moved
        return report

    def attempts(self, prepared: Prepared, wanted: int) -> list[Report]:
        """Run these inputs until so many runs are VALID, or as often as is allowed."""
        runs: list[Report] = []
        while len(runs) < self.most and sum(map(_valid, runs)) < wanted:
            runs.append(self.live(prepared))
        return runs

    def _calibrated(self) -> dict[str, Learnt]:
        """What live batches take beyond the table, for each policy: what it costs to decide is in it."""
        run = canary(self.served)
        self._canary_s = float(np.median([median_s(run) for _ in range(CANARIES)]))
        runs: dict[str, list[Report]] = {policy: [] for policy in POLICIES}
        told = []
        for policy, own in runs.items():
            for number, load in enumerate(CALIBRATION_LOADS):
                inputs = self.prepared("poisson:", load, policy, CALIBRATION_SEED + number, "wall")
                own.append(self.attempts(inputs, 1)[-1])
                told.append({"policy": policy, "load": load, **validity(own[-1])})
        write_values(self.folder / "calibration.json", {"canary_s": self._canary_s, "runs": told})
        return {policy: Learnt.of(runs, policy, self.predictions) for policy in runs}

    def _cell(self, scenario: Scenario, policy: str, learnt: Learnt) -> None:
        """Run a scenario with a policy until enough runs are VALID, and compare the simulations with them."""
        inputs = self.prepared(scenario.source, scenario.load, policy, self.seed, "wall")
        virtual = replace(inputs, settings=replace(inputs.settings, clock="virtual"))
        names = {"scenario": scenario.name, "policy": policy}
        runs = self.attempts(inputs, self.wanted)
        self.rows += [
            names | {"attempt": number} | row(run, virtual, self.predictions) for number, run in enumerate(runs, 1)
        ]
        write_values(self.folder / "runs.json", self.rows)
        valid = [each for each in runs if _valid(each)]
        counts = {"valid": len(valid), "runs": len(runs)}
        scored = valid or runs
        self.cells.append(names | counts | cell(scored, virtual, self.predictions, learnt, self.seed))
        write_values(self.folder / "cells.json", self.cells)
        name = f"{scenario.name}-{policy}".replace(" ", "-")
        # With its seed these lead the simulator to the very same run.
        batches = scored[0].batches[["service_s", "cycle_s", "size", "students"]]
        (self.folder / "raw").mkdir(exist_ok=True)
        write(batches.astype({"size": np.int16, "students": np.int16}), self.folder / "raw" / f"{name}.parquet")

    def _capacity(self, policy: str, learnt: Learnt) -> None:
        """Find the capacity of a policy: simulated, then live around that."""
        base = self.prepared("poisson:", 0.5, policy, self.seed + 1, "virtual")

        def simulated(factor: float, residuals: Residuals | None) -> float:
            rng = np.random.default_rng([self.seed, 2])
            executor = None if residuals is None else CalibratedExecutor(self.predictions, residuals, rng)
            inputs = replace(base, trace=compress(base.trace, factor))
            return float(inputs.run(executor=executor).summary["attainment"])

        def live(factor: float) -> tuple[float, bool]:
            inputs = replace(base, trace=compress(base.trace, factor), settings=replace(base.settings, clock="wall"))
            run = self.attempts(inputs, 1)[-1]
            return float(run.summary["attainment"]), _valid(run)

        table, own, others = (capacity.peak(partial(simulated, residuals=each)) for each in (None, *learnt))
        points = capacity.measured(live, others) if np.isfinite(others) else []
        known = capacity.crossing([point for point in points if point[2]])
        found = known if np.isfinite(known) else capacity.crossing(points)
        rate = base.trace.rate or float("nan")
        self.capacities.append(
            {
                "policy": policy,
                "slo_s": self.slo_s,
                "attainment": capacity.ATTAINMENT,
                "table_rate": rate * table,
                "own_rate": rate * own,
                "others_rate": rate * others,
                "live_rate": rate * found,
                "valid": bool(np.isfinite(known)),
                "live_points": [[rate * factor, share, valid] for factor, share, valid in points],
            }
        )
        write_values(self.folder / "capacity.json", self.capacities)


def _valid(run: Report) -> bool:
    return bool(validity(run)["valid"])
