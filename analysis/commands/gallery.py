"""python -m analysis gallery: every plot from real simulations, and a page with the commands that made them."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--out", type=Path, default=Path("docs/gallery"), metavar="DIR", help="default: docs/gallery")
    parser.add_argument(
        "--scratch", type=Path, default=Path("runs/gallery"), metavar="DIR",
        help="where the runs and sweeps go, and are found again (default: runs/gallery)",
    )  # fmt: skip


def main(arguments: argparse.Namespace) -> int:
    """Make it."""
    from analysis.plots.gallery import make
    from analysis.progress import progress

    with progress("commands") as told:
        make(arguments.out, arguments.scratch, told)
    print(
        f"written to {arguments.out}/: README.md and the plots; their numbers are in {arguments.scratch}/",
        file=sys.stderr,
    )
    return 0
