"""python -m profiler plan: which keys a run would measure, and about how long it would take."""

from __future__ import annotations

import argparse

from profiler.commands.keys import add_key_arguments, chosen_grids
from profiler.commands.printing import print_grid
from profiler.measuring.grid import measured_as
from profiler.measuring.rules import MINIMUM
from profiler.modelled.estimate import predictor
from profiler.table import LatencyTable, shipped
from traces.shared.text import milliseconds


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_key_arguments(parser)
    parser.add_argument("--like", metavar="TABLE", help="predict from this table (default: the default table)")


def main(arguments: argparse.Namespace) -> int:
    """Print keys and predicted seconds per model, and what a table needs at least."""
    table = LatencyTable.load(arguments.like or shipped()[0])
    predict = predictor(table)
    total, keys, rows = 0.0, 0, []
    chosen = chosen_grids(arguments)
    alike = measured_as(chosen)
    for own in chosen:
        if own in alike:
            continue
        times = [predict(own.spec, cell.key) for cell in own.cells()]
        sizes = (",".join(map(str, values)) for values in (own.students, own.batches, own.tokens or own.totals))
        extremes = (milliseconds(min(times), 3), milliseconds(max(times), 3))
        rows.append((own.model, *sizes, str(len(times)), *extremes, f"{sum(times):.1f}"))
        total, keys = total + sum(times), keys + len(times)
    names = ("model", "students", "batches", "tokens", "keys", "shortest ms", "longest ms", "one round s")
    print_grid(f"predicted from {table.name} [{table.device}]", names, rows)
    for own, model in alike.items():
        print(f"{own.model} takes the times of {model}: the same shape is measured once")
    print(
        f"{keys} keys; one round {total:.0f} s; a table needs {MINIMUM} rounds: "
        f"--budget-s {MINIMUM * total:.0f} at least, {20 * total:.0f} for medians that are known well"
    )
    return 0
