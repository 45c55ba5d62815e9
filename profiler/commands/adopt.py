"""python -m profiler adopt: give a table the accuracies that a study measured."""

from __future__ import annotations

import argparse
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("studies", type=Path, nargs="+", metavar="STUDY", help="what profiler distill wrote, per seed")
    parser.add_argument("--table", type=Path, required=True, metavar="DIR", help="the table's folder, changed in place")
    parser.add_argument("--keep-default", action="store_true", help="leave the table's default task as it is")


def main(arguments: argparse.Namespace) -> int:
    """Give a table a study's task, as its default or beside it, and print what it counts with now."""
    from profiler.distill.adoption import adopt
    from profiler.distill.answered import together

    table = adopt(arguments.studies, arguments.table, keep_default=arguments.keep_default)
    assert table.accuracy is not None  # it has just been written
    studies, others = together(arguments.studies)
    task = str(studies[0].about["task"])
    print(f"{arguments.table}: {task} ({table.meta['accuracy'][task]})")
    for model in table.models:
        shares = ", ".join(f"{students}: {share:.2%}" for students, share in table.accuracy.of(model, task).items())
        if shares:
            print(f"  {model}  {shares}")
    if others:
        print(f"left out, as not every study has them: {', '.join(others)}")
    return 0
