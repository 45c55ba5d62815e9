"""One page on an acceptance set: the verdicts and the tables, from its files."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from analysis.sweeps.frames import frame
from analysis.validation.latencies import SIMULATED, latencies
from analysis.validation.verdicts import JUDGED, calm_latencies, verdicts
from traces.shared.atomic import write_text
from traces.shared.documents import json_text, read_json
from traces.shared.text import milliseconds, number, percent

_ms = partial(milliseconds, digits=3)


def read(folder: Path) -> dict[str, Any]:
    """The files of an acceptance set: runs, cells and capacity as frames. LookupError where the folder has none."""
    names = ("meta", "calibration", "runs", "cells", "capacity")
    missing = [name for name in names if not (folder / f"{name}.json").exists()]
    if missing:
        raise LookupError(f"{folder} is not the output of `analysis validate`: it lacks {', '.join(missing)}.json")
    found = {name: read_json(folder / f"{name}.json") for name in names}
    found |= {name: frame(found[name]) for name in names[2:]}
    if f"{JUDGED}_p50_s" not in found["cells"]:
        raise LookupError(f"{folder} was measured before residuals were learnt from other policies: measure it again")
    return found


def write_values(path: Path, values: Any) -> None:
    """Write plain values as JSON; null stands for what is not known."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_text(path, json_text(values, indent=1) + "\n")


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
        "runs and the calibration runs of the other policies are VALID, and only there. Simulated: the table's median "
        f"plus a residual drawn from calibration runs of the other policies ({calibration}). No run of the policy that "
        "is scored is among them.",
        "",
        "| layer | bound | reached | |",
        "|---|---|---|---|",
        *(f"| {what} | {bound} | {reached} | {word} |" for what, bound, reached, word in verdicts(found)),
        "",
        "![errors](errors.png)",
        "",
        *_latencies(found),
        "",
        "## What was decided",
        "",
        "Live: means over the VALID runs (over all where none is). Simulated: with residuals of the other policies, "
        "less live. Decisions apart: total variation between the histograms of live and simulated batches, or "
        "students where that is more. Implied bias: of the service time.",
        "",
        "| traffic | policy | VALID runs | on time live | simulated, points | students live | simulated "
        "| decisions apart | two live runs apart | implied bias |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for cell in found["cells"].to_dict("records"):
        apart, own = (max(cell[f"{which}_batch_tv"], cell[f"{which}_students_tv"]) for which in ("decisions", "spread"))
        points, students = (cell[f"{JUDGED}_{name}"] - cell[f"live_{name}"] for name in ("attainment", "students_mean"))
        lines.append(
            f"| {cell['scenario']} | {cell['policy']} | {cell['valid']} of {cell['runs']} "
            f"| {cell['live_attainment']:.2%} | {points * 100:+.2f} "
            f"| {cell['live_students_mean']:.2f} | {students:+.2f} "
            f"| {apart:.1%} | {'-' if max(cell['valid'], 1) == 1 else f'{own:.1%}'} | {_bias(cell['implied_bias'])} |"
        )
    lines += [
        "",
        "## Capacity",
        "",
        "The highest rate with 99 % on time, Poisson arrivals, one sequence compressed in time.",
        "",
        f"| policy | live /s | {' | '.join(SIMULATED.values())} |",
        f"|---|---|{'---|' * len(SIMULATED)}",
    ]
    for row in found["capacity"].to_dict("records"):
        live = row["live_rate"]
        shown = f"{live:,.0f}" if np.isfinite(live) else "not found within the rates tried"
        shown += "" if row["valid"] else " (INVALID runs)"
        rates = [row[f"{name}_rate"] for name in SIMULATED]
        words = [number(rate) + (f" ({rate / live - 1:+.1%})" if np.isfinite(rate / live) else "") for rate in rates]
        lines.append(f"| {row['policy']} | {shown} | {' | '.join(words)} |")
    lines += ["", "## Runs that are INVALID", ""]
    lines += [
        f"- {run.scenario}, {run.policy}, attempt {run.attempt}: {run.reasons}" for run in invalid.itertuples()
    ] or ["None."]
    return "\n".join(lines) + "\n"


def _latencies(found: dict[str, Any]) -> Iterator[str]:
    """Two tables: every cell's latencies and their errors, and what they come to."""
    yield "## Latencies"
    yield ""
    yield (
        "Runs: how many live runs a figure is the mean of. Errors: simulated over live, less one; the bare table has "
        "no residuals. Apart: two runs of the same arrivals, by the logarithm of their ratio, on average over pairs. "
        "95 %: of one VALID run, by blocks of 0.1 s; none where requests took longer than that."
    )
    yield ""
    names = " | ".join(SIMULATED.values())
    yield f"| traffic | policy | figure | runs | live ms | 95 % | two live runs apart | {names} |"
    yield "|---|---|---|---|---|---|---|" + "---|" * len(SIMULATED)
    ends = {(cell["scenario"], cell["policy"]): cell for cell in found["cells"].to_dict("records")}
    for row in latencies(found["cells"], found["runs"]).to_dict("records"):
        cell, name = ends[row["scenario"], row["policy"]], f"{row['figure']}_s"
        low, high = (cell.get(f"{end}_{name}", np.nan) if row["runs"] else np.nan for end in ("low", "high"))
        errors = " | ".join(_signed(row[each]) for each in SIMULATED)
        yield (
            f"| {row['scenario']} | {row['policy']} | {row['figure']} | {row['runs']} | {_ms(row['live_s'])} "
            f"| {'-' if np.isnan(low) else f'{_ms(low)} to {_ms(high)}'} | {percent(row['live_apart'], 1)} | {errors} |"
        )
    yield ""
    yield (
        "Without overload, where latencies grow for as long as a run goes on. As near: is the simulation at most twice "
        "as far from a live run as another live run is, on average over the cells with repeats, with 95 % confidence?"
    )
    yield ""
    yield (
        "| figure | simulated with | cells | runs | worst error | mean error | cells with repeats "
        "| two live runs apart | simulation and live run apart | as near |"
    )
    yield "|---|---|---|---|---|---|---|---|---|---|"
    for row in calm_latencies(found).to_dict("records"):
        shares = [percent(row[name], 1) for name in ("worst", "mean", "live_apart", "apart")]
        shares.insert(2, str(row["repeated"]))
        cells = [row["figure"], SIMULATED[row["simulated"]], str(row["cells"]), str(row["runs"]), *shares, row["near"]]
        yield f"| {' | '.join(cells)} |"


def _signed(share: float) -> str:
    return "-" if np.isnan(share) else f"{share:+.1%}"


def _calibration(run: dict[str, Any]) -> str:
    return f"{run['policy']} at {run['load']} {'VALID' if run['valid'] else 'INVALID'}"


def _bias(value: float) -> str:
    return "-" if not np.isfinite(value) else f"{value:+.1%}"
