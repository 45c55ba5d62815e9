"""What is asked of a simulation of a quiet device, and whether it was reached."""

from __future__ import annotations

from typing import Any

import numpy as np
from pandas import DataFrame, Series, concat

from analysis.validation.latencies import FIGURES, SIMULATED, TIMES, latencies, nearness
from traces.shared.text import count, percent

#: What is asked of a quiet device: relative errors of percentiles, points of shares, total variation of decisions.
P50, P99, ATTAINMENT_MEAN, ATTAINMENT_MAX = 0.03, 0.05, 0.005, 0.015
REPLAY, CYCLE, DECISIONS, OVERLOAD_POINTS, CAPACITY = 0.005, 0.02, 0.03, 0.02, 0.02
OVERLOAD = "overload"
#: What is judged: a policy that has never run live has no residuals of its own.
JUDGED = next(iter(SIMULATED))


def verdicts(found: dict[str, Any]) -> list[tuple[str, str, str, str]]:
    """(what, bound, reached, verdict) of every bound. Figures are judged where they rest on VALID runs, only there.

    Simulated: with residuals of the other policies.
    """
    runs, highest = found["runs"], found["meta"]["students"]
    cells, capacities = (judged(found, found[name]) for name in ("cells", "capacity"))
    replay = runs[["replay_p50_error", "replay_p99_error"]].abs().max(axis=None)
    same = int(runs["replay_same_decisions"].sum())
    cycle = runs["key_mape"][runs["valid"]].median()
    valid = cells[cells["valid"] > 0]
    overloaded = valid["scenario"].str.startswith(OVERLOAD)
    calm, over = valid[~overloaded], valid[overloaded]
    tv = calm[["decisions_batch_tv", "decisions_students_tv"]].max(axis=None)
    p50, p99 = (error(calm, name).abs() for name in ("p50_s", "p99_s"))
    within = p99 <= (2 * calm["spread_p99_s"] / calm["live_p99_s"]).clip(lower=P99)
    points = _apart(calm, "attainment")
    dropped, students = _apart(over, "answered").max(), _apart(over, "students_mean").max() / highest
    rated = capacities[capacities["valid"]]
    capacity = (rated[f"{JUDGED}_rate"] / rated["live_rate"] - 1).abs().max()
    agree, pairs = ranking(valid)
    rest = f"{count(len(calm), 'cell')}, {(calm['valid'] == 1).sum()} with one VALID run"
    return [
        ("(i) recorded times replayed: p50, p99", f"{REPLAY:.1%}", percent(replay), _under(replay, REPLAY)),
        ("(i) equal decisions given recorded times", "all runs", f"{same} of {len(runs)}", _word(same == len(runs))),
        ("(ii) device cycle against the table, median run", f"{CYCLE:.0%}", percent(cycle), _under(cycle, CYCLE)),
        ("(iii) decisions, total variation, worst", f"{DECISIONS:.0%}", percent(tv), _under(tv, DECISIONS)),
        (f"(iv) p50, worst of {rest}", f"{P50:.0%}", percent(p50.max(), 1), _under(p50.max(), P50)),
        (f"(iv) p99, worst of {rest}", f"{P99:.0%} or 2 x live spread", percent(p99.max(), 1),
         _word(within.all() if len(p99) else None)),
        *_near(calm_latencies(found)),
        ("(iv) attainment, mean", "0.5 points", _points(points.mean()), _under(points.mean(), ATTAINMENT_MEAN)),
        ("(iv) attainment, worst", "1.5 points", _points(points.max()), _under(points.max(), ATTAINMENT_MAX)),
        ("overload: drops", "2 points", _points(dropped), _under(dropped, OVERLOAD_POINTS)),
        ("overload: mean students", "2 points", _points(students), _under(students, OVERLOAD_POINTS)),
        ("capacity", f"{CAPACITY:.0%}", percent(capacity, 1), _under(capacity, CAPACITY)),
        ("policies in the same order, beyond the spread", "all pairs", f"{agree} of {pairs}",
         _word(agree == pairs if pairs else None)),
    ]  # fmt: skip


def of_session(found: dict[str, Any]) -> list[tuple[str, str, str, str]]:
    """The same bounds for a recorded session against its twin: the simulation of its requests, with residuals.

    found: as `recorded.compare` has it. Judged where the session is VALID.
    """
    happened, twin, spread = found["happened"], found["calibrated"], found["spread"]
    p50, p99 = (abs(twin[name] / happened[name] - 1) for name in ("p50_s", "p99_s"))
    apart = 2 * spread["p99_s"] / happened["p99_s"] if spread else 0.0
    points = abs(twin["attainment"] - happened["attainment"])
    rows = [
        ("p50", f"{P50:.0%}", percent(p50, 1), _under(p50, P50)),
        ("p99", f"{P99:.0%} or 2 x spread", percent(p99, 1), _under(p99, max(P99, apart))),
        ("on time", "0.5 points", _points(points), _under(points, ATTAINMENT_MEAN)),
    ]
    return rows if found["valid"] else [(*row[:3], _word(None)) for row in rows]


def judged(found: dict[str, Any], rows: DataFrame) -> DataFrame:
    """The rows whose policy's residuals come from VALID runs of all other policies."""
    disturbed = {run["policy"] for run in found["calibration"]["runs"] if not run["valid"]}
    return rows[[not disturbed - {policy} for policy in rows["policy"]]]


def calm_latencies(found: dict[str, Any]) -> DataFrame:
    """`nearness` without overload, where latencies grow for as long as a run goes on; of VALID runs what is judged."""
    cells = found["cells"]
    rows = latencies(cells[~cells["scenario"].str.startswith(OVERLOAD)], found["runs"])
    every = rows["figure"].isin([figure.title for figure in FIGURES if not figure.valid])
    return nearness(concat([judged(found, rows[~every]), rows[every]]))


def _near(rows: DataFrame) -> list[tuple[str, str, str, str]]:
    """Verdicts on the figures of VALID runs: are simulations as near to live runs as these are to each other?"""
    rows = rows[
        (rows["simulated"] == JUDGED) & rows["figure"].isin([figure.title for figure in FIGURES if figure.valid])
    ]
    words = {"yes": "met", "no": "**missed**", "not shown": "not shown"}
    return [
        (
            f"(iv) {row['figure']} as near as another live run, {count(row['repeated'], 'cell')} with repeats",
            f"{TIMES:.0f} x {percent(row['live_apart'], 1)} apart",
            percent(row["apart"], 1),
            words[row["near"]],
        )
        for row in rows.to_dict("records")
    ]


def error(cells: Any, name: str, model: str = JUDGED) -> Any:
    """Of simulated figures against the live ones, as a share of the live ones."""
    return cells[f"{model}_{name}"] / cells[f"live_{name}"] - 1


def _apart(cells: DataFrame, name: str) -> Series:
    """How far simulated figures are from the live ones."""
    return (cells[f"{JUDGED}_{name}"] - cells[f"live_{name}"]).abs()


def ranking(cells: DataFrame) -> tuple[int, int]:
    """Pairs of policies whose live difference in weighted goodput exceeds the spread; how many are simulated alike."""
    name = "accuracy_weighted_goodput"
    numbered = cells.reset_index()
    pairs = numbered.merge(numbered, on="scenario", suffixes=("", "_other")).query("index < index_other")
    live, simulated = (pairs[f"{kind}_{name}"] - pairs[f"{kind}_{name}_other"] for kind in ("live", JUDGED))
    clear = live.abs() > (pairs[f"spread_{name}"] + pairs[f"spread_{name}_other"]).clip(lower=1e-4)
    return int((live * simulated > 0)[clear].sum()), int(clear.sum())


def _word(good: bool | None) -> str:
    return "not judged: no VALID runs" if good is None else "met" if good else "**missed**"


def _under(value: float, bound: float) -> str:
    return _word(None if np.isnan(value) else value <= bound)


def _points(value: float) -> str:
    return "-" if np.isnan(value) else f"{value * 100:.2f}"
