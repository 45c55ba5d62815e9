"""python -m simulator serve: real models, texts, a record, and an end by SIGTERM that loses nothing."""

from __future__ import annotations

import concurrent.futures
import json
import logging
import os
import resource
import signal
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

pytest.importorskip("starlette")
pytest.importorskip("httptools")
pytest.importorskip("prometheus_client")
pytest.importorskip("torch")
pytest.importorskip("tokenizers")

from conftest import heed_interrupts
from serving_doubles import body, call, get

from analysis.validation import recorded as validation
from profiler.executors.cpu import CpuExecutor
from profiler.executors.serving import labels_of
from profiler.models import weights
from profiler.models.spec import parse_spec
from profiler.table import LatencyTable
from profiler.table.writing import write_table
from simulator.endpoint.command import main, parser
from simulator.endpoint.opening import opened
from traces import load
from traces.readers.recorded import pieces

ROOT = Path(__file__).parents[3]
MODEL = "students-1x64"
INFER = f"/v2/models/{MODEL}/infer"


@pytest.fixture
def logging_restored():
    """The command configures logging for its process; here it shares one with other tests."""
    loggers = [logging.getLogger(name) for name in ("cohort", "uvicorn", "uvicorn.error", "uvicorn.access")]
    before = [(each.handlers[:], each.propagate, each.level) for each in loggers]
    yield
    for each, (handlers, propagate, level) in zip(loggers, before, strict=True):
        each.handlers[:], each.propagate = handlers, propagate
        each.setLevel(level)


def write(folder, students, known=True):
    """A table of a model with so many students, in this folder; with accuracies, or without."""
    rows = [
        {"model": MODEL, "students": k, "depth": 1, "hidden": 64, "batch": b, "tokens": t, "latency_us": 1000.0 * k + b}
        for k in students
        for b in (1, 4, 8)
        for t in (8, 16)
    ]
    accuracy = [{"model": MODEL, "students": k, "task": "toy", "accuracy": 0.8 + 0.05 * k} for k in students]
    about = {"device": "a test", "threads": 1, "dtype": "float32", "kind": "modelled"}
    write_table(folder / "table", rows, about, accuracy=accuracy if known else [])


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A table, and a checkpoint with a tokenizer of three words."""
    folder = tmp_path_factory.mktemp("serve")
    write(folder, (1, 2))
    weights.save(weights.random(parse_spec(MODEL, 2), 0), folder / "ensemble.safetensors")
    import tokenizers

    words = tokenizers.Tokenizer(tokenizers.models.WordLevel({"[UNK]": 0, "good": 1, "film": 2}, unk_token="[UNK]"))
    words.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    words.save(str(folder / "tokenizer.json"))
    return folder


@contextmanager
def serving(folder, *more, weights=None, lame_duck_s=0, before=heed_interrupts):
    """The command in a process of its own: its port, its log so far, and the process. before: called before it runs."""
    more = ("--lame-duck-s", lame_duck_s, *more)
    command = [sys.executable, "-m", "simulator", "serve", "--device", "cpu", "--table", str(folder / "table")]
    process = subprocess.Popen(
        [*command, "--weights", str(weights or folder), "--port", "0", *map(str, more)],
        env=os.environ | {"PYTHONPATH": str(ROOT), "HF_HUB_DISABLE_PROGRESS_BARS": "1"},
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=before,
    )
    events = []
    try:
        for line in process.stderr:
            events.append(json.loads(line))
            if events[-1]["event"] == "ready":
                break
        else:
            pytest.fail(f"it did not start: {events}")
        reader = threading.Thread(target=lambda: events.extend(map(json.loads, process.stderr)))
        reader.start()
        url = next(each["url"] for each in events if "url" in each)
        yield SimpleNamespace(port=int(url.rpartition(":")[2]), events=events, process=process)
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
        process.wait(30)
        reader.join()
    finally:
        process.kill()
        process.wait()
        process.stderr.close()


def test_it_answers_as_the_executor_alone_and_drains_at_sigterm(folder, tmp_path):
    alone = CpuExecutor(weights.load(folder / "ensemble.safetensors"), LatencyTable.load(folder / "table").plan(MODEL))
    alone.warm()
    flags = ["--policy", "greedy(max_batch=1)", "--levels", "useful", "--slo-ms", 50]
    with serving(folder, *flags, "--record", tmp_path / "record") as server:
        model = get(server, f"/v2/models/{MODEL}")[2]
        assert [each["name"] for each in model["inputs"]] == ["input_ids", "attention_mask", "token_type_ids", "text"]
        assert model["parameters"]["labels"] == ["LABEL_0", "LABEL_1"]
        assert model["parameters"]["policy"] == "greedy(max_batch=1)"
        assert [each["accuracy"] for each in model["parameters"]["levels"]] == pytest.approx([0.85, 0.9])
        text = {"inputs": [{"name": "text", "datatype": "BYTES", "shape": [1], "data": ["good film"]}]}
        for content, ids in ((text, [1, 2]), (body((5, 6, 7)), [5, 6, 7])):
            status, _, answer = call(server, path=INFER, content=content)
            assert status == 200
            expected = alone.run(2, [np.asarray(ids, np.int32)]).logits[0]
            assert answer["outputs"][0]["data"] == pytest.approx(expected.tolist(), abs=1e-5)
        with concurrent.futures.ThreadPoolExecutor(30) as pool:
            inside = [pool.submit(call, server, path=INFER, content=body()) for _ in range(30)]
            while "cohort_pending_requests 0.0" in get(server, "/metrics")[2].decode():
                if all(each.done() for each in inside):
                    break
            server.process.send_signal(signal.SIGTERM)
            statuses = []
            for each in inside:
                try:
                    statuses.append(each.result()[0])
                except OSError:  # came after the door was closed
                    statuses.append(None)
        assert set(statuses) <= {200, None}
        assert statuses.count(200) >= 1
    assert server.process.returncode == 0
    events = [each["event"] for each in server.events]
    assert "draining" in events
    assert events[-1] == "ended"
    (session,) = (tmp_path / "record").iterdir()
    assert len(load(session)) == 2 + statuses.count(200)
    run = json.loads((session / "run.json").read_text())
    assert (run["settings"]["policy"], run["settings"]["levels"]) == ("greedy(max_batch=1)", "useful")


def test_a_pair_is_answered_as_by_hugging_face_under_a_name_of_ones_own(tmp_path):
    """Labels, token types and a tokenizer of a checkpoint, padding on either side; with a key."""
    transformers = pytest.importorskip("transformers")
    import tokenizers
    import torch

    config = transformers.BertConfig(
        vocab_size=8, hidden_size=64, num_hidden_layers=1, num_attention_heads=1, intermediate_size=256,
        max_position_embeddings=16, id2label={0: "no", 1: "maybe", 2: "yes"}, initializer_range=0.1,
    )  # fmt: skip
    torch.manual_seed(0)
    model = transformers.BertForSequenceClassification(config).eval()
    model.save_pretrained(tmp_path / "bert")
    words = {"[UNK]": 0, "good": 1, "film": 2, "[CLS]": 3, "[SEP]": 4, "bad": 5, "[PAD]": 6}
    made = tokenizers.Tokenizer(tokenizers.models.WordLevel(words, unk_token="[UNK]"))
    made.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    made.post_processor = tokenizers.processors.BertProcessing(("[SEP]", 4), ("[CLS]", 3))
    made.save(str(tmp_path / "bert" / "tokenizer.json"))
    (tmp_path / "keys").write_text("a-key\n")
    key = {"x-api-key": "a-key"}
    write(tmp_path, (1,))
    flags = ["--policy", "greedy", "--name", "mine", "--host", "0.0.0.0", "--api-key-file", tmp_path / "keys"]
    with serving(tmp_path, *flags, weights=tmp_path / "bert") as server:
        infer = "/v2/models/mine/infer"
        assert call(server, path=infer, content=body())[0] == 401
        outputs = [{"name": "logits"}, {"name": "label"}]

        def ask(*inputs):
            names = ("name", "datatype", "data", "shape")
            tensors = [dict(zip(names, (*each, np.shape(each[2])), strict=True)) for each in inputs]
            status, _, reply = call(server, path=infer, content={"inputs": tensors, "outputs": outputs}, headers=key)
            assert status == 200, reply
            return [each["data"] for each in reply["outputs"]]

        ids, types = [3, 1, 2, 4, 5, 2, 4], [0, 0, 0, 0, 1, 1, 1]
        with torch.no_grad():
            given = {"input_ids": torch.tensor([ids]), "token_type_ids": torch.tensor([types])}
            exact = model(**given).logits[0]
        for found in (
            ask(("text", "BYTES", ["good film"]), ("text_pair", "BYTES", ["bad film"])),
            ask(("input_ids", "INT32", [ids]), ("token_type_ids", "INT32", [types])),
            ask(
                ("input_ids", "INT64", [[6, 6, *ids]]),
                ("token_type_ids", "INT64", [[0, 0, *types]]),
                ("attention_mask", "BOOL", [[False] * 2 + [True] * 7]),
            ),
        ):
            assert found[0] == pytest.approx(exact.tolist(), abs=1e-5)
            assert found[1] == [["no", "maybe", "yes"][int(exact.argmax())]]
        assert ask(("input_ids", "INT64", [ids]))[0] != pytest.approx(exact.tolist(), abs=1e-3)
    assert server.process.returncode == 0


def test_an_accuracy_that_a_table_does_not_have_is_null(tmp_path):
    write(tmp_path, (1, 2), known=False)
    given = ["--device", "cpu", "--policy", "greedy", "--table", str(tmp_path / "table"), "--levels", "all"]
    endpoint, served, _ = opened(parser().parse_args(given))
    served.close()
    assert [each["accuracy"] for each in json.loads(json.dumps(endpoint.about, allow_nan=False))["levels"]] == [
        None
    ] * 2


@pytest.mark.parametrize(
    ("config", "classes", "labels"),
    [
        (None, 2, ("LABEL_0", "LABEL_1")),
        ({}, 3, ("LABEL_0", "LABEL_1", "LABEL_2")),
        ({"id2label": {"1": "b", "0": "a"}}, 2, ("a", "b")),
        ({"id2label": {"0": "a"}}, 1, ()),
        ({"id2label": {"0": "a", "1": "b"}, "problem_type": "multi_label_classification"}, 2, ()),
    ],
)
def test_labels_are_those_of_the_checkpoint(tmp_path, config, classes, labels):
    if config is not None:
        (tmp_path / "config.json").write_text(json.dumps(config))
    assert labels_of(tmp_path, classes) == labels_of(tmp_path / "ensemble.safetensors", classes) == labels
    assert labels_of(None, 2) == ("LABEL_0", "LABEL_1")


@pytest.mark.parametrize(
    "config", ['{"id2label": {"0": "a"}}', '{"id2label": {"1": "a", "2": "b"}}', '{"id2label": {"x": "a"}}', "[1]", "{"]
)
def test_labels_that_are_not_of_the_model_are_refused(tmp_path, config):
    (tmp_path / "config.json").write_text(config)
    with pytest.raises(ValueError, match=r"config\.json"):
        labels_of(tmp_path, 2)


def test_a_process_answers_for_a_while_after_sigterm_and_a_second_one_ends_that(folder):
    with serving(folder, "--policy", "greedy", lame_duck_s=60) as server:
        server.process.send_signal(signal.SIGTERM)
        while get(server, "/v2/health/ready")[0] == 200:
            assert server.process.poll() is None
        status, headers, _ = call(server, path=INFER, content=body())
        assert (status, headers["connection"]) == (200, "close")
        server.process.send_signal(signal.SIGTERM)
        began = time.monotonic()
        server.process.wait(30)
        assert time.monotonic() - began < 20
    assert server.process.returncode == 0
    assert [each["event"] for each in server.events].count("draining") == 1


def test_two_devices_serve_one_queue(folder):
    with serving(folder, "--policy", "greedy", "--gpus", 2) as server, concurrent.futures.ThreadPoolExecutor(8) as pool:
        asked = [pool.submit(call, server, path=INFER, content=body()) for _ in range(24)]
        assert {each.result()[0] for each in asked} == {200}
        assert "cohort_gpus 2.0" in get(server, "/metrics")[2].decode()
    assert server.process.returncode == 0


def recorded(root):
    """The one session in a folder of records: its requests and their outcomes."""
    (session,) = root.iterdir()
    found = list(pieces(session))
    return load(session), [each for piece in found for each in piece.outcomes["outcome"].to_pylist()]


@pytest.mark.parametrize("seed", [0, *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(1, 12))])
def test_kill_9_loses_the_records_of_one_second_at_most(folder, tmp_path, seed):
    """Under load, and in the silence after it, where no further request writes what came before."""
    wait_s, silence_s = np.random.default_rng(seed).uniform([0.5, 0.0], [2.0, 1.5])
    answered = []
    with serving(folder, "--policy", "greedy", "--record", tmp_path / "record") as server:
        began = time.monotonic()
        while time.monotonic() - began < wait_s:
            assert call(server, path=INFER, content=body())[0] == 200
            answered.append(time.monotonic())
        time.sleep(silence_s)
        killed = time.monotonic()
        server.process.kill()
    trace, outcomes = recorded(tmp_path / "record")
    safe = sum(each < killed - 1 for each in answered)
    assert safe <= len(trace) <= len(answered) + 1
    assert sum(each in ("ok", "late") for each in outcomes) >= safe
    if silence_s > 1:
        assert len(trace) == len(answered)
    (session,) = (tmp_path / "record").iterdir()
    found = validation.compare(validation.read(session))
    assert safe <= found["requests"] == len(outcomes) - found["unknown"]
    assert found["replayed_same_decisions"]


def test_two_servers_record_into_one_folder(folder, tmp_path):
    flags = ["--policy", "greedy", "--record", tmp_path / "record", "--record-mib", 1]
    with serving(folder, *flags) as first, serving(folder, *flags) as second:
        for server in (first, second, first):
            assert call(server, path=INFER, content=body())[0] == 200
    assert (first.process.returncode, second.process.returncode) == (0, 0)
    assert sorted(len(load(each)) for each in (tmp_path / "record").iterdir()) == [1, 2]


def test_a_full_disk_does_not_stop_the_service_and_its_end_says_what_is_lost(folder, tmp_path):
    """A limit on the size of files stands for the disk."""

    def full():
        resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))

    with serving(folder, "--policy", "greedy", "--record", tmp_path / "record", before=full) as server:
        statuses = {call(server, path=INFER, content=body())[0] for _ in range(150)}
        deadline = time.monotonic() + 10
        while "cohort_record_failures_total 0.0" in (metrics := get(server, "/metrics")[2].decode()):
            assert time.monotonic() < deadline
        assert "cohort_record_failures_total" in metrics
    assert statuses == {200}
    assert server.process.returncode == 1
    (lost,) = [each for each in server.events if each["event"] == "records lost"]
    trace, _ = recorded(tmp_path / "record")
    assert 0 < len(trace) < 150
    assert 150 - len(trace) <= lost["lines"] < 3 * 150


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (["--policy", "gready"], "gready"),
        (["--queue", "0"], "--queue is 0"),
        (["--port", "70000"], "--port is 70000"),
        (["--host", "203.0.113.1"], "203.0.113.1"),
        (["--policy", "hpa(greedy)"], "needs 'scale'"),
        (["--weights", "nowhere"], "nowhere"),
        (["--api-key-file", "nowhere"], "nowhere"),
        (["--lame-duck-s", "-1"], "--lame-duck-s is -1"),
        (["--name", "a/b"], "--name is 'a/b'"),
    ],
)
def test_bad_input_is_an_error_in_one_line(folder, capsys, logging_restored, arguments, word, tmp_path):
    given = ["--device", "cpu", "--table", str(folder / "table"), "--port", "0", "--log-level", "error"]
    assert main([*given, "--record", str(tmp_path / "record"), *arguments]) == 2
    errors = capsys.readouterr().err
    assert word in errors
    assert "Traceback" not in errors
    assert not list(tmp_path.glob("record/*"))


def test_a_port_that_is_taken_is_an_error_before_anything_is_loaded(capsys, logging_restored):
    import socket

    with socket.create_server(("127.0.0.1", 0)) as taken:
        began = time.monotonic()
        assert main(["--device", "cpu", "--port", str(taken.getsockname()[1])]) == 2
    assert time.monotonic() - began < 2
    assert "cannot listen" in capsys.readouterr().err
