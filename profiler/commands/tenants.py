"""python -m profiler tenants: measure what tenants' adapters and looked-up lower layers take, for a table."""

from __future__ import annotations

import argparse
import math
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from profiler.commands.keys import set_threads, whole_numbers
from profiler.commands.printing import print_grid, progress_bar
from profiler.table import LatencyTable


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "table", type=Path, metavar="DIR", help="a table's folder, measured here; it is changed in place"
    )
    parser.add_argument("--model", metavar="NAME", help="teacher-LxH of the table (default: its first)")
    parser.add_argument(
        "--layers", type=int, default=6, metavar="N", help="upper layers that have adapters (default: 6)"
    )
    parser.add_argument("--width", type=int, default=64, metavar="N", help="of the bottlenecks (default: 64)")
    parser.add_argument("--classes", type=int, default=20, metavar="N", help="of every tenant's head (default: 20)")
    parser.add_argument(
        "--entries",
        type=whole_numbers,
        default=(10_000, 100_000),
        metavar="N,N",
        help="of the tables of windows (default: 10000,100000)",
    )
    parser.add_argument(
        "--budget-s", type=float, metavar="S", default=120.0, help="seconds of measuring (default: 120)"
    )
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="of weights, inputs and order (default: 0)")


def main(arguments: argparse.Namespace) -> int:
    """Measure, and print what was found; 0 done, 1 where composed times miss the measured ones by too much."""
    from profiler.measuring.tenants.table import measure_tenants
    from profiler.tenants.store import AdapterShape

    if not 0 < arguments.budget_s < math.inf:
        raise ValueError(f"--budget-s is {arguments.budget_s}: measuring needs a positive number of seconds")
    if not (arguments.table / "meta.json").is_file():
        raise LookupError(f"no table's folder at {arguments.table}: python -m profiler run measures one")
    table = LatencyTable.load(arguments.table)
    model = arguments.model or next((each for each in table.models if each.startswith("teacher-")), table.models[0])
    (level, *_) = table.levels(model)
    if not 1 <= arguments.layers <= level.depth:
        raise ValueError(f"--layers is {arguments.layers}: {model} has {level.depth}")
    set_threads(int(table.meta.get("threads", 1)))
    shape = AdapterShape(arguments.layers, level.hidden, arguments.width, arguments.classes)
    with ExitStack() as stack:
        progress = progress_bar(stack)
        table = measure_tenants(
            arguments.table, model, shape, arguments.entries, arguments.budget_s, arguments.seed, progress
        )
    return _show(table, model)


def _show(table: LatencyTable, model: str) -> int:
    assert table.adapters is not None
    about: dict[str, Any] = table.meta["adapters"][model]
    adapter = next(iter(table.adapters.adapters(model).values()))
    own = [row for row in zip(table.adapters.rows, table.adapters.way, strict=True) if row[0][0] == model]
    cells = [(str(row[5]), str(row[6]), str(row[4]), f"{row[7]:.0f}", way) for row, way in own]
    title = f"{model}: {adapter.bytes:,} bytes a tenant, loaded in {adapter.load_s * 1e6:.0f} us beside batches"
    print_grid(title, ("batch", "tokens", "tenants", "adds us", "way"), cells)
    beside, checked = about["beside"], about["composed"]
    print(f"beside each other batches take {beside['compute']:.2f} times as long, loads {beside['load']:.2f} times")
    print(
        f"composed against measured, {checked['cells']} cells: median error {checked['median_error']:.1%}, "
        f"worst {checked['worst_error']:.1%}: {'within' if checked['holds'] else 'beyond'} 5 % and 12 %"
    )
    return 0 if checked["holds"] else 1
