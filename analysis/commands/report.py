"""python -m analysis report: runs, sweeps and comparisons as one HTML file that opens offline and prints."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "inputs", type=Path, nargs="+", metavar="INPUT",
        help="folders of python -m simulator --out (drawn together), of a sweep, the file of a comparison or a plan",
    )  # fmt: skip
    parser.add_argument("--out", type=Path, default=Path("report.html"), metavar="FILE", help="default: report.html")
    parser.add_argument("--title", default="Cohort report", metavar="TEXT", help='default: "Cohort report"')


def main(arguments: argparse.Namespace) -> int:
    """Write the page."""
    from analysis.pages import write_report

    sections = write_report(arguments.inputs, arguments.out, title=arguments.title)
    print(f"written to {arguments.out}: {', '.join(sections)}", file=sys.stderr)
    return 0
