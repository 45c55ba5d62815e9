"""python -m profiler synth: a modelled table for a device that nobody has measured."""

from __future__ import annotations

import argparse
from dataclasses import asdict

from profiler.commands.keys import add_table_arguments
from profiler.measuring.grid import read_plan
from profiler.table.writing import refuse_existing, write_table


def add_arguments(parser: argparse.ArgumentParser) -> None:
    from profiler.modelled.gpus import DEVICES

    parser.add_argument("--device", choices=list(DEVICES), default="NVIDIA H200", help="default: NVIDIA H200")
    parser.add_argument("--plan", default="h200", metavar="NAME|FILE", help="which keys (default: h200)")
    add_table_arguments(parser)


def main(arguments: argparse.Namespace) -> int:
    """Write a table whose every figure is computed, and says so."""
    from profiler.modelled import estimate, illustrative
    from profiler.modelled.gpus import DEVICES
    from traces.shared.origin import origin

    refuse_existing(arguments.out, arguments.replace)
    plan = read_plan(arguments.plan)
    device = DEVICES[arguments.device]
    rows = [row for grid in plan for row in estimate.rows(grid, device)]
    meta = {
        "kind": "modelled",
        "rank": arguments.rank,
        "device": arguments.device,
        "dtype": device.dtype,
        "model": f"{device.label}; nothing here was measured",
        "band": estimate.said(rows),
        "ceilings": asdict(device.ceilings),
        **origin(),
    }
    accuracy = illustrative.accuracy_rows(plan) if arguments.illustrative_accuracy else []
    if accuracy:
        meta["accuracy"] = {illustrative.TASK: illustrative.NOTE}
    table = write_table(arguments.out, rows, meta, accuracy=accuracy, replace=arguments.replace)
    print(f"{arguments.out}: {len(rows)} keys, {table.device}; {meta['band']}")
    return 0
