"""Flags that several subcommands have: which keys, which table to write, how many threads."""

from __future__ import annotations

import argparse
from pathlib import Path

from profiler.measuring.grid import Grid, grids, read_plan

#: The keys of a model of which nothing else is said.
MODELS, STUDENTS, BATCHES, TOKENS = "students-2x384", (1, 2, 3, 4, 6, 8), (1, 2, 4, 8, 16, 32), (16, 32, 64, 128)


def add_key_arguments(parser: argparse.ArgumentParser) -> None:
    """Which keys; a flag that is not given is None."""
    parser.add_argument("--plan", metavar="NAME|FILE", help="which keys, from a plan instead of the four flags below")
    parser.add_argument(
        "--model", "--models", metavar="NAMES",
        help=f"comma-separated, e.g. students-2x384,teacher-12x768 (default: {MODELS})",
    )  # fmt: skip
    for name, sizes, words in (
        ("students", STUDENTS, "how many of an ensemble"),
        ("batches", BATCHES, "texts of a batch"),
        ("tokens", TOKENS, "tokens of its longest text"),
    ):
        parser.add_argument(
            f"--{name}", type=whole_numbers, metavar="N,N", help=f"{words} (default: {','.join(map(str, sizes))})"
        )


def add_table_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder to write the table to")
    parser.add_argument(
        "--rank",
        type=int,
        default=50,
        metavar="N",
        help="place among the shipped tables, of which the smallest is taken where none is named (default: 50)",
    )
    parser.add_argument("--illustrative-accuracy", action="store_true", help="add accuracies that are not measured")
    parser.add_argument("--replace", action="store_true", help="replace a table that is already there")


def set_threads(count: int | None) -> None:
    """Use so many CPU threads, by default torch's. Raises ValueError for less than one."""
    import torch

    if count is not None and count < 1:
        raise ValueError(f"--threads is {count}: at least one is needed")
    torch.set_num_threads(count or torch.get_num_threads())


def threads(text: str) -> int | str:
    """A number of threads, or `auto`."""
    if text != "auto" and not text.removeprefix("-").isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r} is neither a number of threads nor auto")
    return text if text == "auto" else int(text)


def chosen_grids(arguments: argparse.Namespace) -> list[Grid]:
    """The grids that the flags name. Raises LookupError or ValueError saying what is wrong."""
    if arguments.plan:
        return read_plan(arguments.plan)
    models = (arguments.model or MODELS).split(",")
    return grids(models, arguments.students or STUDENTS, arguments.batches or BATCHES, arguments.tokens or TOKENS)


def whole_numbers(text: str) -> tuple[int, ...]:
    """Comma-separated whole numbers."""
    try:
        return tuple(int(word) for word in text.split(","))
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a list of whole numbers such as 1,2,4") from None
