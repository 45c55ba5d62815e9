"""python -m analysis tenants: how many tenants fit on a GPU within a target, by budget, skew and link."""

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
  python -m analysis tenants --table mine --trace poisson:rate=2000,duration=20 --slo-ms 20 \\
    --tenants "zipf:exponent=0.9;zipf:exponent=1.1" --adapter-budget "256MiB;1GiB" --policy "lru(greedy)" --link 1,2
"""
_LEFT_OUT = ("seed",)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.formatter_class, parser.epilog = argparse.RawDescriptionHelpFormatter, EXAMPLE
    add_attainment(parser)
    add_axes(parser.add_argument_group("axes: several values of each, as for sweep"), without=_LEFT_OUT)
    search = parser.add_argument_group("search")
    search.add_argument(
        "--link", default="1", metavar="X,X", help="loads take so many times as long (modelled; default: 1)"
    )
    add_seeds(search, "0-2", "their mean counts")
    search.add_argument("--most", type=int, default=1_000_000, metavar="N", help="tenants at most (default: 1000000)")
    add_tolerance(search, 0.02)
    add_delivery(parser)
    add_engine(parser)


def main(options: argparse.Namespace) -> int:
    """Search and print a table, a row per combination."""
    from analysis.plans.tenants import tenants_that_fit
    from analysis.progress import progress

    refuse_delivery(options)
    with progress("probes") as told:
        found = tenants_that_fit(
            axes_of(options),
            attainment=options.attainment,
            seeds=options.seeds,
            most=options.most,
            tolerance=options.tolerance,
            link=options.link,
            parameters=parameters_of(options.p),
            on_progress=told,
            **engine(options),
        )
    deliver(found, lambda: printed(found), options)
    return 0


def printed(found: DataFrame) -> str:
    """A line per combination: how many tenants are served within the target, and what they meet there."""
    from profiler.table import as_table
    from traces.shared.text import aligned, milliseconds, number, percent

    named = [name for name in ("table", "model", "trace", "gpus", "slo_ms", "tenants", "adapter_budget", "host_budget",
                               "policy") if name in found]  # fmt: skip
    same = {name: found[name].iloc[0] for name in named if found[name].nunique() == 1}
    target = f"{found['target'].iloc[0]:.4g} of all requests on time, mean of {found['seeds'].iloc[0]} seeds"
    said = ", ".join(f"{name} {number(value) if name == 'slo_ms' else value}" for name, value in same.items())
    devices = dict.fromkeys(f"{name}: {as_table(name).device}" for name in found["table"])
    columns = [name for name in named if name not in same]
    lines = [[*columns, "fit", "served", "hits", "p99 ms", "fairness", "GPU busy", "link busy"]]
    for row in found.to_dict("records"):
        count = f"{row['most']:,}" + (" or more" if row["limited"] else "")
        figures = [percent(row["hit_rate"]), milliseconds(row["p99_s"]), number(row["fairness"]),
                   percent(row["utilisation"]), percent(row["link_busy"])]  # fmt: skip
        if not row["most"]:
            count, figures = "none", ["-"] * len(figures)
        lines.append([*(str(row[name]) for name in columns), f"{row['fit']:,}", count, *figures])
    return "\n".join([f"most tenants with {target}", said, *devices, "", aligned(lines, text=len(columns))])
