"""Trained adapters as a store: what serves answers as the study did, and a folder that is none is refused."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")
sys.path.append(str(Path(__file__).parents[1] / "distill"))

from distill_toy import write_teacher  # noqa: E402

from profiler.__main__ import main  # noqa: E402
from profiler.distill.learning.encoder import upper  # noqa: E402
from profiler.distill.learning.initial import load_teacher  # noqa: E402
from profiler.distill.learning.training import read  # noqa: E402
from profiler.executors.serving import load_weights  # noqa: E402
from profiler.models import adapters as served  # noqa: E402
from profiler.models.weights import digest, write_tensors  # noqa: E402
from profiler.studies import adapters  # noqa: E402
from profiler.tenants.store import AdapterStore  # noqa: E402

CLASSES = {"acme": 2, "beta-three": 3}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An encoder of eight layers, and what a study leaves of two tenants."""
    folder = tmp_path_factory.mktemp("export")
    write_teacher(folder / "encoder", layers=8, hidden=64)
    own, rng = load_teacher(folder / "encoder").encoder(), torch.Generator().manual_seed(0)
    (folder / "study" / "work").mkdir(parents=True)
    (folder / "study" / "card.json").write_text(json.dumps({"weights": digest(own.tensors)}))
    for name, classes in CLASSES.items():
        size = served.parameters(own.spec.hidden, 4)
        parts = {"flat": (adapters.LAYERS, size), "head_weight": (own.spec.hidden, classes), "head_bias": (classes,)}
        made = {part: 0.1 * torch.randn(*shape, generator=rng) for part, shape in parts.items()}
        write_tensors(folder / "study" / "work" / f"{adapters.file_of(name, 'adapters')}.safetensors", made)
    write_tensors(folder / "study" / "work" / "adapters_acme.partial.safetensors", made)
    return folder


def command(folder: Path, *more: str) -> list[str]:
    return ["store", str(folder / "study"), "--teacher", str(folder / "encoder"), "--out", str(folder / "out"), *more]


def test_what_serves_answers_as_the_study_does(folder: Path) -> None:
    assert main(command(folder, "--classes", "5")) == 0
    store = AdapterStore.open(folder / "out" / "adapters.npy")
    own = load_weights("teacher-8x64", 1, folder / "out", 0)
    teacher = load_teacher(folder / "encoder").encoder()
    assert (store.names, store.shape.classes, store.shape.width) == (("acme", "beta-three"), 5, 4)
    ids = torch.randint(0, teacher.spec.vocab, (6, 7), generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        x = served.lower(own, ids, None, own.spec.layers - adapters.LAYERS)
        for row, (name, classes) in enumerate(CLASSES.items()):
            its = store.adapters([row])
            found = its.answer(own, torch.zeros(6, dtype=torch.int64), x, None, served.loop).numpy()
            trained = read(folder / "study" / "work" / f"adapters_{name}.safetensors", torch.device("cpu"))
            between = adapters._between(teacher.spec, trained["flat"])
            cls = upper(teacher.spec, teacher.tensors, x[None], None, adapters.LAYERS, between)[0]
            expected = (cls @ trained["head_weight"] + trained["head_bias"]).numpy()
            np.testing.assert_allclose(found[:, :classes], expected, rtol=0, atol=1e-5)
            assert (found[:, classes:] == -np.inf).all()
            assert store.classes(row) == classes


def test_what_cannot_be_exported_is_refused(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(command(folder, "--classes", "2")) == 2
    assert "3" in capsys.readouterr().err
    assert main(command(folder, "--on-look-up")) == 2
    assert "adapters-on-look-up" in capsys.readouterr().err
    other = write_teacher(tmp_path / "other", layers=9, hidden=64)
    assert main([*command(folder), "--teacher", str(other)]) == 2
    assert "not the encoder" in capsys.readouterr().err
