"""The ratio of two vocabularies' tokens, into a table's metadata and from there into headings."""

from __future__ import annotations

import json

from benchmarks import token_ratio
from profiler.__main__ import main as profile
from profiler.studies.tasks import NAMED
from profiler.table.writing import write_table
from simulator.__main__ import main as simulate


def tokenizer(folder, pieces):
    """One that makes a token of each word, or of each letter; [CLS] and [SEP] around them."""
    from tokenizers import Regex, Tokenizer
    from tokenizers.models import WordLevel
    from tokenizers.pre_tokenizers import Split, WhitespaceSplit
    from tokenizers.processors import TemplateProcessing

    own = Tokenizer(WordLevel({"[UNK]": 0, "[CLS]": 1, "[SEP]": 2}, unk_token="[UNK]"))
    own.pre_tokenizer = WhitespaceSplit() if pieces == "words" else Split(Regex("."), "isolated")
    own.post_processor = TemplateProcessing(single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 1), ("[SEP]", 2)])
    folder.mkdir()
    own.save(str(folder / "tokenizer.json"))
    (folder / "config.json").write_text("{}")
    return folder


def test_a_table_says_how_many_tokens_another_vocabulary_makes(tmp_path, capsys, monkeypatch):
    for folder, train, development, _ in NAMED.values():
        (tmp_path / folder).mkdir()
        for name in filter(None, (train, development)):
            (tmp_path / folder / name.removesuffix(".gz")).write_text("text,label\nab cd,x\nabcdef,y\n")
    monkeypatch.setattr(token_ratio, "find", lambda task, data: _Files(data / NAMED[task][0]))
    words, letters = tokenizer(tmp_path / "words", "words"), tokenizer(tmp_path / "letters", "letters")
    rows = [
        {"model": model, "students": 1, "depth": 2, "hidden": 8, "batch": 1, "tokens": 64, "latency_us": 10.0}
        for model in ("students-2x8", "teacher-2x8")
    ]
    write_table(tmp_path / "table", rows, {"kind": "measured", "device": "a clock"})
    given = ["--vocabulary", f"students-2x8={words}", "--other", f"teacher-2x8={letters}", "--data", str(tmp_path)]
    token_ratio.main(["--table", str(tmp_path / "table"), *given])
    meta = json.loads((tmp_path / "table" / "meta.json").read_text())
    ratio = round((2 + 5 + 2 + 6) / (2 + 2 + 2 + 1), 4)
    assert meta["vocabulary"] == "students-2x8"
    assert meta["token_ratio"] == {"teacher-2x8": dict.fromkeys(NAMED, ratio)}
    capsys.readouterr()
    assert profile(["show", str(tmp_path / "table")]) == 0
    assert f"{ratio:.2f} (sst2)" in capsys.readouterr().out
    for model, there in (("students-2x8", False), ("teacher-2x8", True)):
        run = ["--table", str(tmp_path / "table"), "--model", model, "--policy", "greedy", "--reference", "none"]
        assert simulate([*run, "--trace", "poisson:rate=9,duration=1", "--out", str(tmp_path / "out")]) == 0
        assert (f"{ratio:.2f}" in capsys.readouterr().out) == there


class _Files:
    def __init__(self, folder):
        self.train = self.development = next(folder.glob("*.csv"))
