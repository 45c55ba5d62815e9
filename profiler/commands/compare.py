"""python -m profiler compare: two tables or models side by side."""

from __future__ import annotations

import argparse
import sys

from profiler.commands.printing import print_grid
from profiler.table.compare import Pair, pairs, parse_operand
from traces.shared.text import milliseconds


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.description = "Compare latencies at equal shapes. A side is TABLE, TABLE:MODEL or TABLE:MODEL/STUDENTS."
    parser.add_argument("a", metavar="A", help="the numerator, e.g. h200-modelled:teacher-12x768")
    parser.add_argument("b", metavar="B", help="the denominator, e.g. h200-modelled:students-2x768/8")
    parser.add_argument("--csv", action="store_true", help="print rows of CSV instead of a table")


def main(arguments: argparse.Namespace) -> int:
    """Print the latencies of A and B and their ratio, A over B, for every shape that both have."""
    from profiler.table.writing import as_csv

    left, right = parse_operand(arguments.a), parse_operand(arguments.b)
    found = pairs(left, right)
    if arguments.csv:
        sys.stdout.write(as_csv([_row(pair) for pair in found]))
        return 0
    title = f"A = {left}\nB = {right}\nratio = latency of A / latency of B"
    names = ("A", "B", "batch", "tokens", "A ms", "B ms", "A / B")
    print_grid(title, names, [_words(pair) for pair in found], words="AB")
    ratios = sorted(pair.ratio for pair in found)
    middle = ratios[len(ratios) // 2]
    print(f"A / B over {len(ratios)} shapes: median {middle:.3f}, smallest {ratios[0]:.3f}, largest {ratios[-1]:.3f}")
    return 0


def _row(pair: Pair) -> dict[str, object]:
    return {
        "a": str(pair.left),
        "b": str(pair.right),
        "batch": pair.key.batch,
        "tokens": pair.key.tokens,
        "a_us": round(pair.left_s * 1e6, 1),
        "b_us": round(pair.right_s * 1e6, 1),
        "a_over_b": round(pair.ratio, 4),
    }


def _words(pair: Pair) -> tuple[str, ...]:
    times = (milliseconds(pair.left_s, 3), milliseconds(pair.right_s, 3))
    return (str(pair.left), str(pair.right), str(pair.key.batch), str(pair.key.tokens), *times, f"{pair.ratio:.3f}")
