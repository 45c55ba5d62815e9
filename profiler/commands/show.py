"""python -m profiler show: a table's figures, and plots of them."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

import numpy as np

from profiler.commands.printing import console, noise_words
from profiler.table import LatencyTable, shipped
from traces.shared.text import milliseconds

#: What can be shown: how a row of the table becomes text, and the title.
VALUES: dict[str, tuple[Callable[[LatencyTable, int], str], str]] = {
    "latency": (lambda table, row: milliseconds(_us(table, "latency_us", row) * 1e-6, 3), "latency in ms"),
    "throughput": (
        lambda table, row: f"{_us(table, 'batch', row) / _us(table, 'latency_us', row) * 1e6:,.0f}",
        "requests per second, one batch after the other",
    ),
    "gap": (
        lambda table, row: f"{_us(table, _inner(table), row) / _us(table, 'floor_us', row):.2f}",
        "device time over the serial kernel floor (1 cannot be beaten)",
    ),
    "spread": (
        lambda table, row: f"{_us(table, 'p90_us', row) / _us(table, 'p10_us', row):.2f}",
        "p90 over p10 of the samples",
    ),
    "samples": (lambda table, row: f"{_us(table, 'samples', row):.0f}", "samples"),
}
_NEEDS = {"gap": ("floor_us",), "spread": ("p10_us", "p90_us"), "samples": ("samples",)}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("table", nargs="?", help="folder, file or shipped name (default: the default table)")
    parser.add_argument("--model", help="only this model")
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
    if "noise" in meta:
        print(f"noise: {noise_words(meta)}")
    for task, note in (meta.get("accuracy") or {}).items():
        print(f"accuracy, task {task}: {note}")


def _print_model(table: LatencyTable, model: str, value: str) -> None:
    from rich.table import Table

    show, title = VALUES[value]
    plan = table.plan(model)
    rows = _rows(table, model)
    grid = Table(title=f"{model}: {title}, by batch", title_justify="left")
    grid.add_column("students", justify="right")
    grid.add_column("tokens", justify="right")
    for batch in plan.batches:
        grid.add_column(str(batch), justify="right")
    for level in table.levels(model):
        for tokens in plan.tokens:
            cells = (rows.get((level.students, batch, tokens)) for batch in plan.batches)
            texts = ("-" if row is None else show(table, row) for row in cells)
            grid.add_row(str(level.students), str(tokens), *texts, end_section=tokens == plan.tokens[-1])
    console().print(grid)


def _rows(table: LatencyTable, model: str) -> dict[tuple[int, int, int], int]:
    """The table's row by (students, batch, tokens)."""
    own = np.flatnonzero(table.columns["model"].astype(str) == model).tolist()
    columns = (table.columns[name] for name in ("students", "batch", "tokens"))
    return {
        (int(k), int(b), int(t)): row for row, k, b, t in zip(own, *(column[own] for column in columns), strict=True)
    }


def _us(table: LatencyTable, name: str, row: int) -> float:
    return float(table.columns[name][row])


def _inner(table: LatencyTable) -> str:
    return "device_us" if "device_us" in table.columns else "latency_us"
