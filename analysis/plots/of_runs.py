"""Figures of runs: one line per policy, several seeds of one as one line, the setup in small print."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from pandas import concat

from analysis.plots.axes import batches, latency, residency, style
from analysis.plots.axes import timeline as time
from analysis.runs import Run

#: Bins of the timeline, and the height of a panel in millimetres.
_BINS, _PANEL_MM = 120, 15.5


def latency_cdf(runs: Sequence[Run], width_mm: float = style.COLUMN_MM) -> Figure:
    """Latency of all requests, and the SLO."""
    return _distribution(runs, width_mm, latency.latency_cdf, "Latency of all requests")


def latency_ccdf(runs: Sequence[Run], width_mm: float = style.COLUMN_MM) -> Figure:
    """The tail of the latency, and the SLO."""
    return _distribution(runs, width_mm, latency.latency_ccdf, "Tail of the latency")


def batch_sizes(runs: Sequence[Run], width_mm: float = style.COLUMN_MM) -> Figure:
    """How large the batches were."""
    with style.titled("Batch sizes", signs(runs), width_mm, 38) as (figure, (axes,)):
        for index, (name, run) in enumerate(_named(runs)):
            batches.batch_sizes(run.batches, axes, label=name, **style.line_look(index))
        return figure


def padding(runs: Sequence[Run], width_mm: float = style.COLUMN_MM) -> Figure:
    """Where tokens were spent on padding, a panel per run."""
    millions = max(batches.most_padded(run.requests, run.batches) for run in runs) >= 1e6
    title, rows = "Padding by length bucket, and the share wasted", len(runs)
    with style.titled(title, signs(runs), width_mm, 4 + 36 * rows, rows) as (figure, panels):
        for axes, (name, run) in zip(panels, _named(runs), strict=True):
            batches.padding_by_bucket(run.requests, run.batches, axes, millions=millions)
            axes.set_title(name if len(runs) > 1 else "", loc="right", color=style.GREY)
        return figure


def gantt(
    runs: Sequence[Run], width_mm: float = style.COLUMN_MM, *, start_s: float | None = None, window_s: float = 0.2
) -> Figure:
    """What the GPUs did for 200 ms, a panel per run."""
    start_s = batches.busiest(runs[0].batches, window_s) if start_s is None else start_s
    levels = batches.levels_of(*(run.batches for run in runs))
    title, lanes = "Batches on the GPUs, their sizes and students", sum(run.summary["gpus"] for run in runs)
    size = (width_mm, 4 + 11 * len(runs) + 6 * lanes, len(runs))
    with style.titled(title, signs(runs), *size, handlelength=1.0) as (figure, panels):
        for axes, (name, run) in zip(panels, _named(runs), strict=True):
            if run is runs[0] or len(batches.running(run.batches, start_s, window_s)):
                batches.gantt(run.batches, axes, start_s=start_s, window_s=window_s, levels=levels)
            else:  # done before, or idle
                axes.set_axis_off()
                axes.text(0.5, 0.5, "no batch runs in this window", ha="center", transform=axes.transAxes)
            axes.set_title(name if len(runs) > 1 else "", loc="right", color=style.GREY)
        return figure


def loads(
    runs: Sequence[Run], width_mm: float = style.COLUMN_MM, *, start_s: float | None = None, window_s: float = 0.2
) -> Figure:
    """What the GPUs and their links did for 200 ms, a panel per run with adapters.

    Raises ValueError for a run that binds none.
    """
    bare = [run.name for run in runs if run.loads is None]
    if bare or not window_s > 0:
        what = f"{bare[0]} loads no adapters" if bare else f"a window of {window_s} s has no extent"
        raise ValueError(f"{what}: give runs with --adapter-budget, and a window of some seconds")
    start_s = batches.busiest(runs[0].batches, window_s) if start_s is None else start_s
    lanes = 2 * sum(run.summary["gpus"] for run in runs)
    size = (width_mm, 4 + 11 * len(runs) + 6 * lanes, len(runs))
    with style.titled("Batches and loads of adapters", signs(runs), *size, handlelength=1.0) as (figure, panels):
        for axes, (name, run) in zip(panels, _named(runs), strict=True):
            assert run.loads is not None
            residency.loads(run.batches, run.loads, axes, start_s=start_s, window_s=window_s)
            axes.set_title(name if len(runs) > 1 else "", loc="right", color=style.GREY)
        return figure


def timeline(runs: Sequence[Run], width_mm: float = style.COLUMN_MM, *, number: int = _BINS) -> Figure:
    """Arrivals, queue, students, batches, p99 and drops over time.

    Raises ValueError for no run, more runs than there are colours, and runs that do not serve the same requests.
    """
    if not 1 <= len(runs) <= len(style.COLOURS):
        raise ValueError(f"a timeline shows 1 to {len(style.COLOURS)} runs, not {len(runs)}")
    for run in runs[1:]:
        if not np.array_equal(run.requests["arrival_s"], runs[0].requests["arrival_s"]):
            raise ValueError(f"{run.name} and {runs[0].name} serve different traces: a timeline compares runs on one")
    edges = time.bins(runs[0].requests, number)
    size = (width_mm, 6 + 6 * _PANEL_MM, 6)
    with style.titled("Over time", signs(runs), *size, named=slice(1, None), sharex=True) as (figure, panels):
        time.arrivals(runs[0].requests, panels[0], edges)
        for index, (name, run) in enumerate(_named(runs)):
            look: dict[str, Any] = style.line_look(index) | {"label": name, "linewidth": 0.9}
            time.queue(run.requests, panels[1], edges, **look)
            time.students(run.batches, panels[2], edges, **look)
            time.batch(run.batches, panels[3], edges, **look)
            time.rolling_p99(run.requests, panels[4], edges, **look)
            time.drops(run.requests, panels[5], edges, **look)
        for slo_s in sorted({run.slo_s for run in runs}):
            style.target(panels[4], slo_s * 1e3, f"SLO {slo_s * 1e3:.4g} ms")
        panels[5].set_xlabel(f"time (s), in bins of {edges[1] - edges[0]:.3g} s")
        for axes in panels:
            style.grid(axes)
        figure.align_ylabels(panels)
        return figure


def named(runs: Sequence[Run]) -> list[str]:
    """A name for each run: its policy, files without their folders, and what else tells it apart where it is needed."""
    names = [re.sub(r"[^=\s'\"(,;]*/", "", run.name) for run in runs]
    if len(set(names)) < len({run.name for run in runs}):
        names = [run.name for run in runs]
    for more in (
        lambda run: run.setup,
        lambda run: f"SLO {run.slo_s * 1e3:.4g} ms",
        lambda run: run.settings["trace"]["source"],
        lambda run: f"seed {run.settings['seed']}",
    ):
        if len(set(names)) == len(names):
            break
        parts = [more(run) for run in runs]
        if len(set(parts)) > 1:
            names = [f"{name}: {part}" for name, part in zip(names, parts, strict=True)]
    return names


def _named(runs: Sequence[Run]) -> list[tuple[str, Run]]:
    return list(zip(named(runs), runs, strict=True))


def _distribution(runs: Sequence[Run], width_mm: float, draw: Callable[..., Axes], title: str) -> Figure:
    groups = _by_seed(runs)
    slos = [group[0].slo_s for group in groups]
    with style.titled(title, signs(runs), width_mm, 46) as (figure, (axes,)):
        for index, (name, group) in enumerate(zip(named([group[0] for group in groups]), groups, strict=True)):
            slo_s = slos[index] if slos[index] not in slos[:index] else None
            pooled = concat(run.requests[["arrival_s", "finish_s"]].assign(seed=run.settings["seed"]) for run in group)
            draw(pooled, axes, slo_s=slo_s, label=name, **style.line_look(index))
        return figure


def _by_seed(runs: Sequence[Run]) -> list[list[Run]]:
    """Runs that differ in nothing but their seed, together."""
    groups: dict[tuple[Any, ...], list[Run]] = {}
    for run in runs:
        groups.setdefault((run.name, run.setup, run.slo_s, run.settings["trace"]["source"]), []).append(run)
    return list(groups.values())


def signs(runs: Sequence[Run]) -> list[str]:
    """The small print that says what served which trace, and how many seeds there are."""
    seeds = sorted({run.settings["seed"] for run in runs})
    seen = f"mean and range of {len(seeds)} seeds" if len(seeds) > 1 else f"1 seed ({seeds[0]})"
    traces = (run.settings["trace"]["source"] for run in runs)
    return [*dict.fromkeys(run.setup for run in runs), *dict.fromkeys(traces), seen]
