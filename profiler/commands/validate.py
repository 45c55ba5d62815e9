"""python -m profiler validate: what is wrong or doubtful with a table."""

from __future__ import annotations

import argparse

from profiler.table import LatencyTable
from profiler.table.validate import findings


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("table", metavar="TABLE", help="folder, file or shipped name")
    parser.add_argument("--strict", action="store_true", help="exit with 1 for warnings too")


def main(arguments: argparse.Namespace) -> int:
    """Print the findings; 0 without errors, 1 with."""
    table = LatencyTable.load(arguments.table)
    found = findings(table)
    for finding in found:
        print(f"{'error' if finding.error else 'warning'}: {finding.text}")
    errors = sum(finding.error for finding in found)
    rows = len(table.columns["model"])
    print(f"{table.name} [{table.device}]: {rows} rows, {errors} errors, {len(found) - errors} warnings")
    return 1 if errors or (arguments.strict and found) else 0
