"""python -m profiler report: what one study found, or several seeds together, against what serving it costs."""

from __future__ import annotations

import argparse
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from profiler.commands.printing import print_grid
from profiler.table import LatencyTable, shipped
from traces.shared.atomic import make_folder, write_text

#: What is kept of one study beside its page; answers.parquet, so that later seeds can be put together with this one.
KEPT = ("card.json", "answers.parquet")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "studies", type=Path, nargs="+", metavar="STUDY", help="what profiler distill wrote, one folder per seed"
    )
    parser.add_argument("--table", metavar="NAME|DIR", help="whose times are reported (default: the default table)")
    parser.add_argument("--tokens", type=int, metavar="N", help="at this length (default: the median of the texts)")
    parser.add_argument("--out", type=Path, metavar="DIR", help="write a page, its figure and accuracy.csv there")


def main(arguments: argparse.Namespace) -> int:
    """Print a grid per set of texts and what the students have over each other model; write the page on demand."""
    from profiler.distill.answered import together
    from profiler.distill.report import by_task, cells, costed, headings, legend, title, typical_tokens
    from profiler.distill.seeds import findings

    source = arguments.table or shipped()[0]
    table = LatencyTable.load(source)
    if arguments.tokens is not None and arguments.tokens < 1:
        raise ValueError(f"--tokens is {arguments.tokens}: a text has at least one")
    studies, others = together(arguments.studies)
    rows = costed(studies, table, arguments.tokens or typical_tokens(arguments.studies))
    lines = list(findings(studies))
    if others:
        lines.append(f"left out, as not every study has them: {', '.join(others)}")
    for own in by_task(rows).values():
        print_grid(title(own), headings(own), cells(own))
    print(legend(rows, table))
    for line in lines:
        print(line)
    if arguments.out:
        _draw(arguments.out, rows, source, table.name)
        _write(arguments.out, arguments.studies, rows, lines, table)
    return 0


def _draw(out: Path, rows: list[dict[str, Any]], source: str, name: str) -> None:
    """accuracy.csv, and the figure of it."""
    from pandas import DataFrame

    from analysis.plots.figures import save
    from analysis.plots.of_studies import accuracy_against_cost
    from profiler.table.writing import as_csv

    make_folder(out)
    write_text(out / "accuracy.csv", as_csv(rows))
    save(accuracy_against_cost(DataFrame(rows), table=source, tokens=rows[0]["tokens"]), out / f"{name}.png")


def _write(
    out: Path, studies: Sequence[Path], rows: list[dict[str, Any]], lines: Sequence[str], table: LatencyTable
) -> None:
    from profiler.distill.card import read_card
    from profiler.distill.page import page

    if len(studies) == 1 and studies[0].resolve() != out.resolve():
        for name in KEPT:
            shutil.copy(studies[0] / name, out / name)
    cards = [read_card(folder) for folder in studies]
    write_text(out / "README.md", page(cards, rows, lines, table, f"{table.name}.png"))
    print(out / "README.md")
