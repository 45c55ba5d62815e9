"""Foreign clients work with the endpoint: the protocol's own, and NVIDIA's, with JSON and binary tensors."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pytest

pytest.importorskip("starlette")
pytest.importorskip("httptools")
pytest.importorskip("prometheus_client")

from serving_doubles import MODEL, SleepingDevice, endpoint, running, tokenize

from simulator.endpoint.load import Sender, main, requests, send
from traces import Trace

#: In a process of its own, since gevent patches what it touches.
TRITON = """
import json, sys
import numpy as np
import tritonclient.http as http

url, model = sys.argv[1:]
client = http.InferenceServerClient(url)
found = {
    "live": client.is_server_live(),
    "ready": client.is_server_ready() and client.is_model_ready(model) and client.is_model_ready(model, "1"),
    "extensions": client.get_server_metadata()["extensions"],
    "inputs": [each["name"] for each in client.get_model_metadata(model)["inputs"]],
    "logits": [],
}
ids = np.asarray([[7, 8, 9]], np.int64)
for binary in (False, True):
    tensor = http.InferInput("input_ids", ids.shape, "INT64")
    tensor.set_data_from_numpy(ids, binary_data=binary)
    for outputs in (None, [http.InferRequestedOutput("logits", binary_data=binary)]):
        result = client.infer(model, [tensor], outputs=outputs, request_id="a", parameters={"slo_ms": 500})
        found["logits"].append(result.as_numpy("logits").tolist())
        found["parameters"] = result.get_response()["parameters"]
tensors = [
    ("input_ids", np.asarray([[7, 8], [6, 5]], np.int32), "INT32"),
    ("attention_mask", np.asarray([[1, 0], [1, 1]], bool), "BOOL"),
    ("token_type_ids", np.zeros((2, 2), np.int32), "INT32"),
]
inputs = []
for name, array, kind in tensors:
    inputs.append(http.InferInput(name, array.shape, kind))
    inputs[-1].set_data_from_numpy(array)
names = ["logits", "probabilities", "label"]
result = client.infer(model, inputs, outputs=[http.InferRequestedOutput(name) for name in names])
found["rows"] = {name: result.as_numpy(name).tolist() for name in names[:2]}
found["label"] = [each.decode() for each in result.as_numpy("label")]
text = http.InferInput("text", [1], "BYTES")
text.set_data_from_numpy(np.asarray(["Az"], object))
found["text"] = client.infer(model, [text]).as_numpy("logits").tolist()
try:
    client.infer("other", [tensor])
except http.InferenceServerException as error:
    found["error"] = error.message()
client.close()
print(json.dumps(found))
"""


@pytest.fixture(scope="module")
def address():
    with running(endpoint([SleepingDevice()], tokenize=tokenize)) as address:
        yield address


def test_the_client_generated_from_the_protocols_own_specification(address):
    openapi = pytest.importorskip("open_inference.openapi.client", reason="needs open-inference-openapi")
    types = pytest.importorskip("open_inference.openapi.types")
    httpx = pytest.importorskip("httpx")
    with httpx.Client() as connections:
        client = openapi.OpenInferenceClient(base_url=f"http://127.0.0.1:{address.port}", httpx_client=connections)
        speak(client, types)


def speak(client, types):
    client.check_server_liveness()
    client.check_server_readiness()
    client.check_model_readiness(MODEL)
    assert client.read_server_metadata().name == "cohort"
    model = client.read_model_metadata(MODEL)
    assert (model.name, model.versions) == (MODEL, ["1"])
    assert [each.name for each in model.inputs] == [
        "input_ids",
        "attention_mask",
        "token_type_ids",
        "text",
        "text_pair",
    ]
    tensor = types.RequestInput(name="input_ids", shape=[1, 3], datatype="INT64", data=[7, 8, 9])
    reply = client.model_infer(MODEL, request=types.InferenceRequest(id="a", inputs=[tensor]))
    assert (reply.id, reply.model_name, reply.outputs[0].name) == ("a", MODEL, "logits")
    assert reply.outputs[0].data.__root__ == [7.0, 2.0]
    assert reply.parameters["students_used"] == 2


def test_tritons_client_with_json_and_binary_tensors(address):
    pytest.importorskip("tritonclient", reason="needs tritonclient[http]")
    command = [sys.executable, "-c", TRITON, f"127.0.0.1:{address.port}", MODEL]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert ran.returncode == 0, ran.stderr
    found = json.loads(ran.stdout)
    assert (found["live"], found["ready"]) == (True, True)
    assert found["logits"] == [[[7.0, 2.0]]] * 4
    assert found["rows"]["logits"] == [[7.0, 2.0], [6.0, 2.0]]
    assert np.sum(found["rows"]["probabilities"], axis=1) == pytest.approx([1.0, 1.0])
    assert found["label"] == ["bad", "bad"]
    assert found["text"] == [[[65.0, 2.0]]][0]
    assert found["parameters"]["batch_size"] == 1
    assert MODEL in found["error"]


def even(count, gap_s, tokens=5):
    return Trace(np.arange(count) * gap_s, np.full(count, tokens, np.int32))


def test_open_loop_latency_counts_from_the_scheduled_time():
    """Ten requests within 10 ms, on a device that takes 50 ms for each: the last one is charged all that it waited."""
    with running(endpoint([SleepingDevice(0.05)], "none")) as address:
        sent = send(f"http://127.0.0.1:{address.port}", even(10, 0.001), MODEL, vocab=1000, connections=2)
    assert (sent.status == 200).all()
    assert (np.diff(sent.latency_s) > 0).sum() >= 8
    assert 0.45 < sent.latency_s.max() < 5
    assert sent.late_s.max() > 0.3  # two connections only: most were sent late, and that is recorded


def test_what_is_refused_is_counted_with_its_words():
    with running(endpoint([SleepingDevice(0.05)], "none", most=2)) as address:
        sent = send(f"http://127.0.0.1:{address.port}", even(20, 0.001), MODEL, vocab=1000)
    summary = sent.summary(slo_s=1.0)
    assert summary["status"]["200"] + summary["status"]["503"] == 20
    assert "waiting already" in next(iter(summary["errors"]))
    assert summary["attainment"] == summary["status"]["200"] / 20
    assert summary["attainment_of_accepted"] == 1.0


def test_texts_targets_and_priorities_of_a_trace_are_sent():
    text = np.asarray(["a b", "c"], object)
    trace = Trace(
        np.asarray([0.0, 1.0]), np.asarray([3, 3], np.int32), klass=np.asarray(["1", "gold"], object),
        slo_s=np.asarray([0.5, np.nan]), text=text,
    )  # fmt: skip
    first, second = (json.loads(each.partition(b"\r\n\r\n")[2]) for each in requests(trace, MODEL, 1000, 0))
    assert first["inputs"][0]["data"] == ["a b"]
    assert first["parameters"] == {"slo_ms": 500.0, "priority": 1}
    assert second["parameters"] == {}


def test_an_address_without_a_server_is_an_error_in_one_line(capsys):
    assert main(["--url", "http://127.0.0.1:1", "--model", MODEL, "--trace", "constant:rate=5,duration=1"]) == 2
    assert "127.0.0.1:1" in capsys.readouterr().err
    with pytest.raises(ValueError, match="must be http"):
        Sender("ftp://x", [], np.zeros(1), 1)


def test_texts_of_one_parent_are_sent_as_one_request():
    trace = Trace(
        np.asarray([0.0, 0.0, 0.0, 0.1]), np.asarray([2, 3, 1, 2], np.int32),
        parent=np.asarray(["a", "", "a", ""], object),
    )  # fmt: skip
    first, *others = (json.loads(each.partition(b"\r\n\r\n")[2])["inputs"] for each in requests(trace, MODEL, 1000, 0))
    assert first[0]["shape"] == [2, 2]
    assert first[1]["data"] == [1, 1, 1, 0]
    assert [each[0]["shape"] for each in others] == [[1, 3], [1, 2]]
    with running(endpoint([SleepingDevice()])) as address:
        sent = send(f"http://127.0.0.1:{address.port}", trace, MODEL, vocab=1000)
    assert sent.status.tolist() == [200] * 3
    assert sent.due_s.tolist() == [0.0, 0.0, 0.1]
