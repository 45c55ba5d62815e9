"""The study of adapters, from files to figures: it goes on where it stopped, and serving answers as it recorded."""

from __future__ import annotations

import csv
import json
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

pytest.importorskip("transformers")
sys.path.append(str(Path(__file__).parents[1] / "distill"))
from distill_toy import write_teacher

from profiler.__main__ import main
from profiler.commands import adapters as command
from profiler.distill.learning.initial import load_teacher
from profiler.distill.learning.texts import tokenize
from profiler.models.adapters import WAYS, TenantAdapters, lower
from profiler.studies import adapters, tasks
from profiler.studies.states import encoder
from profiler.studies.tenants import tenants


@pytest.fixture(autouse=True)
def _one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def write_data(folder: Path) -> None:
    """Three data sets of words, of which the third tells the label."""
    rng = np.random.default_rng(0)
    labels = {
        "sst2": ["0", "1"],
        "banking77": ["card_1", "card_2", "cash_1", "cash_2"],
        "snips_intents": list("ABCDEFG"),
    }
    for name, own in labels.items():
        (folder / name).mkdir()
        for file, rows in (("train", 700), ("dev", 60), ("validate", 60)):
            with (folder / name / f"{file}.csv").open("w", newline="") as out:
                writer = csv.writer(out)
                writer.writerow(["text", "label"])
                for _ in range(rows):
                    label = int(rng.integers(len(own)))
                    words = rng.integers(8, 24, 9)
                    words[2] = label
                    writer.writerow([" ".join(f"w{word}" for word in words), own[label]])


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(
        tasks, "NAMED",
        {"sst2": ("sst2", "train.csv", "dev.csv", 120), "banking77": ("banking77", "train.csv", None, 120),
         "snips": ("snips_intents", "train.csv", "validate.csv", 120)},
    )  # fmt: skip
    monkeypatch.setattr(command, "half_precision", lambda device: False)
    monkeypatch.setattr(command, "SIZES", (50, 400))
    monkeypatch.setattr(command, "LEARNED", 400)
    monkeypatch.setattr(command, "FULL", 1)
    monkeypatch.setattr(adapters, "LAYERS", 2)
    monkeypatch.setattr(adapters, "STEPS", 30)
    monkeypatch.setattr(adapters, "FULL", replace(adapters.FULL, teacher_texts=64))
    write_data(tmp_path)
    write_teacher(tmp_path / "encoder")
    return tmp_path


def test_a_study_goes_on_where_it_stopped_and_serving_answers_as_it_recorded(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = ["adapters", "--teacher", str(folder / "encoder"), "--data", str(folder), "--out", str(folder / "out")]
    flags += ["--tenants", "2"]
    whole, stopped = adapters.AdapterStudy.answers, []

    def stopping(self: adapters.AdapterStudy, *job: object) -> adapters.Answers:
        stopped.append(job)
        if len(stopped) == 3:
            raise KeyboardInterrupt
        return whole(self, *job)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr(adapters.AdapterStudy, "answers", stopping)
        assert main(flags) == 130
    card = json.loads((folder / "out" / "card.json").read_text())
    assert (card["trained"], card["wanted"]) == (2, 7)
    assert "5 of 7 trainings are left" in (folder / "out" / "README.md").read_text()
    first = (folder / "out" / "log.jsonl").read_text()
    assert main(flags) == 0
    second = (folder / "out" / "log.jsonl").read_text()
    assert second.startswith(first)
    assert "states-" not in second[len(first) :]  # nothing is computed anew

    rows = table_of(folder / "out" / "accuracy.csv")
    found = {(row["tenant"], row["trained"], row["states"]) for row in rows}
    names = list(dict.fromkeys(row["tenant"] for row in rows))
    sizes = sorted({row["states"] for row in rows} - {"computed"}, key=int)
    assert len(names) == 2
    assert len(sizes) == 3
    looked = {(name, trained, size) for name in names for trained in TRAINED_ON_BOTH for size in sizes}
    computed = {(name, trained, "computed") for name in names for trained in ("head", "adapters")}
    assert found == looked | computed | {(names[0], "full", "computed")}
    card = json.loads((folder / "out" / "card.json").read_text())
    assert card["recipe"]["steps"] == 30
    assert all(own["evaluated"]["in_training"] == 0 for own in card["containment"].values())
    assert "are left" not in (folder / "out" / "README.md").read_text()
    coverage = table_of(folder / "out" / "coverage.csv")
    trained = [float(row["trigram"]) for row in coverage if row["texts"] == "trained on"]
    assert trained == sorted(trained)
    assert trained[-1] == 1.0

    # What serves gives the recorded answers, with computed lower layers.
    tenant = tenants({name: tasks.load(tasks.find(name, folder)) for name in tasks.NAMED}, 0)[0]
    assert tenant.name == names[0]
    own = torch_file(folder / "out" / "work" / f"{adapters.file_of(tenant.name, 'adapters')}.safetensors")
    teacher = load_teacher(folder / "encoder").encoder()
    texts = tokenize(tenant.evaluated.texts, folder / "encoder", 16, teacher.spec.vocab)
    weights, ids = encoder(teacher.spec, teacher.tensors), torch.from_numpy(texts.ids).long()
    mask = torch.zeros(*ids.shape)
    mask[torch.arange(ids.shape[1]) >= torch.from_numpy(texts.lengths)[:, None]] = -torch.inf
    pool = TenantAdapters(own["flat"][None], own["head_weight"][None], own["head_bias"][None])
    states = lower(weights, ids, mask[:, None, None], 2)
    for way in WAYS.values():
        logits = pool.answer(weights, torch.zeros(len(ids), dtype=torch.int64), states, mask[:, None, None], way)
        assert (logits.argmax(-1) == own["evaluated computed"]).float().mean() > 0.98


TRAINED_ON_BOTH = ("adapters", "adapters on look-up")


def table_of(path: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(path.read_text().splitlines()))


def torch_file(path: Path) -> dict[str, torch.Tensor]:
    from safetensors.torch import load_file

    return dict(load_file(path))


def test_bad_input_is_refused_in_a_line(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    flags = ["adapters", "--data", str(folder), "--out", str(folder / "out")]
    assert main([*flags, "--teacher", str(folder / "encoder"), "--tenants", "0"]) == 2
    assert main([*flags, "--teacher", str(folder / "none")]) == 2
    write_teacher(folder / "shallow", layers=2)
    assert main([*flags, "--teacher", str(folder / "shallow")]) == 2
    assert "has 2 layers" in capsys.readouterr().err
