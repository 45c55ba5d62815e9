"""The endpoint over HTTP: answers, refusals, deadlines, crashes and the end, on a device that sleeps."""

from __future__ import annotations

import concurrent.futures
import json
import threading
import time

import numpy as np
import pytest

pytest.importorskip("starlette")
pytest.importorskip("httptools")
pytest.importorskip("prometheus_client")

from serving_doubles import CLASSES, MODEL, GatedDevice, SleepingDevice, body, call, endpoint, get, running, tokenize

INFER = f"/v2/models/{MODEL}/infer"


@pytest.fixture(scope="module")
def address():
    with running(endpoint([SleepingDevice()], tokenize=tokenize, body=4096)) as address:
        yield address


def at_once(address, count, content):
    with concurrent.futures.ThreadPoolExecutor(count) as pool:
        return [each.result() for each in [pool.submit(call, address, content=content) for _ in range(count)]]


def test_health_and_metadata(address):
    assert get(address, "/v2")[2]["extensions"] == ["binary_tensor_data"]
    assert get(address, "/v2/health/live")[0] == 200
    assert get(address, "/v2/health/ready")[0] == 200
    for path in (f"/v2/models/{MODEL}", f"/v2/models/{MODEL}/versions/1"):
        status, _, model = get(address, path)
        assert (status, model["name"], model["versions"]) == (200, MODEL, ["1"])
        assert model["parameters"] == {"policy": "greedy"}
        assert model["outputs"][0] == {"name": "logits", "datatype": "FP32", "shape": [-1, CLASSES]}
        assert [each["name"] for each in model["outputs"][1:]] == ["probabilities", "label", "students_used"]
        assert get(address, f"{path}/ready")[0] == 200


def test_an_answer_has_the_logits_and_how_it_was_made(address):
    status, _, answer = call(address, content={"id": "seven", **body((7, 8, 9))})
    assert status == 200
    assert (answer["model_name"], answer["model_version"], answer["id"]) == (MODEL, "1", "seven")
    assert answer["outputs"][0]["data"] == [7.0, 2.0]  # the double's: first token, students
    assert answer["parameters"]["students_used"] == 2
    assert answer["parameters"]["batch_size"] == 1
    assert 0 <= answer["parameters"]["queue_us"] < 1e6


def test_padding_that_is_masked_is_cut_off(address):
    content = body((7, 8, 0, 0))
    content["inputs"].append({"name": "attention_mask", "datatype": "INT64", "shape": [4], "data": [1, 1, 0, 0]})
    assert call(address, content=content)[2]["outputs"][0]["data"][0] == 7.0
    content["inputs"][1]["data"] = [1, 0, 1, 0]
    assert call(address, content=content)[0] == 400


def test_texts_go_through_the_tokenizer(address):
    content = {"inputs": [{"name": "text", "datatype": "BYTES", "shape": [1], "data": ["Ah"]}]}
    assert call(address, content=content)[2]["outputs"][0]["data"][0] == ord("A")
    content["inputs"][0]["data"] = [""]
    assert call(address, content=content)[0] == 400


def test_tensors_may_be_binary_both_ways(address):
    ids = np.asarray([5, 6], "<i8").tobytes()
    tensor = {"name": "input_ids", "datatype": "INT64", "shape": [1, 2], "parameters": {"binary_data_size": len(ids)}}
    header = json.dumps({"inputs": [tensor], "parameters": {"binary_data_output": True}}).encode()
    length = {"Inference-Header-Content-Length": str(len(header))}
    status, headers, answer = call(address, content=header + ids, headers=length)
    assert status == 200
    cut = int(headers["inference-header-content-length"])
    assert json.loads(answer[:cut])["outputs"][0]["parameters"]["binary_data_size"] == 8
    assert np.frombuffer(answer[cut:], "<f4").tolist() == [5.0, 2.0]


@pytest.mark.parametrize(
    ("content", "word"),
    [
        (b"", "not JSON"),
        (b"[1]", "JSON object"),
        (b"[" * 4000, "not JSON"),
        (b'{"inputs": []}', "at least one tensor"),
        (body(()), "0 tokens"),
        (body((1,) * 17), "17 tokens"),
        (body((1000,)), "0 to 999"),
        (body((-1,)), "0 to 999"),
        (body((True,)), "whole numbers"),
        (body((1.5,)), "whole numbers"),
        (body(slo_ms=0), "slo_ms"),
        (body(slo_ms=float("nan")), "slo_ms"),
        (body(slo_ms="1"), "slo_ms"),
        (body(priority=10), "priority"),
        ({"id": 3, **body()}, "id must be"),
        ({**body(), "outputs": [{"name": "labels"}]}, "logits, probabilities"),
        ({"inputs": [{"name": "pixels"}]}, "input_ids"),
        ({"inputs": [{"name": "input_ids", "datatype": "FP32", "shape": [1], "data": [1]}]}, "INT64"),
        ({"inputs": [{"name": "input_ids", "datatype": "INT64", "shape": [9, 1], "data": [1] * 9}]}, "9 texts"),
        ({"inputs": [{"name": "input_ids", "datatype": "INT64", "shape": [0, 1], "data": []}]}, "0 texts"),
        ({"inputs": [{"name": "input_ids", "datatype": "INT64", "shape": [1, 3], "data": [1, 2]}]}, "3 numbers"),
        ({"inputs": [{"name": "text", "datatype": "BYTES", "shape": [1], "data": ["\ud800"]}]}, "surrogate"),
    ],
)
def test_bad_input_is_a_400_that_names_the_mistake(address, content, word):
    status, _, found = call(address, content=content)
    assert status == 400
    assert word in found["error"]


def test_what_is_not_there_or_too_much_is_an_error_of_the_protocol(address):
    assert call(address, path="/v2/models/other/infer", content=body())[0] == 404
    assert call(address, path=f"/v2/models/{MODEL}/versions/2/infer", content=body())[0] == 404
    assert get(address, "/nothing")[2] == {"error": "Not Found"}
    assert get(address, INFER)[0] == 405
    assert call(address, content=b"x" * 5000)[0] == 413
    assert call(address, content=b"x", headers={"Content-Encoding": "br"})[0] == 415


def test_metrics_count_what_was_answered(address):
    call(address, content=body())
    lines = dict(
        line.rsplit(" ", 1) for line in get(address, "/metrics")[2].decode().splitlines() if not line.startswith("#")
    )
    label = f'{{model="{MODEL}",version="1"}}'
    answered = float(lines["nv_inference_request_success" + label])
    assert answered >= 1
    assert (
        float(lines['cohort_requests_total{klass="",outcome="ok"}'])
        + float(lines['cohort_requests_total{klass="",outcome="late"}'])
        == answered
    )
    assert float(lines["cohort_request_duration_seconds_count"]) == answered
    assert float(lines["cohort_queue_length"]) == 0


def test_requests_that_come_while_a_batch_runs_are_answered_together():
    device = SleepingDevice(0.05)
    with running(endpoint([device])) as address:
        found = at_once(address, 9, body())
    assert {status for status, _, _ in found} == {200}
    assert max(device.sizes) > 1
    assert sum(device.sizes) == 9
    assert max(answer["parameters"]["batch_size"] for _, _, answer in found) == max(device.sizes)


def test_several_devices_work_at_once():
    with running(endpoint([SleepingDevice(0.2), SleepingDevice(0.2)], "none")) as address:
        began = time.monotonic()
        assert [status for status, _, _ in at_once(address, 2, body())] == [200, 200]
        assert time.monotonic() - began < 0.39


def test_a_full_queue_is_a_503_with_retry_after_at_once():
    with running(endpoint([SleepingDevice(0.2)], "none", most=2)) as address:
        found = at_once(address, 6, body())
    assert sorted(status for status, _, _ in found) == [200, 200, 503, 503, 503, 503]
    refused = next(each for each in found if each[0] == 503)
    assert refused[1]["retry-after"] == "1"
    assert "waiting already" in refused[2]["error"]


def test_what_the_policy_rejects_is_a_503_and_what_it_drops_a_504():
    with running(endpoint([SleepingDevice(0.2)], "admission(none, max_waiting=1)", slo_s=10.0)) as address:
        found = at_once(address, 5, body())
        assert {status for status, _, _ in found} == {200, 503}
        assert all(headers["retry-after"] for status, headers, _ in found if status == 503)
    with running(endpoint([SleepingDevice(0.2)], "admission(none)", slo_s=0.05)) as address:
        found = at_once(address, 3, body())
        assert {status for status, _, _ in found} == {200, 504}
        # A request's own target lets it wait for longer.
        assert {status for status, _, _ in at_once(address, 3, body(slo_ms=5000))} == {200}


def test_an_answer_that_takes_too_long_is_a_504():
    with running(endpoint([SleepingDevice(0.3)], within_s=0.05)) as address:
        status, _, found = call(address, content=body())
        assert status == 504
        assert "0.05 s" in found["error"]


def test_priorities_are_the_classes_of_a_policy():
    device = GatedDevice()
    served = endpoint([device], "strict(none, classes=('0', '1'))")
    with running(served) as address, concurrent.futures.ThreadPoolExecutor(4) as pool:
        asked = []
        for number, priority in enumerate((1, 1, 1, 0), 1):
            asked.append(pool.submit(call, address, content=body((number,), priority=priority)))
            while served.service.pending < number and not asked[-1].done():
                time.sleep(0.002)
        device.gate.set()
        assert [each.result()[0] for each in asked] == [200] * 4
    assert device.ran == [1, 4, 2, 3]


@pytest.mark.parametrize("gpus", [1, 2])
def test_a_crash_of_the_executor_is_a_500_for_all_inside_and_red_health(gpus, caplog):
    devices = [SleepingDevice(0.1) for _ in range(gpus)]
    with running(endpoint(devices, "none")) as address:
        with concurrent.futures.ThreadPoolExecutor(6) as pool:
            first = [pool.submit(call, address, content=body()) for _ in range(6)]
            time.sleep(0.05)
            for device in devices:
                device.fail = RuntimeError("device lost: /secret/path")
            statuses = {each.result()[0] for each in first}
        assert 500 in statuses
        assert statuses <= {200, 500}
        status, _, found = call(address, content=body())
        assert status == 500
        assert "secret" not in found["error"]
        assert get(address, "/v2/health/live")[0] == 503
        assert get(address, "/v2/health/ready")[0] == 503
    assert "device lost" in caplog.text  # in the log, with its traceback


def test_at_the_end_all_requests_inside_are_answered():
    with running(endpoint([SleepingDevice(0.1)], "none")) as address, concurrent.futures.ThreadPoolExecutor(4) as pool:
        inside = [pool.submit(call, address, content=body()) for _ in range(4)]
        time.sleep(0.05)
        address.stop()
        assert [each.result()[0] for each in inside] == [200] * 4


def test_a_batch_that_does_not_end_turns_health_red_and_does_not_keep_the_server_from_ending():
    class Stuck(SleepingDevice):
        freed = threading.Event()

        def run(self, students, ids):
            self.freed.wait(20)
            return super().run(students, ids)

    began = time.monotonic()
    try:
        with running(endpoint([Stuck()], patience_s=0.2, within_s=0.3), drain_s=1) as address:
            assert call(address, content=body())[0] == 504
            assert get(address, "/v2/health/live")[0] == 503
            status, headers, _ = call(address, content=body())
            assert (status, headers["retry-after"]) == (503, "1")
        assert time.monotonic() - began < 10
    finally:
        Stuck.freed.set()


def test_health_is_green_again_when_a_long_batch_has_ended():
    with running(endpoint([SleepingDevice(0.4)], patience_s=0.1)) as address:
        with concurrent.futures.ThreadPoolExecutor(1) as pool:
            asked = pool.submit(call, address, content=body())
            time.sleep(0.25)
            assert get(address, "/v2/health/live")[0] == 503
            assert asked.result()[0] == 200
        assert get(address, "/v2/health/live")[0] == 200
