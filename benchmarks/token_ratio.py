"""How many tokens another vocabulary makes of the same texts, for the metadata of a table that counts by one of them.

python benchmarks/token_ratio.py --table profiler/tables/cpu-xeon-1thread --data ../shared/data \\
    --vocabulary teacher-12x384=../shared/data/encoder_12x384 --other teacher-6x384=minilm

Texts are those of each task's development file, or of its training file where it has none, whole and uncut.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from profiler.distill.learning.initial import teacher_folder
from profiler.models.tokenizer import load_tokenizer
from profiler.studies.tasks import DATA, NAMED, find
from profiler.table import LatencyTable
from profiler.table.metadata import read_meta
from profiler.table.reading import read_columns
from traces.shared.atomic import write_text
from traces.shared.documents import json_text

#: Above the rows of any vocabulary: which model has it does not matter here.
ANY = 10**9


def main(words: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--table", type=Path, required=True, metavar="DIR", help="the table's folder, changed in place")
    parser.add_argument("--vocabulary", required=True, metavar="MODEL=DIR", help="by which the table's tokens count")
    parser.add_argument("--other", required=True, metavar="MODEL=DIR", help="a model of the table with another one")
    parser.add_argument("--data", type=Path, default=DATA, metavar="DIR", help=f"of the tasks (default: {DATA})")
    given = parser.parse_args(words)
    (ours, our_folder), (other, other_folder) = (_named(each) for each in (given.vocabulary, given.other))
    table = LatencyTable.load(given.table)
    for model in (ours, other):
        table.levels(model)  # an unknown model is named with those there are
    ratios = {}
    for task in NAMED:
        source = find(task, given.data)
        texts = [str(text) for text in read_columns(source.development or source.train, ("text",))["text"]]
        ratios[task] = round(counted(texts, other_folder) / counted(texts, our_folder), 4)
        print(f"{task}: {len(texts):,} texts, {ratios[task]:.4f} tokens of {other} for one of {ours}")
    meta = read_meta(given.table / "meta.json")
    meta |= {"vocabulary": ours, "token_ratio": meta.get("token_ratio", {}) | {other: ratios}}
    write_text(given.table / "meta.json", json_text(meta, indent=1) + "\n")
    LatencyTable.load(given.table)


def counted(texts: Sequence[str], folder: Path) -> int:
    """The tokens of all texts together by the tokenizer.json of a folder, [CLS] and [SEP] included."""
    tokenizer = load_tokenizer(folder / "tokenizer.json", ANY)
    return sum(len(encoding.ids) for encoding in tokenizer.encode_batch(list(texts)))


def _named(text: str) -> tuple[str, Path]:
    model, found, folder = text.partition("=")
    if not found:
        raise SystemExit(f"{text!r} is not of the form MODEL=DIR")
    return model, teacher_folder(folder)


if __name__ == "__main__":
    main()
