"""python -m profiler seeds: put studies of one task with several seeds together."""

from __future__ import annotations

import argparse
from pathlib import Path

from profiler.commands.printing import print_grid
from traces.shared.atomic import write_text
from traces.shared.text import count


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "studies", type=Path, nargs="+", metavar="DIR", help="what profiler distill wrote, one per seed"
    )
    parser.add_argument("--out", type=Path, metavar="FILE", help="write the rows of accuracy.csv there")


def main(arguments: argparse.Namespace) -> int:
    """Print accuracy over seeds, what all students have over each other model, and the share of the gap closed."""
    from profiler.distill.answered import together
    from profiler.distill.seeds import findings, pooled
    from profiler.distill.uncertainty import chance
    from profiler.table.writing import as_csv

    studies, others = together(arguments.studies)
    rows, about = pooled(studies), studies[0].about
    title = f"{about['task']}: {count(len(studies), 'seed')}; intervals of 95 % over {chance(len(studies))}"
    cells = []
    for row in rows:
        ends = [f"{row[low]:.4f} to {row[high]:.4f}" for low, high in (("low", "high"), ("lowest", "highest"))]
        gaps = [
            f"{row[f'over_{word}']:+.4f} ({row[f'over_{word}_low']:+.4f} to {row[f'over_{word}_high']:+.4f})"
            for word in ("teacher", "single")
        ]
        cells.append((row["model"], str(row["students"]), row["task"], f"{row['accuracy']:.4f}", *ends, *gaps))
    names = ("model", "students", "task", "accuracy", "95 %", "seeds", "over teacher", "over single")
    print_grid(title, names, cells)
    for line in findings(studies):
        print(line)
    if others:
        print(f"left out, as not every study has them: {', '.join(others)}")
    if arguments.out:
        write_text(arguments.out, as_csv(rows))
    return 0
