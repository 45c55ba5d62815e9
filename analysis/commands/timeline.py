"""python -m analysis timeline: arrival rate, queue, students and latency of runs over time."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "runs", type=Path, nargs="+", metavar="RUN", help="output folders of python -m simulator, on one trace"
    )
    parser.add_argument(
        "--out", type=Path, metavar="FILE", default=Path("timeline.png"), help="PNG, PDF or SVG (default: timeline.png)"
    )


def main(arguments: argparse.Namespace) -> int:
    """Draw the runs into one figure."""
    from analysis.figures import save
    from analysis.runs import Run
    from analysis.timeline import timeline

    save(timeline([Run.read(folder) for folder in arguments.runs]), arguments.out)
    print(f"written to {arguments.out}", file=sys.stderr)
    return 0
