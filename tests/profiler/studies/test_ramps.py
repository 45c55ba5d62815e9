"""Ramps after every layer: what the frozen teacher computes, what they learn of it, and what is recorded."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

pytest.importorskip("transformers")
sys.path.append(str(Path(__file__).parents[1] / "distill"))
from distill_toy import write_task, write_teacher

from profiler.__main__ import main
from profiler.answers.recorded import UNKNOWN, Answers
from profiler.answers.streams import stream
from profiler.answers.together import digest, same_texts
from profiler.distill.learning.corpus import Corpus
from profiler.distill.learning.initial import load_teacher
from profiler.distill.learning.journal import StudyLog
from profiler.distill.learning.texts import pack
from profiler.distill.learning.training import Setup
from profiler.distill.preparation import joined
from profiler.models.ramps import RampWeights, load_ramps
from profiler.studies import exits, ramps, tasks

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def _one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def setup(folder: Path) -> Setup:
    return Setup(folder, 0, CPU, half=False, journal=StudyLog(folder / "log.jsonl", {}))


def test_the_frozen_teacher_is_seen_as_transformers_computes_it(tmp_path: Path) -> None:
    from transformers import BertForSequenceClassification

    teacher = load_teacher(write_teacher(tmp_path / "teacher"))
    rng = np.random.default_rng(0)
    texts = pack([rng.integers(5, 29, size).astype(np.int32) for size in (3, 9, 5, 9)])
    found = ramps.seen(setup(tmp_path), teacher.spec, teacher.tensors, Corpus(texts, CPU))
    model = BertForSequenceClassification.from_pretrained(tmp_path / "teacher").eval()
    for index in range(4):
        with torch.no_grad():
            own = model(torch.from_numpy(texts.row(index)[None].astype(np.int64)), output_hidden_states=True)
        rows = torch.stack([state[0, 0] for state in own.hidden_states[1:]])
        assert torch.allclose(found.rows[:, index], rows, atol=1e-4)
        assert torch.allclose(found.logits[index], own.logits[0], atol=1e-4)


@pytest.mark.parametrize("shape", ["linear", "pooler"])
def test_ramps_are_a_classifier_per_layer_and_come_back_from_a_file(tmp_path: Path, shape: str) -> None:
    rng = torch.Generator().manual_seed(0)
    draw = lambda *size: torch.randn(size, generator=rng)  # noqa: E731
    pooler = (draw(3, 8, 8), draw(3, 8)) if shape == "pooler" else (None, None)
    own = RampWeights(draw(3, 8, 2), draw(3, 2), *pooler, about={"model": "teacher-3x8"})
    rows = draw(3, 5, 8)
    for layer, logits in enumerate(own.logits(rows)):
        row = rows[layer]
        if pooler[0] is not None and pooler[1] is not None:
            row = torch.tanh(row @ pooler[0][layer] + pooler[1][layer])
        assert torch.allclose(logits, row @ own.weight[layer] + own.bias[layer], atol=1e-5)
    own.save(tmp_path / "ramps.safetensors")
    again = load_ramps(tmp_path / "ramps.safetensors")
    assert again.about == {"model": "teacher-3x8"}
    assert torch.equal(again.logits(rows), own.logits(rows))
    RampWeights(own.weight, own.bias[:2], None, None, {}).save(tmp_path / "bad.safetensors")
    with pytest.raises(ValueError, match=r"bad\.safetensors holds no ramps"):
        load_ramps(tmp_path / "bad.safetensors")
    with pytest.raises(LookupError, match="profiler ramps"):
        load_ramps(tmp_path / "none.safetensors")


def test_ramps_learn_what_their_layer_knows_of_the_final_answer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Layers that see the deciding number through less and less noise; the last sees it as it is."""
    monkeypatch.setattr(ramps, "STEPS", 500)
    rng = np.random.default_rng(1)
    noise = np.array([4.0, 1.0, 0.0])[:, None, None]
    rows = rng.normal(size=(3, 3000, 6)) * 0.5
    score = rng.normal(size=3000)
    rows[:, :, :1] = score[None, :, None] + noise * rng.normal(size=(3, 3000, 1))
    logits = np.stack([score, -score], 1)
    found = ramps.Seen(torch.from_numpy(rows).float(), torch.from_numpy(logits).float())
    label = (score < 0).astype(np.int64)
    where = exits.TextSet(("",) * 3000, label, np.full(3000, "held-out", object), np.arange(3000))
    everything = np.arange(3000)
    for shape in ("linear", "pooler"):
        own = ramps.trained(setup(tmp_path), shape, found, {"model": "made up"})
        items = exits.recorded(own, found, where, np.full(3000, 9), own.about)
        agrees = exits.agreement(items, everything)
        assert (np.diff(agrees) > 0.05).all()
        assert agrees[-1] > 0.97
        best = [(np.sign(rows[layer, :, 0]) == np.sign(score)).mean() for layer in range(2)]
        assert agrees[:2] == pytest.approx(best, abs=0.03)  # nothing is better than the sign of what is seen
        assert exits.gates(items, everything) == {"majority": True, "rising": True, "last": True}
        assert items.about["shape"] == shape
        again = ramps.trained(setup(tmp_path), shape, found, {"model": "made up"})  # kept: nothing is trained twice
        assert torch.equal(again.weight, own.weight)
    items.label[:] = UNKNOWN
    assert exits.gates(items, everything) == {"rising": True, "last": True}
    with pytest.raises(LookupError, match="linear, pooler"):
        ramps.trained(setup(tmp_path), "tall", found, {})


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a toy task and a teacher that classifies it."""
    folder = tmp_path_factory.mktemp("toy")
    write_task(folder / "toy.csv", 900)
    teacher = write_teacher(folder / "teacher")
    config = json.loads((teacher / "config.json").read_text())
    (teacher / "config.json").write_text(json.dumps(config | {"id2label": {"0": "no", "1": "yes"}}))
    return folder


def ran(toy: Path, out: Path, *more: str) -> int:
    """The exit status of `ramps` on the toy."""
    flags = ["--teacher", str(toy / "teacher"), "--task", str(toy / "toy.csv"), "--data", str(toy), "--device", "cpu"]
    return main(["ramps", *flags, "--out", str(out), *more])


def test_recorded_exits_hold_tuning_rows_that_are_never_served(
    toy: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ramps, "STEPS", 20)
    out = tmp_path / "out"
    assert ran(toy, out) in (0, 1)
    assert "gates: majority" in capsys.readouterr().out
    items = Answers.read(out / "answers.parquet", "layers")
    assert items.stages == 4  # stages: layers of the toy
    assert list(dict.fromkeys(items.split)) == ["held-out", "tuning"]
    assert not (items.split[items.served] == "tuning").any()
    assert items.about["task"] == "toy"
    task = tasks.load(tasks.find(str(toy / "toy.csv"), toy), classes=("no", "yes"))
    assert items.about["texts"] == digest(joined(task).texts)  # that of a study's items.parquet: row numbers are alike
    assert items.label[items.served].tolist() == joined(task).labels.tolist()
    with pytest.raises(ValueError, match="by layers"):
        Answers.read(out / "answers.parquet")
    assert load_ramps(out / "ramps.safetensors").about["weights"] == items.about["weights"]
    card = json.loads((out / "card.json").read_text())
    own = card["exits"]["held-out"]
    assert own["accuracy"] == pytest.approx(items.teacher_correct[items.served].mean(), abs=1e-6)
    assert own["agreement_by_layer"] == pytest.approx(exits.agreement(items, items.served).tolist(), abs=1e-6)
    assert (card["texts"], card["recipe"]["steps"], card["seed"]) == (items.about["texts"], 20, "0")
    assert card["containment"]["held-out"]["in_training"] == 0
    assert ran(toy, out, "--seed", "1") == 2  # begun with another
    assert ran(toy, tmp_path / "none", "--limit", "0") == 2


def test_record_gives_the_same_answers_again_and_takes_any_texts(
    toy: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ramps, "STEPS", 20)
    ran(toy, tmp_path / "out")
    own = ["record", "--ramps", str(tmp_path / "out" / "ramps.safetensors"), "--teacher", str(toy / "teacher")]
    own += ["--device", "cpu", "--out", str(tmp_path / "again.parquet")]
    main([*own, "--task", str(toy / "toy.csv")])
    first, again = (Answers.read(tmp_path / name, "layers") for name in ("out/answers.parquet", "again.parquet"))
    same_texts(first, again)
    for name in ("answer", "confidence", "teacher_answer", "tokens", "split", "row"):
        assert np.array_equal(getattr(first, name), getattr(again, name))
    main([*own, "--task", str(toy / "toy.csv"), "--limit", "5"])
    held_out = len(first.served)
    few = [*first.row[:5], *first.row[held_out : held_out + 5]]
    assert Answers.read(tmp_path / "again.parquet", "layers").row.tolist() == few

    (tmp_path / "a.csv").write_text("text,label\nw1 w2 w3,yes\nw9 w9,-1\nw3,\nw4 w5,0\n")
    (tmp_path / "b.csv").write_text("text\nw1 w2 w3\nw20\n")
    main([*own, "--texts", str(tmp_path / "a.csv"), str(tmp_path / "b.csv")])
    found = Answers.read(tmp_path / "again.parquet", "layers")
    assert found.label.tolist() == [1, UNKNOWN, UNKNOWN, 0, UNKNOWN, UNKNOWN]
    assert found.domain is not None
    assert found.domain.tolist() == ["a"] * 4 + ["b"] * 2
    assert found.tokens.tolist() == [5, 4, 3, 4, 5, 3]
    assert found.answer[:, 0].tolist() == found.answer[:, 4].tolist()  # the same text
    capsys.readouterr()

    (tmp_path / "a.csv").write_text("text,label\nw1,maybe\n")
    assert main([*own, "--texts", str(tmp_path / "a.csv")]) == 2
    assert "'maybe'" in capsys.readouterr().err
    assert main([*own, "--texts", str(tmp_path / "none.csv")]) == 2
    other = write_teacher(tmp_path / "other", layers=3)
    own[4] = str(other)
    assert main([*own, "--task", str(toy / "toy.csv")]) == 2
    assert "another model" in capsys.readouterr().err


def test_joint_ramps_are_of_another_model_that_says_so(
    toy: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ramps, "STEPS", 50)
    monkeypatch.setattr(ramps, "JOINT_PASSES", 12)
    monkeypatch.setattr(ramps, "JOINT_RATE", 1e-3)
    ran(toy, tmp_path / "frozen")
    ran(toy, tmp_path / "joint", "--joint")
    frozen, joint = (Answers.read(tmp_path / name / "answers.parquet", "layers") for name in ("frozen", "joint"))
    assert (frozen.about["model"], joint.about["model"]) == ("teacher-4x32", "teacher-4x32-joint")
    assert (frozen.about["training"], joint.about["training"]) == ("frozen", "joint")
    assert frozen.about["weights"] != joint.about["weights"]
    same_texts(frozen, joint)
    rows = joint.served
    assert exits.accuracy(joint, rows)[1] > exits.accuracy(frozen, rows)[1] + 0.1  # labels taught the toy's backbone
    own = ["record", "--ramps", str(tmp_path / "joint" / "ramps.safetensors"), "--device", "cpu"]
    own += ["--teacher", str(tmp_path / "joint" / "joint.safetensors"), "--task", str(toy / "toy.csv")]
    main([*own, "--out", str(tmp_path / "again.parquet")])
    again = Answers.read(tmp_path / "again.parquet", "layers")
    assert again.about["model"] == "teacher-4x32-joint"
    assert np.array_equal(again.teacher_answer, joint.teacher_answer)
    assert np.array_equal(again.answer, joint.answer)
    assert "teacher-4x32-joint" in capsys.readouterr().out


def test_a_stream_becomes_a_trace_whose_items_are_rows_of_its_answers(
    toy: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from traces import load
    from traces.__main__ import main as traces_main

    monkeypatch.setattr(ramps, "STEPS", 20)
    ran(toy, tmp_path / "out")
    recorded, out = tmp_path / "out" / "answers.parquet", tmp_path / "stream"
    own = ["stream", str(recorded), "--requests", "300", "--period", "50", "--out", str(out)]
    assert main([*own, "--kind", "hardness"]) == 0
    assert "artificial" in capsys.readouterr().out
    flags = ["--columns", "item=item,tokens=tokens", "--arrivals", "constant:rate=100,duration=10"]
    assert traces_main(["convert", str(out / "items.csv"), *flags, "-o", str(tmp_path / "t.parquet")]) == 0
    trace, items = load(tmp_path / "t.parquet"), Answers.read(out / "answers.parquet", "layers")
    assert len(trace) == 300
    assert trace.item is not None
    assert trace.tokens.tolist() == items.tokens[trace.item].tolist()
    assert trace.item.tolist() == stream(items, "hardness", 300, period=50).tolist()
    assert main([*own, "--kind", "blocks"]) == 2  # one kind of texts
    assert main([*own, "--kind", "calm"]) == 2
