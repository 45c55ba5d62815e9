"""The flags that say which keys: a plan, or models, students, batches and tokens."""

from __future__ import annotations

import argparse

from profiler.measuring.grid import Grid, grids, read_plan


def add_key_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--plan", metavar="NAME|FILE", help="which keys, from a plan instead of the four flags below")
    parser.add_argument(
        "--models", default="students-2x384", help="comma-separated, e.g. students-2x384,teacher-12x768"
    )
    parser.add_argument("--students", type=whole_numbers, default=(1, 2, 3, 4, 6, 8), help="default: 1,2,3,4,6,8")
    parser.add_argument("--batches", type=whole_numbers, default=(1, 2, 4, 8, 16, 32), help="default: 1,2,4,8,16,32")
    parser.add_argument("--tokens", type=whole_numbers, default=(16, 32, 64, 128), help="default: 16,32,64,128")


def chosen_grids(arguments: argparse.Namespace) -> list[Grid]:
    """The grids that the flags name. Raises LookupError or ValueError saying what is wrong."""
    if arguments.plan:
        return read_plan(arguments.plan)
    return grids(arguments.models.split(","), arguments.students, arguments.batches, arguments.tokens)


def whole_numbers(text: str) -> tuple[int, ...]:
    """Comma-separated whole numbers."""
    try:
        return tuple(int(word) for word in text.split(","))
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a list of whole numbers such as 1,2,4") from None
