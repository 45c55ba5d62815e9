"""The layers of error: of one live run, and of a cell: some live runs and the simulations of their arrivals."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from analysis.validation.executors import CalibratedExecutor, Learnt, RecordedExecutor, Residuals
from analysis.validation.figures_of_merit import (
    decisions,
    figures,
    implied_bias,
    intervals,
    same_decisions,
    service_errors,
)
from profiler.table import Predictions
from simulator.live import validity
from simulator.reporting.report import Report
from simulator.settings import Prepared


def row(run: Report, virtual: Prepared, predictions: Predictions) -> dict[str, Any]:
    """A live run: its verdict, its figures, and the layers of error that need it alone. virtual: simulates it."""
    batches, told = run.batch_columns, validity(run)
    replayed = virtual.run(executor=RecordedExecutor(run.records))
    ours, theirs = figures(run), figures(replayed)
    rows = run.records.batches
    predicted = np.asarray([predictions.service[each[3].index][each[4]][len(each[5])] for each in rows])
    keys = [(each[3].index, each[4], predictions.plan.padded_batch(len(each[5]))) for each in rows]
    return {
        **told,
        "reasons": "; ".join(told["reasons"]),
        "batches": len(rows),
        **ours,
        "replay_same_decisions": same_decisions(run, replayed),
        "replay_p50_error": theirs["p50_s"] / ours["p50_s"] - 1,
        "replay_p99_error": theirs["p99_s"] / ours["p99_s"] - 1,
        **service_errors(batches["cycle_s"], predicted, keys),
        "cycle_s_total": float(batches["cycle_s"].sum()),
    }


def cell(
    scored: Sequence[Report], virtual: Prepared, predictions: Predictions, learnt: Learnt, seed: int
) -> dict[str, Any]:
    """Figures of the live runs (mean and spread), of the simulations, and how they differ.

    table: the bare medians. own, others: plus a residual drawn from those of the policy's own calibration runs, or of
    all other policies' alone. The decisions and the implied bias are by those of the others.
    """

    def drawn(residuals: Residuals) -> Report:
        rng = np.random.default_rng([seed, 0])
        return virtual.run(executor=CalibratedExecutor(predictions, residuals, rng))

    def scaled(factor: float) -> float:
        executor = CalibratedExecutor(predictions, learnt.others, scale=factor)
        return float(virtual.run(executor=executor).summary["p50_s"])

    others = drawn(learnt.others)
    live = [figures(each) for each in scored]
    simulated = {"table": figures(virtual.run()), "own": figures(drawn(learnt.own)), "others": figures(others)}
    p50 = float(np.mean([each["p50_s"] for each in live]))
    found: dict[str, Any] = {
        "implied_bias": implied_bias(scaled, p50),
        **{f"decisions_{name}": value for name, value in decisions(scored[0], others).items()},
        **{f"spread_{name}": value for name, value in decisions(scored[0], scored[-1]).items()},
    }
    for name in live[0]:
        values = np.asarray([each[name] for each in live])
        found[f"live_{name}"], found[f"spread_{name}"] = float(values.mean()), float(np.ptp(values))
        found |= {f"{model}_{name}": values[name] for model, values in simulated.items()}
    for name, (low, high) in intervals(scored[0], np.random.default_rng([seed, 1])).items():
        found[f"low_{name}"], found[f"high_{name}"] = low, high
    return found
