"""Recorded exits of every finished study: ramps after each layer, trained, recorded, shipped. Goes on where it stopped.

python benchmarks/recorded_exits.py students/sst2-0 students/banking77-0 students/sst2-6x384-0 ... --out exits

A study is a folder of `python -m profiler distill`; its task is that of its card. For each it makes, in OUT/MODEL.TASK:
linear ramps, pooler ramps, and linear ones that learn with the backbone; what is there already is left alone. The
answers of the linear ones are shipped (profiler/answers/layers/MODEL.TASK.parquet), the cards of all three go to
docs/exits, and a table says how they compare. `--no-ship` leaves the repository as it is.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
SHIPPED, CARDS = ROOT / "profiler" / "answers" / "layers", ROOT / "docs" / "exits"
#: The ways that ramps are made, and the flags that say so; the first is shipped.
WAYS = {"linear": [], "pooler": ["--shape", "pooler"], "joint": ["--joint"]}
#: Flags for every `profiler ramps`.
PASSED_ON = ("data", "device", "threads", "limit", "seed")
NAMES = ("model", "ramps", "split", "texts", "accuracy", "gates missed", "agreement after each layer")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("studies", type=Path, nargs="+", metavar="STUDY")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR")
    parser.add_argument("--ways", default=",".join(WAYS), help=f"of {', '.join(WAYS)} (default: all)")
    parser.add_argument("--no-ship", action="store_true", help="leave the repository as it is")
    for name in PASSED_ON:
        parser.add_argument(f"--{name}", help="as of `profiler ramps`")
    given = parser.parse_args()
    more = [word for name in PASSED_ON if (own := getattr(given, name)) for word in (f"--{name}", own)]
    rows: list[Sequence[str]] = []
    failed = False
    for study in given.studies:
        card = json.loads((study / "card.json").read_text())
        teacher = next(iter(sorted((study / "models").glob("teacher-*.safetensors"))))
        name = f"{teacher.stem}.{card['task']}"
        for way in given.ways.split(","):
            out = given.out / name / way
            if not (out / "card.json").is_file():  # it is written last
                own = ["--teacher", str(teacher), "--task", card["task"], "--out", str(out), *WAYS[way], *more]
                status = subprocess.run([sys.executable, "-m", "profiler", "ramps", *own], check=False).returncode
                if status > 1:  # 1: a gate was missed, which the card says
                    failed = True
                    continue
            if not given.no_ship:
                _ship(out, name, way)
            rows += _rows(json.loads((out / "card.json").read_text()), way)
    print(_table(rows))
    return int(failed)


def _ship(out: Path, name: str, way: str) -> None:
    for folder in (SHIPPED, CARDS):
        folder.mkdir(parents=True, exist_ok=True)
    if way == next(iter(WAYS)):
        shutil.copy(out / "answers.parquet", SHIPPED / f"{name}.parquet")
    shutil.copy(out / "card.json", CARDS / f"{name}.{way}.json")


def _rows(card: dict[str, Any], way: str) -> list[Sequence[str]]:
    """A row per split: the columns of NAMES."""
    found = []
    for split, own in card["exits"].items():
        missed = ", ".join(gate for gate, passed in own["gates"].items() if not passed) or "none"
        agrees = " ".join(f"{100 * share:.1f}" for share in own["agreement_by_layer"])
        accuracy = f"{100 * own['accuracy']:.2f} %"
        model = f"{card['model']}, {card['task']}"
        found.append((model, way, split, f"{own['texts']:,}", accuracy, missed, agrees))
    return found


def _table(rows: Sequence[Sequence[str]]) -> str:
    """The rows as Markdown."""
    lines = [NAMES, ["---"] * len(NAMES), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


if __name__ == "__main__":
    sys.exit(main())
