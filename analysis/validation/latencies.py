"""Errors of simulated latencies, by what the simulation adds to the table, beside how far live runs are apart."""

from __future__ import annotations

from itertools import combinations
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pandas import DataFrame

from analysis.comparisons.statistics import mean_intervals

#: What a simulation adds to the table's times, by the prefix of its columns in cells.json. The first is judged: a new
#: policy gets no better one.
SIMULATED = {
    "others": "residuals of the other policies",
    "own": "residuals of the policy itself",
    "table": "bare table",
}


class Figure(NamedTuple):
    """A percentile of the live runs that count: the VALID ones, or all."""

    title: str
    column: str
    valid: bool


FIGURES = (Figure("p50", "p50_s", True), Figure("p99", "p99_s", True), Figure("p99 of all runs", "p99_s", False))
COLUMNS = ["scenario", "policy", "figure", "runs", "live_s", "live_apart"]
COLUMNS += [column for name in SIMULATED for column in (name, f"apart_{name}")]
#: A simulation is as near to a live run as another live run is, where it is at most so many times as far from it.
TIMES, CONFIDENCE = 2.0, 0.95


def latencies(cells: DataFrame, runs: DataFrame) -> DataFrame:
    """A row per cell and figure: scenario, policy, figure, runs, live_s, live_apart, an error per entry of SIMULATED.

    runs: how many the figure rests on; live_s: their mean, NaN for none. Errors: simulated over live, less one.
    live_apart: how far two live runs are apart, and apart_NAME: how far the simulation is from one, each the mean over
    pairs of abs(log(one / other)), NaN where there is no pair.
    """
    rows = []
    for cell in cells.to_dict("records"):
        its = runs[(runs["scenario"] == cell["scenario"]) & (runs["policy"] == cell["policy"])]
        for figure in FIGURES:
            live = its[its["valid"] | (not figure.valid)][figure.column].dropna().to_numpy(np.float64)
            mean = live.mean() if len(live) else np.nan
            row: dict[str, Any] = {"scenario": cell["scenario"], "policy": cell["policy"], "figure": figure.title}
            row |= {"runs": len(live), "live_s": mean}
            row["live_apart"] = _mean([_apart(*two) for two in combinations(live, 2)])
            for name in SIMULATED:
                simulated = cell[f"{name}_{figure.column}"]
                row[name], row[f"apart_{name}"] = simulated / mean - 1, _mean(_apart(simulated, live))
            rows.append(row)
    return DataFrame(rows, columns=COLUMNS)


def nearness(found: DataFrame) -> DataFrame:
    """Of `latencies`, a row per figure and entry of SIMULATED: is a simulation like another live run of its arrivals?

    cells, runs: those with a live run. worst, mean: of the errors, without signs. repeated: the cells with two runs or
    more; live_apart and apart are means over these. near: "yes" where, with 95 % confidence over the cells, `apart` is
    at most TIMES `live_apart`, "no" where it is more, else "not shown" (two one-sided tests, Schuirmann 1987).
    """
    rows = []
    for figure in FIGURES:
        its = found[(found["figure"] == figure.title) & (found["runs"] > 0)]
        repeated = its[its["runs"] > 1]
        for name in SIMULATED:
            errors = its[name].abs()
            row = {"figure": figure.title, "simulated": name, "cells": len(its), "runs": int(its["runs"].sum())}
            row |= {"worst": errors.max(), "mean": errors.mean(), "repeated": len(repeated)}
            row |= {"live_apart": repeated["live_apart"].mean(), "apart": repeated[f"apart_{name}"].mean()}
            excess = (repeated[f"apart_{name}"] - TIMES * repeated["live_apart"]).to_numpy(np.float64)
            rows.append(row | {"near": _near(excess)})
    return DataFrame(rows)


def _near(excess: NDArray[np.float64]) -> str:
    """Whether the mean of what is beyond the bound is below zero. Each side is tested at 1 - CONFIDENCE."""
    if len(excess) < 2:
        return "not shown"
    (ends,) = mean_intervals(excess[:, None], confidence=2 * CONFIDENCE - 1).itertuples()
    return "yes" if ends.high <= 0 else "no" if ends.low > 0 else "not shown"


def _apart(one: float, other: NDArray[np.float64] | float) -> NDArray[np.float64]:
    return np.abs(np.log(one / np.asarray(other, np.float64)))


def _mean(values: NDArray[np.float64] | list[NDArray[np.float64]]) -> float:
    return float(np.mean(values)) if len(values) else np.nan
