"""python -m analysis capacity: the highest rate at which a target is met, with its interval over seeds."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from analysis.commands.flags import (
    add_attainment,
    add_axes,
    add_delivery,
    add_engine,
    add_seeds,
    add_tolerance,
    axes_of,
    deliver,
    engine,
    parameters_of,
    refuse_delivery,
)

if TYPE_CHECKING:
    from pandas import DataFrame

EXAMPLE = """example:
  python -m analysis capacity --policy "greedy;timeout;adaptive" --slo-ms 20 --gpus 1,2
"""
_LEFT_OUT = ("rate", "load", "seed")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.formatter_class, parser.epilog = argparse.RawDescriptionHelpFormatter, EXAMPLE
    add_attainment(parser)
    add_axes(parser.add_argument_group("axes: several values of each, as for sweep"), without=_LEFT_OUT)
    search = parser.add_argument_group("search")
    add_seeds(search, "0-4", "each is searched by itself")
    search.add_argument(
        "--requests", type=int, default=100_000, metavar="N", help="of a steady trace at every rate (default: 100000)"
    )
    add_tolerance(search, 0.01)
    add_delivery(parser)
    add_engine(parser)


def main(options: argparse.Namespace) -> int:
    """Search and print a table, a row per combination."""
    from analysis.plans.capacity import capacity
    from analysis.progress import progress

    refuse_delivery(options)
    with progress("probes") as told:
        found = capacity(
            axes_of(options),
            attainment=options.attainment,
            seeds=options.seeds,
            requests=options.requests,
            tolerance=options.tolerance,
            parameters=parameters_of(options.p),
            on_progress=told,
            **engine(options),
        )
    deliver(found, lambda: _printed(found, options.attainment), options)
    return 0


def _printed(found: DataFrame, attainment: float) -> str:
    from analysis.plans.capacity import OF_TENANTS
    from analysis.words import accuracies
    from profiler.table import LEVELS, Deployment
    from traces.shared.text import aligned, milliseconds, number, percent

    of_tenants = [name for name in OF_TENANTS if name in found]
    named = ("table", "model", "levels", "trace", *of_tenants, "gpus", "slo_ms")
    same = {name: found[name].iloc[0] for name in named if found[name].nunique() == 1}
    asked = found[["table", "model", "task", "levels"]].astype(object).where(lambda cells: cells.notna(), None)
    deployed = [Deployment.of(*row) for row in asked.itertuples(index=False)]
    said = ", ".join(f"{name} {number(value) if name == 'slo_ms' else value}"
                     for name, value in same.items() if (name, value) != ("levels", LEVELS[0]))  # fmt: skip
    count = found["seeds"].iloc[0]
    seeds = f"95 % interval over {count} seeds" if count > 1 else "of one seed, so without an interval"
    heading = [f"highest rate with {attainment:.4g} of all requests on time, {seeds}",
               said + (f" ({deployed[0].table.device})" if "table" in same else "")]  # fmt: skip
    heading += accuracies(found["task"].dropna(), "accuracies: {}")
    heading += dict.fromkeys(note for each in deployed for note in each.notes)
    columns = [name for name in (*named, "policy") if name not in same]
    lines = [[*columns, "capacity/s", "interval", "load", "p99 ms", "accuracy", "students", "verdict"]]
    for row in found.to_dict("records"):
        if not row["rate"]:
            lines.append([*(str(row[name]) for name in columns), "0", "-", "-", "-", "-", "-", "out of reach"])
            continue
        ends = f"{number(row['capacity_low'])} to {number(row['capacity_high'])}" if row["seeds"] > 1 else "-"
        lines.append([*(str(row[name]) for name in columns), number(row["capacity"]), ends, f"{row['load']:.3g}",
                      milliseconds(row["p99_s"]), percent(row["accuracy"]), number(row["students_mean"]),
                      f"{row['verdict']} at {number(row['rate'])}/s"])  # fmt: skip
    return "\n".join([*heading, "", aligned(lines, text=len(columns))])
