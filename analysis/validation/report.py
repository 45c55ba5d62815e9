"""One page on an acceptance set: the verdicts, the tables and the plots, from its files."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from analysis.validation import files
from traces.shared.text import milliseconds, percent

#: What is asked of a quiet device: relative errors of percentiles, points of shares, total variation of decisions.
P50, P99, ATTAINMENT_MEAN, ATTAINMENT_MAX = 0.03, 0.05, 0.005, 0.015
REPLAY, CYCLE, DECISIONS, OVERLOAD_POINTS, CAPACITY = 0.005, 0.02, 0.03, 0.02, 0.02
OVERLOAD = "overload"

_ms = partial(milliseconds, digits=3)


def read(folder: Path) -> dict[str, Any]:
    """The files of an acceptance set. Raises LookupError where the folder has none."""
    names = ("meta", "calibration", "runs", "cells", "capacity")
    missing = [name for name in names if not (folder / f"{name}.json").exists()]
    if missing:
        raise LookupError(f"{folder} is not the output of `analysis validate`: it lacks {', '.join(missing)}.json")
    return {name: files.read(folder / f"{name}.json") for name in names}


def verdicts(found: dict[str, Any]) -> list[tuple[str, str, str, str]]:
    """(what, bound, reached, verdict) of every bound. Figures are judged where they rest on VALID runs, only there."""
    runs = found["runs"]
    disturbed = {run["policy"] for run in found["calibration"]["runs"] if not run["valid"]}
    cells, capacities = (
        [row for row in found[name] if row["policy"] not in disturbed] for name in ("cells", "capacity")
    )
    replay = max((abs(run[name]) for run in runs for name in ("replay_p50_error", "replay_p99_error")), default=np.nan)
    same = sum(run["replay_same_decisions"] for run in runs)
    rows = [
        ("(i) recorded times replayed: p50, p99", f"{REPLAY:.1%}", percent(replay), _under(replay, REPLAY)),
        ("(i) equal decisions given recorded times", "all runs", f"{same} of {len(runs)}", _word(same == len(runs))),
    ]
    valid = [cell for cell in cells if cell["valid"]]
    calm = [cell for cell in valid if not cell["scenario"].startswith(OVERLOAD)]
    over = [cell for cell in valid if cell["scenario"].startswith(OVERLOAD)]
    cycle = np.median([run["key_mape"] for run in runs if run["valid"]] or [np.nan])
    rows.append(
        ("(ii) device cycle against the table, median run", f"{CYCLE:.0%}", percent(cycle), _under(cycle, CYCLE))
    )
    tv = max((cell[name] for cell in calm for name in ("decisions_batch_tv", "decisions_students_tv")), default=np.nan)
    rows.append(("(iii) decisions, total variation, worst", f"{DECISIONS:.0%}", percent(tv), _under(tv, DECISIONS)))
    p50 = [abs(error(cell, "p50_s")) for cell in calm]
    rows.append(("(iv) p50, worst", f"{P50:.0%}", _share(p50), _within(p50, P50)))
    p99 = [abs(error(cell, "p99_s")) for cell in calm]
    bounds = [max(P99, 2 * cell["spread_p99_s"] / cell["live_p99_s"]) for cell in calm]
    good = all(one <= bound for one, bound in zip(p99, bounds, strict=True)) if p99 else None
    rows.append(("(iv) p99, worst", f"{P99:.0%} or 2 x live spread", _share(p99), _word(good)))
    points = [abs(cell["drawn_attainment"] - cell["live_attainment"]) for cell in calm]
    mean = float(np.mean(points)) if points else np.nan
    rows.append(("(iv) attainment, mean", "0.5 points", _points([mean]), _under(mean, ATTAINMENT_MEAN)))
    rows.append(("(iv) attainment, worst", "1.5 points", _points(points), _within(points, ATTAINMENT_MAX)))
    dropped = [abs(cell["drawn_answered"] - cell["live_answered"]) for cell in over]
    rows.append(("overload: drops", "2 points", _points(dropped), _within(dropped, OVERLOAD_POINTS)))
    highest = found["meta"]["students"]
    students = [abs(cell["drawn_students_mean"] - cell["live_students_mean"]) / highest for cell in over]
    rows.append(("overload: mean students", "2 points", _points(students), _within(students, OVERLOAD_POINTS)))
    capacity = [abs(row["drawn_rate"] / row["live_rate"] - 1) for row in capacities if row["valid"]]
    rows.append(("capacity", f"{CAPACITY:.0%}", _share(capacity), _within(capacity, CAPACITY)))
    agree, pairs = ranking(valid)
    rows.append(
        (
            "policies in the same order, beyond the spread",
            "all pairs",
            f"{agree} of {pairs}",
            _word(agree == pairs if pairs else None),
        )
    )
    return rows


def error(cell: dict[str, Any], name: str, model: str = "drawn") -> float:
    """Of a simulated figure against the live one, as a share of the live one."""
    return float(cell[f"{model}_{name}"] / cell[f"live_{name}"] - 1)


def ranking(cells: list[dict[str, Any]]) -> tuple[int, int]:
    """Pairs of policies whose live difference in weighted goodput exceeds the spread; how many are simulated alike."""
    agree = pairs = 0
    name = "accuracy_weighted_goodput"
    for index, one in enumerate(cells):
        for other in cells[index + 1 :]:
            gap = one[f"live_{name}"] - other[f"live_{name}"]
            spread = one[f"spread_{name}"] + other[f"spread_{name}"]
            if one["scenario"] == other["scenario"] and abs(gap) > max(spread, 1e-4):
                pairs += 1
                agree += (one[f"drawn_{name}"] - other[f"drawn_{name}"]) * gap > 0
    return agree, pairs


def page(found: dict[str, Any]) -> str:
    """The report as Markdown."""
    meta, runs = found["meta"], found["runs"]
    invalid = [run for run in runs if not run["valid"]]
    calibration = ", ".join(map(_calibration, found["calibration"]["runs"]))
    lines = [
        f"# Simulation against live runs: {meta['device']}",
        "",
        f"{meta['model']} with up to {meta['students']} students, {meta['requests']:,} requests per run, "
        f"lengths {meta['lengths']}, target "
        f"{meta['slo_s'] * 1e3:.3g} ms; table measured {meta['table_created']}, {meta['table_noise']}. "
        f"Made by `{meta['command']}` on {meta['created']}, commit {meta['commit']}.",
        "",
        f"**{len(runs) - len(invalid)} of {len(runs)} live runs are VALID.** Figures are judged where a cell has VALID "
        "runs and its policy VALID calibration runs, and only there. Simulated: the table's median plus a residual "
        f"drawn from calibration runs that are not scored ({calibration}).",
        "",
        "| layer | bound | reached | |",
        "|---|---|---|---|",
        *(f"| {what} | {bound} | {reached} | {word} |" for what, bound, reached, word in verdicts(found)),
        "",
        "![errors](errors.png)",
        "",
        "## Every cell",
        "",
        "Live figures are means over the VALID runs (over all where none is), ± half their spread; sim: drawn "
        "residuals; table: the bare table. Intervals of the live run are 95 %, by blocks of 0.1 s. Decisions: total "
        "variation between the histograms of live and simulated batches, or students where that is more (and between "
        "two live runs).",
        "",
        "| traffic | policy | VALID | p50 live ms | sim | table | p99 live ms (95 %) | sim | table | on time live "
        "| sim | students live | sim | decisions TV | implied bias |",
        "|---|---|---|---|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for cell in found["cells"]:
        tv, own = (max(cell[f"{which}_batch_tv"], cell[f"{which}_students_tv"]) for which in ("decisions", "spread"))
        lines.append(
            f"| {cell['scenario']} | {cell['policy']} | {cell['valid']} of {cell['runs']} "
            f"| {_ms(cell['live_p50_s'])} ± {_ms(cell['spread_p50_s'] / 2)} | {error(cell, 'p50_s'):+.1%} "
            f"| {error(cell, 'p50_s', 'table'):+.1%} "
            f"| {_ms(cell['live_p99_s'])} ({_ms(cell['low_p99_s'])} to {_ms(cell['high_p99_s'])}) "
            f"± {_ms(cell['spread_p99_s'] / 2)} "
            f"| {error(cell, 'p99_s'):+.1%} | {error(cell, 'p99_s', 'table'):+.1%} "
            f"| {cell['live_attainment']:.2%} | {(cell['drawn_attainment'] - cell['live_attainment']) * 100:+.2f} "
            f"| {cell['live_students_mean']:.2f} | {cell['drawn_students_mean'] - cell['live_students_mean']:+.2f} "
            f"| {tv:.1%} ({own:.1%}) | {_bias(cell['implied_bias'])} |"
        )
    lines += [
        "",
        "## Capacity",
        "",
        "The highest rate with 99 % on time, Poisson arrivals, one sequence compressed in time.",
        "",
        "| policy | live /s | simulated | bare table |",
        "|---|---|---|---|",
    ]
    for row in found["capacity"]:
        live = row["live_rate"]
        shown = f"{live:,.0f}" if np.isfinite(live) else "not found within the rates tried"
        shown += "" if row["valid"] else " (INVALID runs)"
        simulated = [row["drawn_rate"], row["table_rate"]]
        words = [f"{rate:,.0f}" + (f" ({rate / live - 1:+.1%})" if np.isfinite(live) else "") for rate in simulated]
        lines.append(f"| {row['policy']} | {shown} | {words[0]} | {words[1]} |")
    lines += ["", "## Runs that are INVALID", ""]
    lines += [
        f"- {run['scenario']}, {run['policy']}, attempt {run['attempt']}: {run['reasons']}" for run in invalid
    ] or ["None."]
    return "\n".join(lines) + "\n"


def _calibration(run: dict[str, Any]) -> str:
    return f"{run['policy']} at {run['load']} {'VALID' if run['valid'] else 'INVALID'}"


def _word(good: bool | None) -> str:
    return "not judged: no VALID runs" if good is None else "met" if good else "**missed**"


def _under(value: float, bound: float) -> str:
    return _word(None if np.isnan(value) else value <= bound)


def _within(values: list[float], bound: float) -> str:
    return _word(max(values) <= bound if values else None)


def _share(values: list[float]) -> str:
    return f"{max(values):.1%}" if values else "-"


def _points(values: list[float]) -> str:
    return f"{max(values) * 100:.2f}" if values and not np.isnan(max(values)) else "-"


def _bias(value: float) -> str:
    return "-" if not np.isfinite(value) else f"{value:+.1%}"
