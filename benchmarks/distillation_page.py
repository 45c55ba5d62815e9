"""A study's results as a page: its tables and card, and accuracy against students, arithmetic and latency.

python benchmarks/distillation_page.py students/sst2-0 --out docs/distillation/sst2-seed0 [--table cpu-epyc-1thread]

Several studies, one per seed, become one page of their means.
"""

from __future__ import annotations

import argparse
import csv
import json
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from analysis.__main__ import main as analyse
from profiler.distill.answered import together
from profiler.distill.seeds import findings, pooled
from profiler.table.writing import as_csv

#: answers.parquet, so that later seeds can be put together with this one.
COPIED = ("accuracy.csv", "card.json", "answers.parquet")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("studies", type=Path, nargs="+", metavar="STUDY")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--table", default="cpu-epyc-1thread")
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    if len(given.studies) == 1:
        for name in COPIED:
            shutil.copy(given.studies[0] / name, given.out / name)
    else:
        rows = pooled(together(given.studies)[0])
        (given.out / "accuracy.csv").write_text(as_csv(rows))
    picture = given.out / f"{given.table}.png"
    if analyse(
        ["plot", "students", str(given.out / "accuracy.csv"), "--out", str(picture), "-p", f"table={given.table}"]
    ):
        raise SystemExit(1)
    picture.with_suffix(".csv").unlink()
    with (given.out / "accuracy.csv").open() as file:
        table = list(accuracies(list(csv.DictReader(file))))
    lines = study(given.out, table) if len(given.studies) == 1 else seeds(given.studies, table)
    plot = f"![accuracy against students, arithmetic and latency of {given.table}]({picture.name})"
    (given.out / "README.md").write_text("\n".join([*lines, plot]) + "\n")


def seeds(folders: Sequence[Path], table: Sequence[str]) -> Iterator[str]:
    """The lines of the page of several seeds."""
    cards = [json.loads((folder / "card.json").read_text()) for folder in folders]
    yield f"# {cards[0]['task']}, seeds {', '.join(str(card['seed']) for card in cards)}\n\n```"
    yield from (card["command"] for card in cards)
    yield "```\n"
    commits = ", ".join(commit(card) for card in cards)
    yield f"{cards[0]['device']}; commits {commits}. Means over the seeds; intervals are of 95 %, over seeds and texts."
    yield "Each seed has a teacher of its own, which its models are compared with.\n"
    yield from table
    yield ""
    studies, others = together(folders)
    yield from (f"- {line}" for line in findings(studies))
    if others:
        yield f"- left out, as not every study has them: {', '.join(others)}"
    yield ""


def study(folder: Path, table: Sequence[str]) -> Iterator[str]:
    """The lines of the page of one study."""
    card = json.loads((folder / "card.json").read_text())
    yield f"# {card['task']}, seed {card['seed']}\n\n```\n{card['command']}\n```\n"
    counts = ", ".join(f"{name} {count:,}" for name, count in card["rows"].items())
    yield f"{card['device']}; commit {commit(card)}. Rows: {counts}."
    yield "Shares are of the evaluated texts; intervals are of 95 %, over texts alone, since one seed was trained.\n"
    yield from table
    for name, own in card.get("closing", {}).items():
        share = "an unknown share" if own["gap_closed"] is None else f"{own['gap_closed']:.0%}"
        gap = f"{100 * own['gap']:.2f} points"
        words = f"the gap from the single student to the teacher, {gap}, all students together close {share}."
        yield f"\n{name}: of {words}"
    yield "\nStudents per request (rules learned on every other text, judged on the rest):\n"
    yield "| answers that may change | students on average | accuracy | all students, same texts | changed |"
    yield "|---|---|---|---|---|"
    for each in card["per_request"]:
        share, students = each["flips allowed"], each["students"]
        whole = f"{each['whole']:.2%}" if "whole" in each else ""
        yield f"| {share:.1%} | {students:.2f} | {each['accuracy']:.2%} | {whole} | {each['flips']:.2%} |"
    yield "\nTimes of phases (of one that was interrupted, since it last went on):\n"
    yield "| phase | CPU s | wall s |\n|---|---|---|"
    for phase, wall in card["seconds"].items():
        yield f"| {phase} | {card['cpu_seconds'].get(phase, '')} | {wall} |"
    yield ""


def commit(card: dict[str, Any]) -> str:
    """The commit of the last call of the study's command, short."""
    whole, plus, dirty = card.get("commit", "unknown").partition("+")
    return f"{whole[:12]}{plus}{dirty}"


def accuracies(rows: list[dict[str, str]]) -> Iterator[str]:
    """A table: a line per prefix, a column per set of texts."""
    tasks = list(dict.fromkeys(row["task"] for row in rows))
    of = {(row["model"], row["students"], row["task"]): row for row in rows}
    yield f"| model | students | {' | '.join(tasks)} | answers as the teacher | points over single |"
    yield "|---|---|" + "---|" * (len(tasks) + 2)
    for model, students in dict.fromkeys((row["model"], row["students"]) for row in rows):
        row, over = of[model, students, tasks[0]], ""
        shares = [f"{float(of[model, students, task]['accuracy']):.2%}" for task in tasks]
        shares[0] += f" ({float(row['low']):.1%} to {float(row['high']):.1%})"
        if row["over_single"] not in ("", "nan"):
            gap, low, high = (100 * float(row[f"over_single{end}"]) for end in ("", "_low", "_high"))
            over = f"{gap:+.2f} ({low:+.2f} to {high:+.2f})"
        yield f"| {model} | {students} | {' | '.join(shares)} | {float(row['agreement']):.2%} | {over} |"


if __name__ == "__main__":
    main()
