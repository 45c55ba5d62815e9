"""How sure a plan is of its GPUs: the plan again, with each assumption somewhat wrong."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from pandas import DataFrame

from analysis.plans.planning import Plan, plan
from analysis.sweeps.frames import frame
from analysis.sweeps.sweeping import Progress
from analysis.words import accuracies
from profiler.table import LatencyTable, as_table
from profiler.table.writing import write_table


def sensitivity(
    trace: Any,
    *,
    slo_ms: float,
    attainment: float = 0.99,
    growth: float = 1.0,
    by: float = 0.2,
    table: str | None = None,
    on_progress: Progress | None = None,
    **settings: Any,
) -> DataFrame:
    """The GPUs that the plan's policy and model need with each assumption low and high; a row per assumption.

    Traffic, latency target and service times are changed by the share `by`; the share of late answers that is allowed
    is halved and doubled. Columns: assumption, low_label, low, high_label, high, base; NaN where `max_gpus` are too
    few. settings: as of `analysis.plans.planning.plan`, of one table. Raises ValueError or LookupError for bad input,
    and where the plan itself is out of reach.
    """
    if not 0 < by < 1:
        raise ValueError(f"by is {by}; it must be a share between 0 and 1")
    told = on_progress or (lambda done, total: None)
    settings |= {"tables": [as_table(table).name if table is None else table]}
    asked: dict[str, Any] = {"slo_ms": slo_ms, "attainment": attainment, "growth": growth}
    base = plan(trace, **asked, **settings)
    if not base.choices:
        raise ValueError(
            f"the plan itself is out of reach with up to {base.asked['max_gpus']} GPUs: ask for less first"
        )
    best = base.choices[0].best
    settings |= {"policies": [best.candidate.policy], "models": [best.candidate.model]}
    percent = f"{by:.0%}"
    late = 1 - attainment
    with tempfile.TemporaryDirectory() as folder:
        slower = {share: _scaled(as_table(settings["tables"][0]), share, Path(folder)) for share in (1 - by, 1 + by)}
        variations: dict[str, tuple[tuple[str, dict[str, Any]], ...]] = {
            "traffic": tuple((f"{sign}{percent}", {"growth": growth * share}) for sign, share in _ends(by)),
            "latency target": tuple((f"{slo_ms * share:.4g} ms", {"slo_ms": slo_ms * share}) for _, share in _ends(by)),
            "on time": tuple((f"{1 - each:.6g}", {"attainment": 1 - each}) for each in (min(2 * late, 0.99), late / 2)),
            "service times": tuple((f"{sign}{percent}", {"tables": [slower[share]]}) for sign, share in _ends(by)),
        }
        rows: list[dict[str, Any]] = []
        for name, ends in variations.items():
            row: dict[str, Any] = {"assumption": name, "base": float(best.gpus)}
            for end, (label, changed) in zip(("low", "high"), ends, strict=True):
                found = plan(trace, **asked | {k: v for k, v in changed.items() if k in asked},
                             **settings | {k: v for k, v in changed.items() if k not in asked})  # fmt: skip
                row |= {f"{end}_label": label, end: float(_gpus(found))}
                told(2 * len(rows) + (3 if end == "high" else 2), 9)
            rows.append(row | _said(base))
    return frame(rows)


def _ends(by: float) -> tuple[tuple[str, float], tuple[str, float]]:
    return (("-", 1 - by), ("+", 1 + by))


def _gpus(found: Plan) -> float:
    return found.choices[0].best.gpus if found.choices else np.nan


def _said(found: Plan) -> dict[str, str]:
    """What the plan is of, for the small print."""
    best, asked = found.choices[0].best, found.asked
    grown = "" if asked["growth"] == 1 else f", times {asked['growth']:g}"
    known = "".join(accuracies(asked["tasks"].values(), ", accuracies {}"))
    return {
        "setup": f"{best.candidate.model} with {best.candidate.policy} on {best.candidate.device}{known}",
        "target": f"{asked['attainment']:.6g} on time within {asked['slo_ms']:g} ms",
        "traffic": f"{found.traffic['source']}{grown}",
        "replications": found.traffic["simulated"],
    }


def _scaled(table: LatencyTable, share: float, folder: Path) -> str:
    """The same table with all latencies times a share, as a folder; says so in its name of the device."""
    names = ["model", "students", "depth", "hidden", "batch", "tokens", "latency_us"]
    rows = DataFrame({name: table.columns[name] for name in names})
    rows["latency_us"] = rows["latency_us"].astype(float) * share
    accuracy = () if table.accuracy is None else table.accuracy.rows
    rates = [dict(zip(("model", "students", "task", "accuracy"), row, strict=True)) for row in accuracy]
    out = folder / f"{table.name}-times-{share:g}"
    write_table(out, rows.to_dict("records"), {**table.meta, "scaled": share}, accuracy=rates)
    return str(out)
