"""python -m analysis sweep: every combination of policies, loads, targets, GPUs, traces and seeds."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from analysis.commands.flags import add_axes, add_engine, axes_of, engine, parameters_of
from analysis.sweeps.grid import grid, named, read_toml, seeds_of
from analysis.sweeps.origin import code_digest

EXAMPLE = """example:
  python -m analysis sweep --policy "greedy;adaptive" --trace poisson:duration=10 --load 0.1:1.2:0.1 --seeds 0-4
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.formatter_class, parser.epilog = argparse.RawDescriptionHelpFormatter, EXAMPLE
    parser.add_argument("file", type=Path, nargs="?", metavar="TOML", help="a file of axes; flags win over it")
    axes = parser.add_argument_group("axes")
    add_axes(axes)
    axes.add_argument("--seeds", metavar="SEEDS", help="several: 0-4 or 1,5,8, or how many from 0 on (default: seed 0)")
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
    given = axes_of(options)
    if options.seeds is not None and "seed" in given:
        raise ValueError("--seed and --seeds both say which seeds: give one of them")
    if options.seeds is not None:
        given["seed"] = seeds_of(options.seeds)
    if {"rate", "load"} & set(given):  # whichever is given replaces the file's, whichever it has
        axes = {name: value for name, value in axes.items() if name not in ("rate", "load")}
    return axes | given, parameters | parameters_of(options.p)
