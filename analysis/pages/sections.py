"""What a report says of runs, a sweep and a comparison: a section each."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from pandas import DataFrame

from analysis.pages.page import Section, Shown, Table, show
from analysis.plans.answer import printed
from analysis.plans.planning import Plan
from analysis.plots.axes.curves import distinct, seeds, series
from analysis.plots.axes.quantities import quantity
from analysis.plots.catalogue import PLOTS
from analysis.plots.of_runs import named
from analysis.plots.of_sweeps import setup
from analysis.runs import Run
from analysis.words import accuracies
from traces.shared.text import count, number, percent

#: Figures are drawn at this width and scaled to the page's.
WIDTH_MM = 105.0
#: The figures of a summary as the columns of a table.
FIGURES = {
    "p50_s": "p50 ms",
    "p95_s": "p95 ms",
    "p99_s": "p99 ms",
    "attainment": "on time %",
    "goodput": "goodput /s",
    "accuracy": "accuracy %",
    "accuracy_weighted_goodput": "weighted %",
    "batch_mean": "batch",
    "students_mean": "students",
    "padding": "padding %",
    "utilisation": "busy %",
}
DENOMINATORS = (
    "On time and weighted (the sum of accuracies over on-time answers) are shares of the offered requests; latencies "
    "and accuracy are of the answered ones; padding is of the tokens run, busy of the GPUs' time."
)
#: Rows of a sweep's table; what is beyond is in its results.csv.
MOST_ROWS = 60


def of_runs(runs: Sequence[Run]) -> Section:
    """One or several runs: a row each, and their figures; those on different traces have no common timeline."""
    names = named(runs)
    rows = [[name, *_cells(run.summary), _lost(run.summary)]
            for name, run in zip(names, runs, strict=True)]  # fmt: skip
    head = ["policy", *FIGURES.values(), "not on time"]
    one_trace = all(np.array_equal(run.requests["arrival_s"], runs[0].requests["arrival_s"]) for run in runs)
    wanted = ["timeline"] if one_trace else []
    wanted += ["latency-cdf", "latency-tail"] if any(run.summary["ok"] + run.summary["late"] for run in runs) else []
    wanted += ["batch-sizes", "padding", "gantt"] if all(run.summary["batches"] for run in runs) else []
    return Section(
        "Run" if len(runs) == 1 else f"{len(runs)} runs",
        [*dict.fromkeys(line for run in runs for line in _said_of(run))],
        [Table(head, rows, DENOMINATORS)],
        [_figure(name, runs) for name in wanted],
        [_origins(names, runs)],
    )


def of_sweep(frame: DataFrame) -> Section:
    """A sweep: the figures that what it varied calls for, and its cells, mean over seeds."""
    names, which = series(frame, "seed")
    several = len(distinct(frame, "policy")) > 1
    wanted = []
    if any(x in frame and frame[x].round(9).nunique() > 2 for x in ("load", "rate")):
        wanted += ["latency-load", "attainment-load", "goodput-rate"]
    if len(distinct(frame, "gpus")) > 1:
        wanted += ["goodput-gpus", "gpus-needed"]
    for axis, name in (("slo_ms", "map-slo"), ("cv", "map-burstiness")):
        if len(distinct(frame, axis)) > 1 and len(distinct(frame, "load")) > 1:
            wanted.append(name)
    wanted += ["accuracy-latency", "accuracy-goodput"] if several and len(names) <= 12 else []
    means = frame[[name for name in FIGURES if name in frame]].groupby(which).mean(skipna=False)
    rows = [[name, *_cells(row)] for name, row in zip(names, means.to_dict("records"), strict=True)]
    caption = f"Mean over {seeds(frame).removeprefix('mean and range of ')}. {DENOMINATORS}"
    if len(rows) > MOST_ROWS:
        caption += f" The first {MOST_ROWS} of {len(rows)} series; all are in the sweep's results.csv."
    head = ["series", *FIGURES.values()]
    said = [", ".join(setup(frame)) + ".", *_accuracies(frame)]
    return Section("Sweep", said, [Table(head, rows[:MOST_ROWS], caption)],
                   [_figure(name, frame) for name in wanted])  # fmt: skip


def of_comparison(frame: DataFrame) -> Section:
    """A comparison: policies with intervals, how near each is to the optimum, differences to the reference."""
    ceilings, kinds = distinct(frame, "ceiling"), distinct(frame, "ceiling_kind")
    of_best = "of the optimum" if kinds == ["exact"] else f"of the {' '.join(map(str, kinds)) or 'optimum'}"
    head = ["policy", "on time %", "accuracy %", "p99 ms", "weighted %", "95 %", of_best,
            f"points from {frame['reference'].iloc[0]}", "95 %, together"]  # fmt: skip
    rows, shown = [], ("attainment", "accuracy", "p99_s", "accuracy_weighted_goodput")
    for row in frame.to_dict("records"):
        cells = [_cell(name, row.get(name)) for name in shown]
        rows.append([str(row["policy"]), *cells, _ends(row, "accuracy_weighted_goodput"), percent(row.get("reached")),
                     f"{100 * row['difference']:+.2f}", _ends(row, "difference")])  # fmt: skip
    said = f"No policy exceeds {ceilings[0]:.2%} ({' '.join(map(str, kinds))})." if ceilings else "No optimum is known."
    served = ", ".join([*setup(frame), *distinct(frame, "replications")]) + "."
    return Section("Comparison", [served, said, *_accuracies(frame)], [Table(head, rows)],
                   [_figure(name, frame) for name in ("weighted", "differences")])  # fmt: skip


def of_capacity(frame: DataFrame) -> Section:
    """Capacities: the highest rate of each series, with its interval and verdict."""
    names, which = series(frame, "load")
    head = ["series", "capacity /s", "95 %", "load", "p99 ms", "accuracy %", "students", "verdict"]
    rows = []
    for place, row in zip(which, frame.to_dict("records"), strict=True):
        ends = f"{row['capacity_low']:.4g}\u00a0to\u00a0{row['capacity_high']:.4g}"
        cells = [_cell(key, row[key]) for key in ("load", "p99_s", "accuracy", "students_mean")]
        rows.append([names[place], _cell("capacity", row["capacity"]), ends if row["seeds"] > 1 else "unknown", *cells,
                     str(row["verdict"])])  # fmt: skip
    said = f"{', '.join(setup(frame))}; {frame['target'].iloc[0]:.4g} of the requests on time."
    return Section("Capacity", [said, *_accuracies(frame)], [Table(head, rows)], [_figure("capacity", frame)])


def of_plan(plan: Plan) -> Section:
    """A plan: the answer in words, and what was tried."""
    figures = [_figure("plan", plan)] if len(plan.points) else []
    return Section("Plan", text=printed(plan), figures=figures)


def of_crossover(frame: DataFrame) -> Section:
    """The technique with the most value at every load and target."""
    best = frame[frame["best"]]
    head = ["load", "requests/s", "target ms", "technique", "model", "policy", "value %", "on time %", "accuracy %"]
    rows = [[f"{row.load:g}", number(row.rate), number(row.slo_ms), row.technique, row.model, row.policy,
             *(percent(each).rstrip("%") for each in (row.value, row.attainment, row.accuracy))]
            for row in best.itertuples()]  # fmt: skip
    said = "Value: the sum of accuracies over the answers in time, per request that was offered."
    return Section("Which technique is best", [said, *_accuracies(frame)], [Table(head, rows)],
                   [_figure("techniques", frame)])  # fmt: skip


def of_sensitivity(frame: DataFrame) -> Section:
    """What the number of GPUs depends on."""
    head = ["assumption", "at", "GPUs", "at", "GPUs"]
    rows = [[row.assumption, row.low_label, f"{row.low:g}", row.high_label, f"{row.high:g}"]
            for row in frame.itertuples()]  # fmt: skip
    needed = count(frame["base"].iloc[0], "GPU")
    said = f"The plan needs {needed}; here is what it would need were an assumption wrong."
    return Section("Sensitivity", [said], [Table(head, rows)], [_figure("tornado", frame)])


def _figure(name: str, drawn_of: Any) -> Shown:
    plot = PLOTS[name]
    return show(name, plot.draw(drawn_of, WIDTH_MM), plot.idea)


def _said_of(run: Run) -> Iterator[str]:
    """What served what, in sentences, and what is modelled or illustrative about it."""
    table = run.settings["table"]
    seconds = run.summary["seconds"]
    extent = "" if seconds is None else f" in {seconds:,.4g} s"
    served = f"{run.summary['requests']:,} requests{extent} of {run.settings['trace']['source']}"
    yield f"{run.setup}, SLO {run.slo_s * 1e3:.4g} ms; {served}."
    live = run.settings.get("live")
    if live is not None and not live["validity"]["valid"]:
        yield f"This live run is INVALID: {'; '.join(live['validity']['reasons'])}."
    if live is None and table["meta"].get("kind") == "modelled":
        band = table["meta"].get("band")
        yield f"The latencies of table {table['name']} are modelled, not measured" + (f": {band}." if band else ".")
    yield from accuracies([run.settings.get("task")], "Accuracies: {}.")


def _accuracies(frame: DataFrame) -> list[str]:
    return accuracies(distinct(frame, "task"), "Accuracies: {}.")


def _origins(names: Sequence[str], runs: Sequence[Run]) -> Table:
    """The settings and versions of the runs, a column each."""
    columns = [dict(_origin(run)) for run in runs]
    keys = dict.fromkeys(key for column in columns for key in column)
    rows = [[key, *(column.get(key, "") for column in columns)] for key in keys]
    return Table(["", *names], rows, "Where this came from")


def _origin(run: Run) -> Iterator[tuple[str, str]]:
    its = run.settings
    given = its.get("settings", {})
    yield from ((str(name), _plain(value)) for name, value in given.items() if value not in (None, {}))
    for name in ("seed", "commit", "python", "versions", "command"):
        if its.get(name) is not None:
            yield name, _plain(its[name])
    yield "table", f"{its['table']['name']}, digest {its['table']['digest']}"
    yield "notes", "; ".join(map(str, its["trace"]["notes"]))


def _plain(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {each}" for name, each in value.items())
    return " ".join(map(str, value)) if isinstance(value, list) else str(value)


def _lost(summary: Mapping[str, Any]) -> str:
    parts = [f"{summary[name]:,}\u00a0{name}" for name in ("late", "dropped", "rejected") if summary[name]]
    return ", ".join(parts) or "0"


def _cells(figures: Mapping[str, Any]) -> list[str]:
    return [_cell(name, figures.get(name)) for name in FIGURES]


def _cell(name: str, value: Any) -> str:
    """A figure in the unit of its quantity; a dash where it is undefined."""
    if value is None or value != value:
        return "-"
    scaled = value * quantity(name).factor
    if quantity(name).unit.startswith("%"):
        return f"{scaled:.2f}"
    return number(scaled)


def _ends(row: Mapping[str, Any], name: str) -> str:
    low, high = row[f"{name}_low"], row[f"{name}_high"]
    if not (np.isfinite(low) and np.isfinite(high)):
        return "unknown"
    return "all equal" if low == high else f"{100 * low:.2f}\u00a0to\u00a0{100 * high:.2f}"
