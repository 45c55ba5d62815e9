"""A checkpoint of another architecture than ours behind the endpoint: its texts, its labels, its own answers."""

from __future__ import annotations

import json

import numpy as np
import pytest

pytest.importorskip("torch", reason="the extra gpu is not installed")
pytest.importorskip("transformers", reason="the extra gpu is not installed")
pytest.importorskip("starlette")
pytest.importorskip("httptools")
pytest.importorskip("prometheus_client")
tokenizers = pytest.importorskip("tokenizers")

import torch  # noqa: E402
from foreign_doubles import saved  # noqa: E402
from serving_doubles import call, get, running  # noqa: E402

from profiler.models.foreign import look_at  # noqa: E402
from profiler.table.writing import write_table  # noqa: E402
from simulator.endpoint.command import parser  # noqa: E402
from simulator.endpoint.opening import opened  # noqa: E402


@pytest.mark.parametrize("engine", ["sdpa", "own"])
def test_texts_are_answered_as_the_checkpoint_answers_them(engine, tmp_path):
    threads = torch.get_num_threads()
    kind = "BertConfig" if engine == "own" else "DistilBertConfig"
    folder = saved(tmp_path / "mine", kind, id2label={0: "bad", 1: "so", 2: "good"})
    words = tokenizers.Tokenizer(tokenizers.models.WordLevel({"[UNK]": 2, "good": 3, "film": 4}, unk_token="[UNK]"))
    words.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    words.save(str(folder / "tokenizer.json"))
    own = look_at(folder)
    rows = [
        {"model": "mine", "students": 1, "depth": 2, "hidden": 32, "batch": b, "tokens": t, "latency_us": 1000.0}
        for b in (1, 4)
        for t in (4, 8)
    ]
    about = {"folder": "mine", "architecture": own.architecture, "engine": engine, "classes": 3}
    meta = {"device": "a test", "threads": 1, "dtype": "float32", "kind": "measured", "checkpoints": {"mine": about}}
    write_table(tmp_path / "table", rows, meta)
    flags = ["--table", str(tmp_path / "table"), "--policy", "greedy", "--device", "cpu", "--weights", str(folder)]
    try:
        endpoint, served, _ = opened(parser().parse_args(flags))
        with running(endpoint) as address:
            asked = {"inputs": [{"name": "text", "datatype": "BYTES", "shape": [2], "data": ["good film", "film"]}]}
            asked["outputs"] = [{"name": "logits"}, {"name": "label"}]
            status, _, reply = call(address, path="/v2/models/mine/infer", content=asked)
            assert status == 200, json.dumps(reply)
            labels = get(address, "/v2/models/mine")[2]["parameters"]["labels"]
        served.close()
    finally:
        torch.set_num_threads(threads)
    exact = own.exact([np.array([3, 4], np.int32), np.array([4], np.int32)])
    logits, label = reply["outputs"]
    np.testing.assert_allclose(np.reshape(logits["data"], (2, 3)), exact, atol=1e-5)
    assert labels == ["bad", "so", "good"]
    assert label["data"] == [labels[best] for best in exact.argmax(axis=1)]
