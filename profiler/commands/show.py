"""python -m profiler show: a table's figures, and plots of them."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping
from itertools import product
from pathlib import Path
from typing import Any

from profiler.commands.printing import noise_words, print_grid
from profiler.table import LatencyTable, shipped
from profiler.table.plan import PACKED
from traces.shared.text import milliseconds

#: What can be shown: how a row of the table becomes text, and the title.
VALUES: dict[str, tuple[Callable[[Mapping[str, Any]], str], str]] = {
    "latency": (lambda row: milliseconds(row["latency_us"] * 1e-6, 3), "latency in ms"),
    "throughput": (
        lambda row: f"{row['batch'] / row['latency_us'] * 1e6:,.0f}",
        "requests per second, one batch after the other",
    ),
    "gap": (
        lambda row: f"{row.get('device_us', row['latency_us']) / row['floor_us']:.2f}",
        "device time over the serial kernel floor (1 cannot be beaten)",
    ),
    "spread": (lambda row: f"{row['p90_us'] / row['p10_us']:.2f}", "p90 over p10 of the samples"),
    "samples": (lambda row: f"{row['samples']:.0f}", "samples"),
}
_NEEDS = {"gap": ("floor_us",), "spread": ("p10_us", "p90_us"), "samples": ("samples",)}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "table", nargs="?", metavar="TABLE", help="folder, file or shipped name (default: the default table)"
    )
    parser.add_argument("--model", metavar="NAME", help="only this model")
    parser.add_argument("--value", choices=list(VALUES), default="latency", help="what to print (default: latency)")
    parser.add_argument("--plots", type=Path, metavar="DIR", help="also write plots there (PNG)")


def main(arguments: argparse.Namespace) -> int:
    """Print where a table comes from and one grid per model."""
    table = LatencyTable.load(arguments.table or shipped()[0])
    missing = [name for name in _NEEDS.get(arguments.value, ()) if name not in table.columns]
    if missing:
        raise LookupError(f"table {table.name} has no column {', '.join(missing)}: it cannot show {arguments.value}")
    if arguments.model:
        table.levels(arguments.model)  # an unknown model is named with those there are
    _print_origin(table)
    for model in [arguments.model] if arguments.model else table.models:
        _print_model(table, model, arguments.value)
    if arguments.plots:
        from analysis.plots.of_tables import write_plots

        for path in write_plots(table, arguments.plots):
            print(path)
    return 0


def _print_origin(table: LatencyTable) -> None:
    meta = table.meta
    print(f"{table.name}: {table.device}, {meta.get('kind', 'unknown kind')}, {meta.get('created', 'no date')}")
    if "band" in meta:
        print(f"modelled: {meta.get('model', '')}; {meta['band']}")
    if "noise" in meta:
        print(f"noise: {noise_words(meta)}")
    for task, note in (meta.get("accuracy") or {}).items():
        print(f"accuracy, task {task}: {note}")
    for model, ratios in (meta.get("token_ratio") or {}).items():
        said = ", ".join(f"{ratio:.2f} ({task})" for task, ratio in ratios.items())
        print(f"tokens: by the vocabulary of {meta['vocabulary']}; for each {model} makes {said}")
    for model, other in (meta.get("measured_as") or {}).items():
        print(f"{model}: the times of {other}, which has its shape")


def _print_model(table: LatencyTable, model: str, value: str) -> None:
    show, title = VALUES[value]
    plan = table.plan(model)
    known = {(row["students"], row["batch"], row["tokens"]): row for row in table.records() if row["model"] == model}
    rows = []
    for level, tokens in product(table.levels(model), plan.widths):
        cells = (known.get((level.students, batch, tokens)) for batch in plan.batches)
        rows.append((str(level.students), str(tokens), *("-" if row is None else show(row) for row in cells)))
    packed = plan.layout == PACKED
    names = ("students", "tokens in all" if packed else "tokens", *map(str, plan.batches))
    print_grid(f"{model}: {title}, by {'texts' if packed else 'batch'}", names, rows, section=len(plan.widths))
