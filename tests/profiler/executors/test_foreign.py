"""Checkpoints of any architecture that transformers classifies with: answered as there, measured, served."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="the extra gpu is not installed")
transformers = pytest.importorskip("transformers", reason="the extra gpu is not installed")

from foreign_doubles import CONFIGS, saved  # noqa: E402

from profiler.__main__ import main  # noqa: E402
from profiler.executors.foreign import ForeignExecutor, open_checkpoint  # noqa: E402
from profiler.measuring import gate  # noqa: E402
from profiler.models.foreign import look_at  # noqa: E402
from profiler.table import BucketPlan, LatencyTable  # noqa: E402

PLAN = BucketPlan((1, 4), (8, 16))


@pytest.mark.parametrize("kind", CONFIGS)
@pytest.mark.parametrize("engine", ["eager", "sdpa"])
def test_mixed_batches_are_answered_as_each_text_alone(tmp_path: Path, kind: str, engine: str) -> None:
    own = look_at(saved(tmp_path / "mine", kind))
    executor = ForeignExecutor(own, PLAN, engine)
    executor.warm()
    rng = np.random.default_rng(0)
    ids = [rng.integers(2, 60, length).astype(np.int32) for length in (5, 16, 9)]
    answers = executor.run(1, ids)
    assert (answers.key.batch, answers.key.tokens) == (4, 16)
    np.testing.assert_allclose(answers.logits, own.exact(ids), atol=2e-5)
    gate.check(executor, own, rng, keys=2)


def test_bert_runs_on_our_own_engine_and_answers_the_same(tmp_path: Path) -> None:
    own = look_at(saved(tmp_path / "mine", "BertConfig"))
    assert own.fastest == "own"
    assert look_at(saved(tmp_path / "other", "RobertaConfig")).fastest == "sdpa"
    executor = open_checkpoint(own, PLAN, "own")
    executor.warm()
    ids = [np.arange(2, 12, dtype=np.int32)]
    np.testing.assert_allclose(executor.run(1, ids).logits, own.exact(ids), atol=2e-5)


def test_what_cannot_be_run_is_refused_in_a_line(tmp_path: Path) -> None:
    folder = saved(tmp_path / "mine", "RobertaConfig")
    own = look_at(folder)
    assert own.spec.positions == 38  # they count from behind the padding's id
    with pytest.raises(ValueError, match="positions for 38"):
        ForeignExecutor(own, BucketPlan((1,), (64,)))
    executor = ForeignExecutor(own, PLAN)
    executor.warm()
    with pytest.raises(ValueError, match="outside the vocabulary"):
        executor.run(1, [np.array([own.spec.inputs], np.int32)])
    with pytest.raises(LookupError, match="2 students"):
        executor.run(2, [np.array([3], np.int32)])
    config = json.loads((folder / "config.json").read_text())
    for change, words in (
        ({"architectures": ["RobertaForMaskedLM"]}, "no classifier"),
        ({"auto_map": {"AutoModel": "mine.Mine"}}, "code of its own"),
        ({"model_type": "nonsense"}, "cannot be read"),
    ):
        (folder / "config.json").write_text(json.dumps(config | change))
        with pytest.raises(ValueError, match=words):
            look_at(folder)
    with pytest.raises(LookupError, match=r"config\.json"):
        look_at(tmp_path)


@pytest.mark.skipif(importlib.util.find_spec("onnxruntime") is not None, reason="onnxruntime is installed")
def test_an_engine_that_is_not_installed_says_how_to_get_it(tmp_path: Path) -> None:
    with pytest.raises(LookupError, match="pip install onnxruntime"):
        ForeignExecutor(look_at(saved(tmp_path / "mine", "BertConfig")), PLAN, "onnx")


def test_a_checkpoint_becomes_a_table_that_live_mode_serves(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    threads = torch.get_num_threads()
    folder = saved(tmp_path / "my roberta", "RobertaConfig")
    keys = ["--batches", "1,2", "--tokens", "8,16", "--threads", "1", "--budget-s", "0.5"]
    try:
        measure = ["run", "--checkpoint", str(folder), *keys, "--out", str(tmp_path / "table")]
        assert 0 in (main(measure) for _ in range(20))  # a busy machine goes on where it ended
        table = LatencyTable.load(tmp_path / "table")
        assert table.models == ("my-roberta",)
        assert table.meta["checkpoints"]["my-roberta"]["engine"] == "sdpa"
        from simulator.__main__ import main as simulate

        run = ["--trace", "poisson:rate=50,duration=0.2", "--lengths", "constant:tokens=8", "--device", "cpu"]
        run += ["--table", str(tmp_path / "table"), "--reference", "none", "--attempts", "1"]
        run += ["--out", str(tmp_path / "run")]
        assert simulate(["--policy", "greedy", *run, "--weights", str(folder)]) == 0
        assert "weights from" in capsys.readouterr().out
        assert simulate(["--policy", "greedy", *run]) == 2
        assert "--weights DIR" in capsys.readouterr().err
        other = saved(tmp_path / "other", "BertConfig")
        assert simulate(["--policy", "greedy", *run, "--weights", str(other)]) == 2
        assert "RobertaForSequenceClassification" in capsys.readouterr().err
        assert main(["run", "--checkpoint", str(folder), "--plan", "cpu", "--out", str(tmp_path / "no")]) == 2
    finally:
        torch.set_num_threads(threads)
