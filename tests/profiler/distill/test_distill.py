"""Distillation on a toy task: accuracy rises with students, an interrupted study ends with the same weights."""

from __future__ import annotations

import csv
import hashlib
import json
import re
import resource
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from profiler.__main__ import main
from profiler.answers.recorded import Answers
from profiler.distill.card import leaks, read_card, source
from profiler.distill.learning import boosting
from profiler.distill.learning.initial import load_teacher
from profiler.distill.learning.journal import StudyLog
from profiler.distill.preparation import alone
from profiler.models import weights
from profiler.table import AccuracyTable
from traces.shared.origin import commit

pytest.importorskip("transformers")
from distill_toy import write_task, write_teacher

QUICK = {
    "students": 4,
    "depth": 1,
    "width": 16,
    "batch": 32,
    "tokens": 16,
    "fitting_texts": 4000,
    "rate": 2e-3,
    "joint_rate": 1e-3,
}
QUICK |= {
    "teacher_texts": 16000,
    "teacher_rate": 2e-3,
    "teacher_embeddings": 1,
    "teacher_dropout": 0,
    "imitation_texts": 2000,
}
QUICK |= {"student_texts": 4000, "joint_texts": 6000, "single_texts": 4000, "bagging_texts": 2000}
QUICK |= {"shrinkage": 1.0, "inherit": 0}  # the plain method
#: Smaller still, with everything that is optional.
SMALLEST = {"students": 2, "depth": 2, "batch": 32, "tokens": 16, "fitting_texts": 900, "peer": 0.5, "bodies": 2}
SMALLEST |= {"teacher_texts": 640, "teacher_dropout": 0.1, "imitation_texts": 640, "student_texts": 960}
SMALLEST |= {"joint_texts": 640, "single_texts": 320, "bagging_texts": 320}
#: A teacher and a student that has no head of its own, and nothing more.
LEAST = {"students": 1, "depth": 1, "tokens": 16, "bodies": 1, "fitting_texts": 0, "teacher_texts": 64, "alone": 0}
LEAST |= {"imitation_texts": 0, "student_texts": 960, "joint_texts": 0}


@pytest.fixture(scope="module", autouse=True)
def _one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("toy")
    write_task(folder / "toy.csv", 4000)
    write_task(folder / "few.csv", 700, seed=1)
    write_teacher(folder / "teacher")
    return folder


def distill(toy: Path, out: Path, settings: dict[str, float], *more: str, task: str = "few.csv") -> int:
    flags = ["--task", str(toy / task), "--teacher", str(toy / "teacher"), "--out", str(out), "--data", str(toy)]
    flags += ["--fine-tune"]  # the toy teacher's head is random
    return main(["distill", *flags, "--device", "cpu", *(f"-p{key}={value}" for key, value in settings.items()), *more])


@pytest.fixture(scope="module")
def study(toy: Path) -> Path:
    assert distill(toy, toy / "study", QUICK, "-pbaselines=single,bagging", task="toy.csv") == 0
    return toy / "study"


@pytest.fixture(scope="module")
def whole(toy: Path) -> Path:
    """A study that nothing interrupted."""
    assert distill(toy, toy / "whole", SMALLEST, "-pbaselines=deep,wide") == 0
    return toy / "whole"


def test_accuracy_rises_with_students_above_a_single_one_and_above_bagging(study: Path) -> None:
    table = AccuracyTable.read(study / "accuracy.csv")
    ours, vote = table.of("students-1x16", "toy"), table.of("bagged-1x16", "toy")
    single, teacher = table.of("single-1x16", "toy")[1], table.of("teacher-4x32", "toy")[1]
    assert ours[4] > ours[1] + 0.01  # 800 texts; the gap was 0.017 and 0.019 for seeds 0 and 1
    assert ours[4] > vote[4] + 0.05
    assert ours[4] - single >= 0.4 * (teacher - single)
    assert teacher > 0.95


def test_intervals_hold_the_accuracy_and_the_teacher_agrees_with_itself(study: Path) -> None:
    with (study / "accuracy.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert {row["runs_as"] for row in rows} == {"teacher-4x32", "students-1x16", "teacher-1x16"}
    for row in rows:
        assert float(row["low"]) < float(row["accuracy"]) < float(row["high"])
        assert row["chance"] == "texts"
        assert float(row["over_teacher_low"]) <= float(row["over_teacher"]) <= float(row["over_teacher_high"])
        if row["model"] == "teacher-4x32":
            assert (float(row["agreement"]), float(row["over_teacher"])) == (1, 0)


def test_residual_never_grows_with_students_and_obeys_the_law_of_the_step(study: Path) -> None:
    log = [json.loads(line) for line in (study / "log.jsonl").read_text().splitlines()]
    boosted = [line for line in log if "identity" in line]
    assert len(boosted) == 4
    assert max(line["identity"] for line in boosted) < 1e-9
    corrected = next(line["residuals"] for line in log if line["phase"] == "joint" and "residuals" in line)
    for residuals in ([line["residual"] for line in boosted], corrected):
        assert (np.diff([2.0, *residuals]) <= 0).all(), residuals


def test_the_students_file_names_its_task(study: Path) -> None:
    assert weights.about(study / "ensemble.safetensors")["task"] == "toy"


def test_the_executor_that_serves_gives_the_logits_of_training(study: Path) -> None:
    card = json.loads((study / "card.json").read_text())
    assert card["executor_gap"] < 1e-4
    loaded = weights.load(study / "ensemble.safetensors")
    assert (loaded.spec.students, loaded.spec.name, loaded.spec.shared_embeddings) == (4, "students-1x16", True)
    assert loaded.prefix(2).projection_weight.data_ptr() == loaded.projection_weight.data_ptr()


def test_recorded_answers_are_those_of_the_accuracy_table(study: Path) -> None:
    items = Answers.read(study / "items.parquet")
    table = AccuracyTable.read(study / "accuracy.csv")
    assert items.about["model"] == "students-1x16"
    shares = items.correct.mean(1)
    assert [round(float(share), 6) for share in shares] == list(table.of("students-1x16", "toy").values())
    assert round(float(items.teacher_correct.mean()), 6) == table.of("teacher-4x32", "toy")[1]
    assert ((items.margin >= 0) & (items.margin <= items.confidence)).all()
    assert items.tokens.min() >= 6
    assert items.tokens.max() <= 11


def test_one_seed_put_together_is_the_study_itself(
    study: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["report", str(study), "--table", "synthetic", "--out", str(tmp_path)]) == 0
    assert "4 students close" in capsys.readouterr().out
    assert AccuracyTable.read(tmp_path / "accuracy.csv").rows == AccuracyTable.read(study / "accuracy.csv").rows


def test_the_card_says_where_the_figures_come_from(study: Path, toy: Path) -> None:
    own = source(study)
    digest = hashlib.sha256((toy / "toy.csv").read_bytes()).hexdigest()
    assert own["data"] == {"toy.csv": digest[:16]}
    assert (own["seed"], own["commit"]) == (0, commit())
    assert own["split"] == json.loads((study / "work" / "settings.json").read_text())["texts"]
    assert not leaks(read_card(study))


def test_calibrated_confidence_is_near_the_accuracy(study: Path) -> None:
    items = Answers.read(study / "items.parquet")
    gaps = np.abs(items.confidence.mean(1) - items.correct.mean(1))
    assert gaps.max() < 4 * np.sqrt(0.25 / len(items.label)), gaps


def test_an_interrupted_study_goes_on_and_ends_with_the_same_weights(
    toy: Path, whole: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Interrupted within the teacher, within a student with its helper, and within the corrective phase."""
    looked, answers, answered = StudyLog.step, boosting.answers, []

    def counted(*given: Any, **how: Any) -> torch.Tensor:
        answered.append(bool(how))
        return answers(*given, **how)

    monkeypatch.setattr(boosting, "answers", counted)
    for phase in ("teacher", "student-2", "joint", None):

        def step(self: StudyLog, name: str, *more: float, phase: str | None = phase) -> None:
            looked(self, name, *more)  # type: ignore[arg-type]
            if name == phase:
                raise KeyboardInterrupt

        monkeypatch.setattr(StudyLog, "step", step)
        monkeypatch.setattr("profiler.distill.learning.training.CHECKPOINT_S", 0.0)
        assert distill(toy, toy / "halves", SMALLEST, "-pbaselines=deep,wide") == (0 if phase is None else 130)
        assert phase is None or (toy / "halves" / "work" / f"{phase}.partial.safetensors").exists()
    assert "same command" in capsys.readouterr().err
    assert sum(answered) == 2  # no student answers the fitting texts again
    once, halves = (load_file(folder / "ensemble.safetensors") for folder in (whole, toy / "halves"))
    assert all(torch.equal(once[name], halves[name]) for name in once)
    assert (whole / "accuracy.csv").read_text() == (toy / "halves" / "accuracy.csv").read_text()
    assert not list((toy / "halves" / "work").glob("*.partial*"))


def test_another_seed_gives_other_weights_and_other_settings_are_refused(
    toy: Path, whole: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert distill(toy, toy / "one", SMALLEST, "-pbaselines=none", "--seed", "1") == 0
    one, other = (load_file(folder / "ensemble.safetensors") for folder in (toy / "one", whole))
    assert not torch.equal(one["projection_weight"], other["projection_weight"])
    assert distill(toy, toy / "one", SMALLEST, "-pbaselines=none", "--seed", "2") == 2
    assert "seed was 1, is 2" in capsys.readouterr().err


def test_a_folder_begun_with_other_texts_is_refused_and_so_is_one_in_use(
    toy: Path, whole: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """As many rows in another order are split otherwise: the old teacher may have been trained on the new test rows."""
    head, *rows = (toy / "few.csv").read_text().splitlines()
    (tmp_path / "few.csv").write_text("\n".join([head, *reversed(rows)]) + "\n")
    before = {path.name: path.stat().st_mtime_ns for path in (whole / "work").iterdir() if path.name != "lock"}
    for task, flags in ((tmp_path / "few.csv", []), (toy / "few.csv", ["--texts", str(toy / "toy.csv")])):
        assert distill(toy, whole, SMALLEST, "-pbaselines=deep,wide", *flags, task=str(task)) == 2
        assert "texts was" in capsys.readouterr().err
    with alone(whole / "work"):
        assert distill(toy, whole, SMALLEST, "-pbaselines=deep,wide") == 2
    assert "another run" in capsys.readouterr().err
    after = {path.name: path.stat().st_mtime_ns for path in (whole / "work").iterdir() if path.name != "lock"}
    assert after == before


def test_progress_of_a_finished_study_reaches_its_end(
    toy: Path, whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Phases that an earlier run finished count, also those that nothing asks for any more."""
    shutil.copytree(whole, tmp_path / "again")
    ended: list[float] = []
    finish = StudyLog.end

    def end(self: StudyLog, phase: str) -> None:
        finish(self, phase)
        ended.append(self._done / self._whole)

    monkeypatch.setattr(StudyLog, "end", end)
    assert distill(toy, tmp_path / "again", SMALLEST, "-pbaselines=deep,wide") == 0
    assert ended[-1] == pytest.approx(1.0)


@pytest.fixture(scope="module")
def interrupted(toy: Path) -> Path:
    """A study that was interrupted within its student."""
    looked = StudyLog.step

    def step(self: StudyLog, name: str, *more: Any) -> None:
        looked(self, name, *more)
        if name == "student-1":
            raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(StudyLog, "step", step)
        patch.setattr("profiler.distill.learning.training.CHECKPOINT_S", 0.0)
        assert distill(toy, toy / "interrupted", LEAST, "-pbaselines=none") == 130
    assert (toy / "interrupted" / "work" / "student-1.partial.safetensors").exists()
    return toy / "interrupted"


def halve(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def test_a_student_without_a_head_of_its_own_goes_on_and_so_does_a_study_whose_log_was_cut_short(
    toy: Path, interrupted: Path, tmp_path: Path
) -> None:
    shutil.copytree(interrupted, tmp_path / "halves")
    with (tmp_path / "halves" / "log.jsonl").open("a") as log:
        log.write('{"at_s": 3.1, "pha')
    for name in ("whole", "halves"):
        assert distill(toy, tmp_path / name, LEAST, "-pbaselines=none") == 0
    once, halves = (load_file(tmp_path / name / "ensemble.safetensors") for name in ("whole", "halves"))
    assert all(torch.equal(once[name], halves[name]) for name in once)
    assert "teacher" in json.loads((tmp_path / "halves" / "card.json").read_text())["seconds"]


@pytest.mark.parametrize("name", ["teacher.safetensors", "student-1.partial.safetensors", "settings.json"])
def test_a_broken_file_of_a_study_is_named_and_the_study_goes_on_without_it(
    toy: Path, interrupted: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    shutil.copytree(interrupted, tmp_path / "out")
    path = tmp_path / "out" / "work" / name
    halve(path)
    assert distill(toy, tmp_path / "out", LEAST, "-pbaselines=none") == 2
    assert re.search(f"error: {path} .*delete", capsys.readouterr().err)
    path.unlink()
    assert distill(toy, tmp_path / "out", LEAST, "-pbaselines=none") == 0


def test_a_file_that_cannot_be_written_is_named(toy: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    least, most = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, most))
    try:
        assert distill(toy, tmp_path / "out", LEAST, "-pbaselines=none") == 2
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (least, most))
    path = tmp_path / "out" / "work" / "teacher.safetensors"
    assert f"error: {path} cannot be written" in capsys.readouterr().err


def config(folder: Path, **changes: int) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def without(folder: Path, part: str) -> None:
    path = folder / "model.safetensors"
    save_file({key: tensor for key, tensor in load_file(path).items() if part not in key}, path, {"format": "pt"})


def more_words(folder: Path) -> None:
    """A tokenizer that numbers the words from 100 on."""
    path = folder / "tokenizer.json"
    tokenizer = json.loads(path.read_text())
    tokenizer["model"]["vocab"] |= {f"w{number}": 100 + number for number in range(24)}
    path.write_text(json.dumps(tokenizer))


@pytest.mark.parametrize(
    ("damage", "names"),
    [
        (lambda folder: config(folder, hidden_size=48), r"config\.json"),
        (lambda folder: config(folder, num_hidden_layers=5), "16 weights"),
        (lambda folder: without(folder, "layer.2."), r"16 weights.*bert\.encoder\.layer\.2\."),
        (lambda folder: halve(folder / "model.safetensors"), "broken"),
        (lambda folder: halve(folder / "tokenizer.json"), "tokenizer"),
        (more_words, "123.* 28"),
    ],
)
def test_a_broken_teacher_is_named_before_any_training(
    toy: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], damage: Callable[[Path], None], names: str
) -> None:
    shutil.copytree(toy / "teacher", tmp_path / "teacher")
    damage(tmp_path / "teacher")
    assert distill(toy, tmp_path / "out", {"tokens": 16}, "--teacher", str(tmp_path / "teacher")) == 2
    error = capsys.readouterr().err.strip()
    assert re.search(names, error)
    assert str(tmp_path / "teacher") in error
    assert error.splitlines()[-1].startswith("error: ")
    assert not (tmp_path / "out").exists()


def test_a_teacher_may_lack_what_is_above_the_encoder(toy: Path, tmp_path: Path) -> None:
    shutil.copytree(toy / "teacher", tmp_path / "teacher")
    for part in ("pooler", "classifier"):
        without(tmp_path / "teacher", part)
    own, other = (load_teacher(folder).encoder().tensors for folder in (tmp_path / "teacher", toy / "teacher"))
    assert all(torch.equal(own[name], other[name]) for name in other)


@pytest.mark.parametrize(
    ("rows", "flags", "names"),
    [
        (["txt,label", "a,yes"], [], "column text.*text, label.*txt, label"),
        (["text,label"], [], "no rows"),
        (["text,label", "w1,yes", "w2,yes"], [], "two classes"),
        (["text,label", "w1,yes", " ,no"], [], "row 1.*text"),
        (["text,label", "w1,yes", "w2,no", "w3,"], [], "row 2.*label"),
        (
            ["text,label", *(f"w{i % 9} w{i},{i % 2}" for i in range(30))],
            ["--held-out", "30"],
            "left to train",
        ),
        (["text,label", *(f"w{i % 9},{i % 2}" for i in range(30))], ["--held-out", "20"], "9 different texts"),
    ],
)
def test_bad_tasks_are_named_before_any_training(
    toy: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], rows: list[str], flags: list[str], names: str
) -> None:
    (tmp_path / "bad.csv").write_text("\n".join(rows) + "\n")
    assert distill(toy, tmp_path / "out", {}, *flags, task=str(tmp_path / "bad.csv")) == 2
    assert re.search(names, capsys.readouterr().err)
    assert not (tmp_path / "out").exists()


def test_other_bad_input_is_named_before_any_training(
    toy: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "dev.csv").write_text("text,label\nw1 w2,maybe\n")
    for flags, names in (
        (["--development", str(tmp_path / "dev.csv")], "label 'maybe'"),
        (["--teacher", str(tmp_path)], r"config\.json"),
        (["-ptokens=64"], "positions for 16"),
        (["-ptokens=16", "-pwidth=30"], "width 30"),
        (["-pstudent=2"], "'student'.*students, depth"),
        (["-pstudents=two"], "'two'.*int"),
        (["-pbaselines=tall"], "baseline tall"),
        (["-ptokens=2"], "tokens is 2.* 3"),
        (["--held-out=-5"], "--held-out is -5"),
        (["--development", str(tmp_path / "none.csv")], f"--development: no file {tmp_path / 'none.csv'}"),
        (["-ptokens=16", "--texts", str(tmp_path / "none.csv")], f"--texts: no file {tmp_path / 'none.csv'}"),
    ):
        assert distill(toy, tmp_path / "out", {}, *flags) == 2
        assert re.search(names, capsys.readouterr().err)
    assert not (tmp_path / "out").exists()
