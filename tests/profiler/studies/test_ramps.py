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
from profiler.answers.recorded import Answers
from profiler.distill.learning.corpus import Corpus
from profiler.distill.learning.initial import load_teacher
from profiler.distill.learning.journal import StudyLog
from profiler.distill.learning.texts import pack
from profiler.distill.learning.training import Setup
from profiler.models.ramps import Ramps, load_ramps
from profiler.studies import ramps

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
        assert torch.allclose(found.rows[:, index].float(), rows, atol=5e-3)  # kept in float16
        assert torch.allclose(found.logits[index], own.logits[0], atol=1e-4)


@pytest.mark.parametrize("shape", ["linear", "pooler"])
def test_ramps_are_a_classifier_per_layer_and_come_back_from_a_file(tmp_path: Path, shape: str) -> None:
    rng = torch.Generator().manual_seed(0)
    draw = lambda *size: torch.randn(size, generator=rng)  # noqa: E731
    pooler = (draw(3, 8, 8), draw(3, 8)) if shape == "pooler" else (None, None)
    own = Ramps(draw(3, 8, 2), draw(3, 2), *pooler, about={"model": "teacher-3x8"})
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
    Ramps(own.weight, own.bias[:2], None, None, {}).save(tmp_path / "bad.safetensors")
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
    found = ramps.Seen(torch.from_numpy(rows).half(), torch.from_numpy(logits).float())
    where = ramps.Rows(
        np.full(3000, 9), (score < 0).astype(np.int64), np.full(3000, "held-out", object), np.arange(3000)
    )
    for shape in ("linear", "pooler"):
        own = ramps.trained(setup(tmp_path), shape, found, {"model": "made up"})
        items = ramps.recorded(own, found, where, own.about)
        agrees = ramps.agreement(items, items.served)
        assert (np.diff(agrees) > 0.05).all()
        assert agrees[-1] > 0.97
        best = [(np.sign(rows[layer, :, 0]) == np.sign(score)).mean() for layer in range(2)]
        assert agrees[:2] == pytest.approx(best, abs=0.03)  # nothing is better than the sign of what is seen
        assert all(ramps.gates(items, items.served).values())
        assert items.about["shape"] == shape
    with pytest.raises(LookupError, match="linear, pooler"):
        ramps.trained(setup(tmp_path), "tall", found, {})


def test_recorded_exits_hold_tuning_rows_that_are_never_served(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ramps, "STEPS", 20)
    write_task(tmp_path / "toy.csv", 900)
    teacher = write_teacher(tmp_path / "teacher")
    config = json.loads((teacher / "config.json").read_text())
    (teacher / "config.json").write_text(json.dumps(config | {"id2label": {"0": "no", "1": "yes"}}))
    flags = ["--teacher", str(teacher), "--task", str(tmp_path / "toy.csv"), "--data", str(tmp_path)]
    assert main(["ramps", *flags, "--out", str(tmp_path / "out"), "--device", "cpu"]) in (0, 1)
    assert "gates: majority" in capsys.readouterr().out
    items = Answers.read(tmp_path / "out" / "answers.parquet", "layers")
    assert items.stages == 4  # stages: layers of the toy
    assert set(items.split) == {"tuning", "held-out"}
    assert not (items.split[items.served] == "tuning").any()
    assert items.about["task"] == "toy"
    with pytest.raises(ValueError, match="by layers"):
        Answers.read(tmp_path / "out" / "answers.parquet")
    assert load_ramps(tmp_path / "out" / "ramps.safetensors").about["weights"] == items.about["weights"]
    (teacher / "model.safetensors").rename(tmp_path / "gone")
    assert main(["ramps", *flags, "--out", str(tmp_path / "again"), "--device", "cpu"]) == 2
