"""A teacher that classifies already is used as it is; its classes are the data's by name or number."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from profiler.__main__ import main
from profiler.distill.answered import Answered
from profiler.distill.learning.initial import load_teacher
from profiler.executors.serving import labels_of
from profiler.studies import tasks
from traces.shared import progress as shown

pytest.importorskip("transformers")
from distill_toy import write_task, write_teacher

QUICK = ["students=1", "depth=1", "tokens=16", "bodies=1", "fitting_texts=0", "teacher_texts=64", "imitation_texts=32"]
QUICK += ["student_texts=320", "baselines=none"]


@pytest.fixture(autouse=True)
def _one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def toy(tmp_path: Path) -> Path:
    write_task(tmp_path / "few.csv", 400)
    name(write_teacher(tmp_path / "teacher"), {"0": "YES", "1": "no"})
    return tmp_path


def name(folder: Path, labels: dict[str, str]) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"id2label": labels}))


def distill(toy: Path, out: str, *more: str) -> int:
    flags = ["--task", str(toy / "few.csv"), "--teacher", str(toy / "teacher"), "--out", str(toy / out)]
    return main(["distill", *flags, "--data", str(toy), "--device", "cpu", *(f"-p{each}" for each in QUICK), *more])


def test_a_classifier_answers_as_it_did_and_its_accuracy_comes_first(
    toy: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert distill(toy, "out") == 0
    lines = [line for line in capsys.readouterr().out.splitlines() if re.match(r"\w+-\d", line)]
    assert [line.split()[0] for line in lines[:2]] == ["teacher-4x32"] * 2
    assert "evaluated" in lines[1]
    answered, card = Answered.read(toy / "out"), json.loads((toy / "out" / "card.json").read_text())
    assert card["classes"] == ["YES", "no"]
    assert "teacher" not in card["seconds"]
    task = tasks.load(tasks.find(str(toy / "few.csv"), toy), classes=("YES", "no"))
    held = task.evaluated["held-out"]
    source = (toy / "few.csv").read_text().splitlines()[1:]
    assert [source[row].endswith("yes") for row in held.rows] == (held.labels == 0).tolist()
    import transformers

    model = transformers.BertForSequenceClassification.from_pretrained(toy / "teacher").eval()
    tokenizer = transformers.PreTrainedTokenizerFast(tokenizer_file=str(toy / "teacher" / "tokenizer.json"))
    with torch.no_grad():
        logits = torch.cat([model(**tokenizer(text, return_tensors="pt")).logits for text in held.texts])
    theirs = logits.argmax(-1).numpy()
    assert np.array_equal(answered.answers["teacher-4x32"][0], theirs)
    row = next(row for row in card["accuracy"] if row["model"] == "teacher-4x32")
    assert row["accuracy"] == pytest.approx(float((theirs == held.labels).mean()), abs=1e-6)
    assert labels_of(toy / "out", 2) == ("YES", "no")  # the endpoint's names


def test_only_fine_tune_trains_a_teacher_that_has_a_head(toy: Path) -> None:
    assert distill(toy, "out", "--fine-tune") == 0
    own = load_file(toy / "out" / "models" / "teacher-4x32.safetensors")
    start = load_teacher(toy / "teacher")
    assert start.head
    assert "pooler_weight" not in own
    assert not torch.equal(own["layers.0.ffn1_weight"], start.tensors["layers.0.ffn1_weight"])
    assert json.loads((toy / "out" / "card.json").read_text())["classes"] == ["no", "yes"]


@pytest.mark.parametrize(
    ("labels", "names", "expected"),
    [
        (["b", "A", "b"], ("a", "B"), [1, 0, 1]),
        (["0", "1", "2"], ("a", "b", "c"), [0, 1, 2]),
        (["1", "0"], ("1", "0"), [0, 1]),  # names come before numbers
        (["x", "y"], (), [0, 1]),
    ],
)
def test_labels_are_names_or_numbers(
    tmp_path: Path, labels: list[str], names: tuple[str, ...], expected: list[int]
) -> None:
    rows = [f"w{row} v{row},{labels[row % len(labels)]}" for row in range(60)]
    (tmp_path / "a.csv").write_text("text,label\n" + "\n".join(rows) + "\n")
    task = tasks.load(tasks.find(str(tmp_path / "a.csv"), tmp_path), classes=names)
    for part in (task.training, task.tuning, task.evaluated["held-out"]):
        assert part.labels.tolist() == [expected[row % len(labels)] for row in part.rows]


def test_labels_that_the_teacher_does_not_know_are_named(toy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    name(toy / "teacher", {"0": "good", "1": "bad"})
    assert distill(toy, "out") == 2
    assert re.search(r"'no'.*good, bad.*--fine-tune", capsys.readouterr().err)
    assert not (toy / "out").exists()
    shutil.copy(toy / "few.csv", toy / "stars.csv")  # numbers from 1 on are no numbers of classes
    (toy / "few.csv").write_text((toy / "few.csv").read_text().replace(",no", ",1").replace(",yes", ",2"))
    assert distill(toy, "out") == 2
    assert re.search(r"'1' is none of.*good, bad", capsys.readouterr().err)


def test_a_pipe_gets_lines_with_the_time_left(
    toy: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shown, "EVERY_S", 0.0)
    assert distill(toy, "out") == 0
    output = capsys.readouterr()
    shares = [int(found[1]) for found in re.finditer(r"^ *(\d+)% ", output.err, re.MULTILINE)]
    assert shares == sorted(shares)
    assert shares[-1] >= 90
    assert re.search(r"student-1 \d+/\d+, loss [\d.]+.*about \d+ (s|min) left", output.err)
    assert re.search(r"about .* to go", output.out)
    assert distill(toy, "out") == 0
    assert "done" in capsys.readouterr().out
