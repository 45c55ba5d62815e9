"""python -m profiler adopt: give a table the accuracies that a study measured."""

from __future__ import annotations

import argparse
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("studies", type=Path, nargs="+", metavar="STUDY", help="what profiler distill wrote, per seed")
    parser.add_argument("--table", type=Path, required=True, metavar="DIR", help="the table's folder, changed in place")


def main(arguments: argparse.Namespace) -> int:
    """Make a study's task the default task of a table, and print what it counts with now."""
    from profiler.adoption import adopt

    table = adopt(arguments.studies, arguments.table)
    assert table.accuracy is not None  # it has just been written
    task = table.accuracy.tasks[0]
    print(f"{arguments.table}: {task} ({table.meta['accuracy'][task]})")
    for model in table.models:
        shares = ", ".join(f"{students}: {share:.2%}" for students, share in table.accuracy.of(model, task).items())
        if shares:
            print(f"  {model}  {shares}")
    return 0
