"""Flags that several commands share, with the keyword arguments that they become; and how a table is delivered."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from analysis.sweeps.grid import AXES
from traces.shared.flags import Several

if TYPE_CHECKING:
    from pandas import DataFrame

#: Axes of a grid: the help of each whose values are not written as for the simulator, and its further names.
_AXES = {
    "policy": "policies, semicolons between them",
    "load": "loads: 0.3,0.6,0.9 or 0.1:1.2:0.1",
    "rate": "mean requests per second, likewise",
    "slo_ms": "latency targets in milliseconds, commas between them",
    "gpus": "numbers of GPUs: 1,2,4 or 1-4",
    "seed": "a seed, or several: 1,5,8",
    "trace": "files, specs or names, semicolons between them",
    "table": "tables, semicolons between them",
    "model": "models, semicolons between them (a comma joins the levels of several)",
    "levels": "of several models: default, all, useful; semicolons between them",
}
#: Today's names of yesterday's flags.
_ALIASES = {"policy": "policies", "table": "tables", "model": "models"}
#: What table files are written as.
SUFFIXES = (".parquet", ".csv")


def add_several(group: Any, name: str, dest: str, words: str, **how: Any) -> None:
    """A flag of which several are taken: `--policy A --policy B`, or semicolons between them; --policies, too."""
    names = [f"--{name}", *([f"--{_ALIASES[name]}"] if name in _ALIASES else [])]
    how = {"metavar": "SPEC" if name == "policy" else "NAME"} | how
    group.add_argument(
        *names, dest=dest, action=Several, help=f"{words}; repeatable, or semicolons between them", **how
    )


def add_seeds(group: Any, default: str, words: str, *aliases: str) -> None:
    """Which seeds, as `analysis.sweeps.grid.seeds_of` reads them."""
    group.add_argument(
        "--seeds",
        *aliases,
        default=default,
        metavar="SEEDS",
        help=f"{words}: 0-4 or 1,5,8, or how many from 0 on (default: {default})",
    )


def add_axes(group: Any, without: Sequence[str] = ()) -> None:
    """The flags of the axes of a grid."""
    for name in AXES:
        if name in without:
            continue
        word, words = name.replace("_", "-"), _AXES.get(name, "as in python -m simulator")
        names = [f"--{word}", *([f"--{_ALIASES[name]}"] if name in _ALIASES else [])]
        between = "," if name in ("load", "rate", "slo_ms", "gpus", "seed") else ";"
        group.add_argument(*names, dest=name, action=Several, const=between, metavar="VALUES", help=words)
    group.add_argument(
        "-p", action="append", default=[], metavar="KEY=V1,V2", help="values of a policy's parameter; repeatable"
    )


def axes_of(options: argparse.Namespace) -> dict[str, Any]:
    """The axes that were given."""
    return {name: value for name in AXES if (value := getattr(options, name, None)) is not None}


def parameters_of(pairs: Sequence[str]) -> dict[str, str]:
    """The values of policies' parameters from `-p key=v1,v2`."""
    parameters = {}
    for pair in pairs:
        name, equals, values = pair.partition("=")
        if not equals:
            raise ValueError(f"-p {pair}: write key=value,value")
        parameters[name.strip()] = values
    return parameters


def add_attainment(group: Any) -> None:
    group.add_argument("--attainment", type=float, default=0.99, metavar="A", help="share on time (default: 0.99)")


def add_tolerance(group: Any, default: float) -> None:
    words = f"between the ends of a search (default: {default:g})"
    group.add_argument("--tolerance", type=float, default=default, metavar="X", help=words)


def add_engine(parser: argparse.ArgumentParser) -> None:
    """The flags of whatever runs many cells."""
    engine = parser.add_argument_group("where it runs")
    engine.add_argument("--jobs", type=int, default=None, metavar="N", help="worker processes (default: all cores)")
    engine.add_argument("--backend", default="loky", metavar="NAME", help="loky (default), dask or ray")
    engine.add_argument(
        "--scheduler", "--address", dest="address", metavar="ADDRESS", help="of the Dask scheduler or the Ray cluster"
    )
    engine.add_argument(
        "--store",
        type=Path,
        default=Path("runs/store"),
        metavar="DIR",
        help="where finished cells are kept, and found again (default: runs/store)",
    )


def engine(options: argparse.Namespace) -> dict[str, Any]:
    """The keyword arguments of `sweep` and its like."""
    from analysis.sweeps.backends import cores

    jobs = cores() if options.jobs is None else options.jobs
    return {"jobs": jobs, "backend": options.backend, "address": options.address, "store": options.store}


def add_delivery(parser: argparse.ArgumentParser) -> None:
    """Where the rows of a result go beside, or in place of, what is printed of them."""
    parser.add_argument("--out", type=Path, metavar="FILE", help="write the rows as .parquet or .csv, too")
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--csv", action="store_true", help="print the rows as CSV, and nothing else")
    form.add_argument("--json", action="store_true", help="print the rows as JSON, and nothing else")


def refuse_delivery(options: argparse.Namespace) -> None:
    """Raise ValueError where --out cannot be written: before anything is simulated."""
    from analysis.outputs import file_for

    file_for(options.out, SUFFIXES)


def deliver(found: DataFrame, printed: Callable[[], str], options: argparse.Namespace) -> None:
    """Print the rows as was asked for, and write them to --out."""
    from analysis.sweeps.frames import write
    from simulator.reporting.output import to_json

    if options.out is not None:
        write(found, options.out)
    if options.csv:
        print(found.to_csv(index=False), end="")
    elif options.json:
        print(to_json(found.astype(object).where(found.notna(), None).to_dict("records")), end="")
    else:
        print(printed())
    if options.out is not None:
        print(f"written to {options.out}", file=sys.stderr)
