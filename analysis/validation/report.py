"""One page on an acceptance set: the verdicts, the tables and the plots, from its files."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from pandas import DataFrame, Series

from analysis.sweeps.frames import frame
from traces.shared.atomic import write_text
from traces.shared.documents import json_text, read_json
from traces.shared.text import milliseconds, percent

#: What is asked of a quiet device: relative errors of percentiles, points of shares, total variation of decisions.
P50, P99, ATTAINMENT_MEAN, ATTAINMENT_MAX = 0.03, 0.05, 0.005, 0.015
REPLAY, CYCLE, DECISIONS, OVERLOAD_POINTS, CAPACITY = 0.005, 0.02, 0.03, 0.02, 0.02
OVERLOAD = "overload"

_ms = partial(milliseconds, digits=3)


def read(folder: Path) -> dict[str, Any]:
    """The files of an acceptance set: runs, cells and capacity as frames. LookupError where the folder has none."""
    names = ("meta", "calibration", "runs", "cells", "capacity")
    missing = [name for name in names if not (folder / f"{name}.json").exists()]
    if missing:
        raise LookupError(f"{folder} is not the output of `analysis validate`: it lacks {', '.join(missing)}.json")
    found = {name: read_json(folder / f"{name}.json") for name in names}
    return found | {name: frame(found[name]) for name in names[2:]}


def write_values(path: Path, values: Any) -> None:
    """Write plain values as JSON; null stands for what is not known."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_text(path, json_text(values, indent=1) + "\n")


def verdicts(found: dict[str, Any]) -> list[tuple[str, str, str, str]]:
    """(what, bound, reached, verdict) of every bound. Figures are judged where they rest on VALID runs, only there."""
    runs, highest = found["runs"], found["meta"]["students"]
    disturbed = [run["policy"] for run in found["calibration"]["runs"] if not run["valid"]]
    cells, capacities = (found[name][~found[name]["policy"].isin(disturbed)] for name in ("cells", "capacity"))
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
    capacity = (rated["drawn_rate"] / rated["live_rate"] - 1).abs().max()
    agree, pairs = ranking(valid)
    return [
        ("(i) recorded times replayed: p50, p99", f"{REPLAY:.1%}", percent(replay), _under(replay, REPLAY)),
        ("(i) equal decisions given recorded times", "all runs", f"{same} of {len(runs)}", _word(same == len(runs))),
        ("(ii) device cycle against the table, median run", f"{CYCLE:.0%}", percent(cycle), _under(cycle, CYCLE)),
        ("(iii) decisions, total variation, worst", f"{DECISIONS:.0%}", percent(tv), _under(tv, DECISIONS)),
        ("(iv) p50, worst", f"{P50:.0%}", percent(p50.max(), 1), _under(p50.max(), P50)),
        ("(iv) p99, worst", f"{P99:.0%} or 2 x live spread", percent(p99.max(), 1),
         _word(within.all() if len(p99) else None)),
        ("(iv) attainment, mean", "0.5 points", _points(points.mean()), _under(points.mean(), ATTAINMENT_MEAN)),
        ("(iv) attainment, worst", "1.5 points", _points(points.max()), _under(points.max(), ATTAINMENT_MAX)),
        ("overload: drops", "2 points", _points(dropped), _under(dropped, OVERLOAD_POINTS)),
        ("overload: mean students", "2 points", _points(students), _under(students, OVERLOAD_POINTS)),
        ("capacity", f"{CAPACITY:.0%}", percent(capacity, 1), _under(capacity, CAPACITY)),
        ("policies in the same order, beyond the spread", "all pairs", f"{agree} of {pairs}",
         _word(agree == pairs if pairs else None)),
    ]  # fmt: skip


def error(cells: Any, name: str, model: str = "drawn") -> Any:
    """Of simulated figures against the live ones, as a share of the live ones."""
    return cells[f"{model}_{name}"] / cells[f"live_{name}"] - 1


def _apart(cells: DataFrame, name: str) -> Series:
    """How far simulated figures are from the live ones."""
    return (cells[f"drawn_{name}"] - cells[f"live_{name}"]).abs()


def ranking(cells: DataFrame) -> tuple[int, int]:
    """Pairs of policies whose live difference in weighted goodput exceeds the spread; how many are simulated alike."""
    name = "accuracy_weighted_goodput"
    numbered = cells.reset_index()
    pairs = numbered.merge(numbered, on="scenario", suffixes=("", "_other")).query("index < index_other")
    live, drawn = (pairs[f"{kind}_{name}"] - pairs[f"{kind}_{name}_other"] for kind in ("live", "drawn"))
    clear = live.abs() > (pairs[f"spread_{name}"] + pairs[f"spread_{name}_other"]).clip(lower=1e-4)
    return int((live * drawn > 0)[clear].sum()), int(clear.sum())


def page(found: dict[str, Any]) -> str:
    """The report as Markdown."""
    meta, runs = found["meta"], found["runs"]
    invalid = runs[~runs["valid"]]
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
    for cell in found["cells"].to_dict("records"):
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
    for row in found["capacity"].to_dict("records"):
        live = row["live_rate"]
        shown = f"{live:,.0f}" if np.isfinite(live) else "not found within the rates tried"
        shown += "" if row["valid"] else " (INVALID runs)"
        simulated = [row["drawn_rate"], row["table_rate"]]
        words = [f"{rate:,.0f}" + (f" ({rate / live - 1:+.1%})" if np.isfinite(live) else "") for rate in simulated]
        lines.append(f"| {row['policy']} | {shown} | {words[0]} | {words[1]} |")
    lines += ["", "## Runs that are INVALID", ""]
    lines += [
        f"- {run.scenario}, {run.policy}, attempt {run.attempt}: {run.reasons}" for run in invalid.itertuples()
    ] or ["None."]
    return "\n".join(lines) + "\n"


def _calibration(run: dict[str, Any]) -> str:
    return f"{run['policy']} at {run['load']} {'VALID' if run['valid'] else 'INVALID'}"


def _word(good: bool | None) -> str:
    return "not judged: no VALID runs" if good is None else "met" if good else "**missed**"


def _under(value: float, bound: float) -> str:
    return _word(None if np.isnan(value) else value <= bound)


def _points(value: float) -> str:
    return "-" if np.isnan(value) else f"{value * 100:.2f}"


def _bias(value: float) -> str:
    return "-" if not np.isfinite(value) else f"{value:+.1%}"
