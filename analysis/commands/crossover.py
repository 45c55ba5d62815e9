"""python -m analysis crossover: which technique is best, by load and latency target."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from analysis.commands.flags import (
    add_delivery,
    add_engine,
    add_seeds,
    add_several,
    deliver,
    engine,
    refuse_delivery,
)

if TYPE_CHECKING:
    from pandas import DataFrame

EXAMPLE = """example:
  python -m analysis crossover --table h200-modelled --load 0.5:4:0.5 --slo-ms 5,20 --out crossover.parquet
"""
_ASKED = ("table", "task", "levels", "trace", "lengths", "gpus", "load", "slo_ms", "models", "policies", "seeds")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    from simulator.arguments import settings_flags

    parser.formatter_class, parser.epilog = argparse.RawDescriptionHelpFormatter, EXAMPLE
    choice = parser.add_argument_group("to choose from")
    settings_flags(choice, "table")
    add_several(choice, "model", "models", "as in python -m analysis plan (default: all, and mixes)")
    add_several(choice, "policy", "policies", "of which the best counts (default: adaptive, greedy, timeout)")
    settings_flags(choice, "task", "levels", levels="which of a mix, as in python -m simulator")
    parser.set_defaults(levels="useful")
    traffic = parser.add_argument_group("traffic and targets")
    settings_flags(traffic, "trace", "lengths", "gpus")
    traffic.add_argument(
        "--load", metavar="VALUES", help="of the default model: 0.3,0.6 or 0.2:2:0.2 (default: seven from 0.2 to 2)"
    )
    traffic.add_argument("--slo-ms", metavar="VALUES", help="latency targets (default: 0.4, 1 and 4 default targets)")
    add_seeds(traffic, "0-2", "their mean counts")
    add_delivery(parser)
    add_engine(parser)


def main(options: argparse.Namespace) -> int:
    """Simulate, and print the best technique by load and target."""
    from analysis.plans.crossover import crossover
    from analysis.progress import progress

    refuse_delivery(options)
    given = {name: getattr(options, name) for name in _ASKED if getattr(options, name) is not None}
    with progress("cells") as told:
        found = crossover(given.pop("table", None), on_progress=told, **given, **engine(options))
    deliver(found, lambda: _printed(found), options)
    return 0


def _printed(found: DataFrame) -> str:
    from analysis.words import accuracies
    from traces.shared.text import aligned, count, number, percent

    its = found.iloc[0]
    seeds = count(its["seeds"], "seed")
    heading = [f"the technique with the most value (accuracy of the answers in time, per request), {seeds}",
               f"table {its['table']}, {count(its['gpus'], 'GPU')}, trace {its['trace']}",
               *accuracies(found["task"].unique(), "accuracies: {}"), ""]  # fmt: skip
    lines = [["load", "slo ms", "technique", "model", "policy", "requests/s", "value", "next", "behind"]]
    for (load, slo_ms), own in found.groupby(["load", "slo_ms"], sort=False):
        if not own["best"].any():
            lines.append([f"{load:g}", number(slo_ms), *["-"] * 3, number(own["rate"].iloc[0]), percent(0.0), "-", "-"])
            continue
        best, others = own[own["best"]].iloc[0], own[own["technique"] != own[own["best"]].iloc[0]["technique"]]
        second = others.loc[others["value"].idxmax()] if len(others) else None
        rest = ["-", "-"] if second is None else [second["technique"], percent(round(second["behind"], 4) + 0.0)]
        lines.append([f"{load:g}", number(slo_ms), best["technique"], best["model"], best["policy"],
                      number(best["rate"]), percent(best["value"]), *rest])  # fmt: skip
    return "\n".join([*heading, aligned(lines, text=5)])
