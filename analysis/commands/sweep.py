"""python -m analysis sweep: every combination of policies, loads, targets, GPUs, traces and seeds."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from analysis.sweeps.grid import AXES, grid, named, read_toml
from analysis.sweeps.origin import code_digest

EXAMPLE = """example:
  python -m analysis sweep --policy "greedy;adaptive" --trace poisson:duration=10 --load 0.1:1.2:0.1 --seeds 0-4
"""
_HELP = {
    "policy": "policies, semicolons between them",
    "load": "loads: 0.3,0.6,0.9 or 0.1:1.2:0.1",
    "rate": "mean requests per second, likewise",
    "slo_ms": "latency targets in milliseconds, commas between them",
    "gpus": "numbers of GPUs: 1,2,4 or 1-4",
    "seed": "seeds: 0-9 or 1,5,8",
    "trace": "files, specs or names, semicolons between them",
    "table": "tables, semicolons between them",
    "model": "models, semicolons between them (a comma joins the levels of several)",
    "levels": "of several models: default, all, useful; semicolons between them",
}


def add_axes(axes: Any, without: Sequence[str] = ()) -> None:
    """The flags of the axes of a grid."""
    for name in AXES:
        if name not in without:
            flags = [f"--{name.replace('_', '-')}", *(["--seeds"] if name == "seed" else [])]
            axes.add_argument(*flags, dest=name, metavar="VALUES", help=_HELP.get(name, "as in python -m simulator"))
    axes.add_argument(
        "-p", action="append", default=[], metavar="KEY=V1,V2", help="values of a policy's parameter; repeatable"
    )


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


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.formatter_class, parser.epilog = argparse.RawDescriptionHelpFormatter, EXAMPLE
    parser.add_argument("file", type=Path, nargs="?", metavar="TOML", help="a file of axes; flags win over it")
    axes = parser.add_argument_group("axes")
    add_axes(axes)
    parser.add_argument("--out", type=Path, default=Path("runs/sweep"), metavar="DIR", help="default: runs/sweep")
    add_engine(parser)


def main(options: argparse.Namespace) -> int:
    """Run the cells that the store lacks; write results.parquet, results.csv and sweep.json."""
    from analysis.outputs import folder_for
    from analysis.progress import progress
    from analysis.sweeps.cells import with_targets
    from analysis.sweeps.frames import write
    from analysis.sweeps.sweeping import Laboratory, results
    from analysis.words import accuracies
    from simulator.reporting.output import to_json
    from traces.shared.atomic import make_folder, write_text
    from traces.shared.origin import origin

    axes, parameters = _axes(options)
    cells = grid(axes, parameters)
    folder_for(options.out, "sweep.json", "sweep")
    cells = with_targets(cells)
    with progress("cells") as told, Laboratory(on_progress=told, **engine(options)) as opened:
        found = results(opened.rows(cells))
    make_folder(options.out)
    write(found, options.out / "results.parquet")
    write(found, options.out / "results.csv")
    about = {"axes": axes, "parameters": parameters, "cells": len(cells), "ran": opened.ran, "found": opened.found,
             "columns": list(found), "code": code_digest(), **origin()}  # fmt: skip
    write_text(options.out / "sweep.json", to_json(about))
    print(f"{len(cells)} cells: {opened.ran} simulated, {opened.found} found in {options.store}", file=sys.stderr)
    for line in accuracies(found["task"].dropna().unique(), "accuracies: {}"):
        print(line)
    print(f"written to {options.out}/: results.parquet, results.csv, sweep.json")
    return 0


def _axes(options: argparse.Namespace) -> tuple[dict[str, Any], dict[str, Any]]:
    """What the file and the flags say, the flags winning."""
    axes = {} if options.file is None else named(read_toml(options.file))
    parameters = axes.pop("parameters", {})
    if not isinstance(parameters, dict):
        raise ValueError(f"{options.file}: parameters must be a table, as in [parameters] timeout_s = [0.001, 0.002]")
    given = {name: getattr(options, name) for name in AXES if getattr(options, name) is not None}
    if {"rate", "load"} & set(given):  # whichever is given replaces the file's, whichever it has
        axes = {name: value for name, value in axes.items() if name not in ("rate", "load")}
    return axes | given, parameters | parameters_of(options.p)


def parameters_of(pairs: Sequence[str]) -> dict[str, str]:
    """The values of policies' parameters from `-p key=v1,v2`."""
    parameters = {}
    for pair in pairs:
        name, equals, values = pair.partition("=")
        if not equals:
            raise ValueError(f"-p {pair}: write key=value,value")
        parameters[name.strip()] = values
    return parameters
