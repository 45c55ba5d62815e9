"""The acceptance set: the same arrivals live and simulated, for every scenario and policy, and what came of each."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from analysis.validation.executors import CalibratedExecutor, RecordedExecutor, Residuals
from analysis.validation.figures_of_merit import (
    decisions,
    figures,
    implied_bias,
    intervals,
    same_decisions,
    service_errors,
)
from profiler.serving import Served
from profiler.table import LatencyTable
from profiler.tokens import synthetic
from simulator.defaults import saturation
from simulator.live import Devices, validity
from simulator.report import Report
from simulator.settings import Prepared, Settings, prepare
from simulator.view import Predictions
from traces import load as load_trace

Progress = Callable[[float, str], None]


@dataclass(frozen=True)
class Scenario:
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
#: Of these the capacity is found too, by live runs at rates around the simulated one.
CAPACITY_POLICIES = ("greedy", "adaptive")
CAPACITY_STEPS = (0.88, 0.92, 0.96, 1.0, 1.04, 1.08)
ATTAINMENT = 0.99
#: Loads of the runs that the residuals are taken from; they are not scored, and have arrivals of their own.
CALIBRATION_LOADS, CALIBRATION_SEED = (0.3, 0.9), 10_000


@dataclass
class Acceptance:
    """The set on warm devices. requests: per run. wanted, most: VALID runs per cell, and attempts to get them.

    lengths: of all requests; one length by default, so that a load means the same for every policy (those that mix
    lengths saturate earlier).

    rows: of every live run. cells: of every scenario and policy. Both are plain values for files. raw: per cell the
    times of the batches of one run, which lead the simulator to the same decisions.
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
    progress: Progress = lambda share, what: None
    rows: list[dict[str, Any]] = field(default_factory=list)
    cells: list[dict[str, Any]] = field(default_factory=list)
    capacities: list[dict[str, Any]] = field(default_factory=list)

    def __post_init__(self) -> None:
        table = LatencyTable.load(self.table)
        self.predictions = Predictions(table, table.levels(self.model), table.plan(self.model))

    def run(self) -> dict[str, Any]:
        """Calibrate, run every cell, find capacities; everything is in `folder` as soon as it is known."""
        self.progress(0.0, "calibrating")
        residuals = self._calibrated()
        cells = [(scenario, policy) for scenario in SCENARIOS for policy in POLICIES]
        for number, (scenario, policy) in enumerate(cells):
            self.progress(0.05 + 0.75 * number / len(cells), f"{scenario.name}, {policy}")
            self._cell(scenario, policy, residuals)
        for number, policy in enumerate(CAPACITY_POLICIES):
            self.progress(0.8 + 0.2 * number / len(CAPACITY_POLICIES), f"capacity, {policy}")
            self._capacity(policy, residuals)
        self.progress(1.0, "done")
        return {"runs": self.rows, "cells": self.cells, "capacities": self.capacities}

    def prepared(self, source: str, load: float, policy: str, seed: int, clock: str) -> Prepared:
        """A run's inputs, with as many requests as asked for."""
        typical = load_trace("constant:rate=100,duration=1", lengths=self.lengths, seed=seed).tokens
        seconds = self.requests / (load * saturation(self.predictions, self.predictions.plan.buckets(typical)))
        return prepare(
            Settings(
                policy=policy,
                trace=f"{source}duration={seconds:.6g}",
                load=load,
                lengths=self.lengths,
                table=self.table,
                model=self.model,
                seed=seed,
                clock=clock,
            )
        )

    def live(self, prepared: Prepared) -> Report:
        """Run these inputs on the devices, once."""
        vocab = min(each.spec.vocab for each in self.served.executors[0].values())
        report = Devices(prepared, self.served, synthetic(prepared.trace.tokens, vocab, self.seed)).run()
        if report.run.get("interrupted"):
            raise KeyboardInterrupt
        return report

    def _calibrated(self) -> Residuals:
        runs = []
        for number, load in enumerate(CALIBRATION_LOADS):
            inputs = self.prepared("poisson:", load, "adaptive", CALIBRATION_SEED + number, "wall")
            runs.append(self.live(inputs))
            for _ in range(self.most - 1):
                if validity(runs[-1])["valid"]:
                    break
                runs[-1] = self.live(inputs)
        told = [{"load": load, **validity(run)} for load, run in zip(CALIBRATION_LOADS, runs, strict=True)]
        self._write("calibration.json", told)
        return Residuals.of(runs, self.predictions)

    def _cell(self, scenario: Scenario, policy: str, residuals: Residuals) -> None:
        """Run a scenario with a policy until enough runs are VALID, and compare the simulations with them."""
        inputs = self.prepared(scenario.source, scenario.load, policy, self.seed, "wall")
        virtual = replace(inputs, settings=replace(inputs.settings, clock="virtual"))
        runs: list[Report] = []
        while len(runs) < self.most and sum(validity(each)["valid"] for each in runs) < self.wanted:
            runs.append(self.live(inputs))
            self._note(scenario, policy, len(runs), runs[-1], virtual)
        simulated = {
            "table": virtual.run(),
            "calibrated": virtual.run(executor=CalibratedExecutor(self.predictions, residuals)),
            "drawn": virtual.run(executor=CalibratedExecutor(self.predictions, residuals, self._rng(0))),
        }
        valid = [each for each in runs if validity(each)["valid"]]
        scored = valid or runs
        live = [figures(each) for each in scored]
        first = scored[0]
        bounds = intervals(first, self._rng(1))
        bias = implied_bias(
            lambda factor: virtual.run(executor=CalibratedExecutor(self.predictions, residuals, scale=factor)).summary[
                "p50_s"
            ],
            float(np.mean([each["p50_s"] for each in live])),
        )
        cell: dict[str, Any] = {
            "scenario": scenario.name,
            "policy": policy,
            "valid": len(valid),
            "runs": len(runs),
            "implied_bias": bias,
            **{f"decisions_{name}": value for name, value in decisions(first, simulated["drawn"]).items()},
        }
        for name in live[0]:
            values = np.asarray([each[name] for each in live])
            cell[f"live_{name}"] = float(values.mean())
            cell[f"spread_{name}"] = float(np.ptp(values))
            for model, report in simulated.items():
                cell[f"{model}_{name}"] = figures(report)[name]
        for name, (low, high) in bounds.items():
            cell[f"low_{name}"], cell[f"high_{name}"] = low, high
        self.cells.append(cell)
        self._keep(scenario, policy, first)
        self._write("cells.json", self.cells)

    def _note(self, scenario: Scenario, policy: str, attempt: int, run: Report, virtual: Prepared) -> None:
        """One live run: its verdict, its figures, and the layers of error that need it alone."""
        batches = run.batches
        replayed = virtual.run(executor=RecordedExecutor(batches["service_s"].tolist()))
        ours, theirs = figures(run), figures(replayed)
        levels, rows = self.predictions, run.records.batches
        predicted = np.asarray([levels.service[row[3].index][row[4]][len(row[5])] for row in rows])
        keys = [(row[3].index, row[4], levels.plan.padded_batch(len(row[5]))) for row in rows]
        self.rows.append(
            {
                "scenario": scenario.name,
                "policy": policy,
                "attempt": attempt,
                **{name: value for name, value in validity(run).items() if name != "reasons"},
                "reasons": "; ".join(validity(run)["reasons"]),
                "batches": len(rows),
                **ours,
                "replay_same_decisions": same_decisions(run, replayed),
                "replay_p50_error": theirs["p50_s"] / ours["p50_s"] - 1,
                "replay_p99_error": theirs["p99_s"] / ours["p99_s"] - 1,
                **service_errors(batches["cycle_s"], predicted, keys),
                "cycle_s_total": float(batches["cycle_s"].sum()),
            }
        )
        self._write("runs.json", self.rows)

    def _capacity(self, policy: str, residuals: Residuals) -> None:
        """The highest rate with enough attainment, simulated and live, on one sequence of arrivals, compressed."""
        base = self.prepared("poisson:", 0.5, policy, self.seed + 1, "virtual")

        def attainment(factor: float, calibrated: bool) -> float:
            executor = CalibratedExecutor(self.predictions, residuals, self._rng(2)) if calibrated else None
            return float(compressed(base, factor).run(executor=executor).summary["attainment"])

        models = {"table": False, "drawn": True}
        simulated = {name: peak(partial(attainment, calibrated=flag)) for name, flag in models.items()}
        live: list[tuple[float, float, bool]] = []
        for step in CAPACITY_STEPS if np.isfinite(simulated["drawn"]) else ():
            inputs = compressed(base, step * simulated["drawn"])
            inputs = replace(inputs, settings=replace(inputs.settings, clock="wall"))
            report = self.live(inputs)
            live.append((step * simulated["drawn"], report.summary["attainment"], validity(report)["valid"]))
        rate = float(base.trace.rate or np.nan)
        self.capacities.append(
            {
                "policy": policy,
                "slo_s": base.run().slo_s,
                "attainment": ATTAINMENT,
                **{f"{name}_rate": rate * factor for name, factor in simulated.items()},
                "live_rate": rate * crossing([each[0] for each in live], [each[1] for each in live]),
                "live_points": [[rate * factor, share, valid] for factor, share, valid in live],
            }
        )
        self._write("capacity.json", self.capacities)

    def _rng(self, stream: int) -> np.random.Generator:
        return np.random.default_rng(np.random.SeedSequence([self.seed, stream]))

    def _keep(self, scenario: Scenario, policy: str, run: Report) -> None:
        """The batches of a run, small: with the seed they lead the simulator to the very same run."""
        import pyarrow as pa
        import pyarrow.parquet

        folder = self.folder / "raw"
        folder.mkdir(parents=True, exist_ok=True)
        columns = {name: run.batches[name] for name in ("service_s", "cycle_s")}
        columns |= {name: run.batches[name].astype(np.int16) for name in ("size", "students")}
        name = f"{scenario.name}-{policy}".replace(" ", "-")
        pa.parquet.write_table(pa.table(columns), folder / f"{name}.parquet", compression="zstd")

    def _write(self, name: str, values: Any) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        partial = self.folder / f"{name}.tmp"
        partial.write_text(json.dumps(_known(values), indent=1, allow_nan=False) + "\n")
        partial.rename(self.folder / name)


def _known(values: Any) -> Any:
    """None for NaN, which JSON does not have."""
    if isinstance(values, dict):
        return {name: _known(value) for name, value in values.items()}
    if isinstance(values, (list, tuple)):
        return [_known(value) for value in values]
    return None if isinstance(values, float) and not np.isfinite(values) else values


def compressed(prepared: Prepared, factor: float) -> Prepared:
    """The same requests, `factor` times as fast."""
    trace = prepared.trace
    seconds = None if trace.duration_s is None else trace.duration_s / factor
    return replace(prepared, trace=replace(trace, arrival_s=trace.arrival_s / factor, duration_s=seconds))


def peak(attainment: Callable[[float], float], low: float = 0.2, high: float = 6.0) -> float:
    """The largest factor with enough attainment, to 0.3 %."""
    if attainment(low) < ATTAINMENT:
        return float("nan")
    while high / low > 1.003:
        middle = float(np.sqrt(low * high))
        low, high = (middle, high) if attainment(middle) >= ATTAINMENT else (low, middle)
    return low


def crossing(factors: Sequence[float], shares: Sequence[float]) -> float:
    """Where the attainment falls below what is asked, between the measured factors; NaN where it does not."""
    for (low, above), (high, below) in zip(
        zip(factors, shares, strict=True), list(zip(factors, shares, strict=True))[1:], strict=False
    ):
        if above >= ATTAINMENT > below:
            return low + (high - low) * (above - ATTAINMENT) / (above - below)
    return float("nan")
