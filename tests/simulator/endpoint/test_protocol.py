"""What a request may hold: types of numbers, masks, pairs, several texts; and the outputs that it may ask for."""

from __future__ import annotations

import json

import numpy as np
import pytest

pytest.importorskip("starlette")
pytest.importorskip("httptools")
pytest.importorskip("prometheus_client")

from serving_doubles import LABELS, MODEL, VOCAB, SleepingDevice, call, endpoint, get, running, tokenize


class Noting(SleepingDevice):
    """Notes the ids that it was given."""

    def __init__(self):
        super().__init__(0.0)
        self.given = []

    def run(self, students, ids):
        self.given += [row.tolist() for row in ids]
        return super().run(students, ids)


device = Noting()


@pytest.fixture(scope="module")
def address():
    with running(endpoint([device], tokenize=tokenize)) as address:
        yield address


@pytest.fixture(autouse=True)
def nothing_given():
    device.given.clear()


def tensor(name, data, datatype="INT64", shape=None):
    shape = list(np.shape(data)) if shape is None else shape
    return {"name": name, "datatype": datatype, "shape": shape, "data": data}


def ask(address, *inputs, **more):
    return call(address, content={"inputs": list(inputs), **more})


def ask_binary(address, arrays, **more):
    """Numpy arrays by name, as binary tensors; [(output, array)] of a binary reply."""
    names = {"int64": "INT64", "int32": "INT32", "bool": "BOOL", "uint8": "UINT8"}
    inputs, tail = [], b""
    for name, array in arrays.items():
        size = {"binary_data_size": array.nbytes}
        about = {"name": name, "datatype": names[str(array.dtype)], "shape": list(array.shape), "parameters": size}
        inputs.append(about)
        tail += array.tobytes()
    header = json.dumps({"inputs": inputs, **more}).encode()
    return call(address, content=header + tail, headers={"Inference-Header-Content-Length": str(len(header))})


@pytest.mark.parametrize("datatype", ["INT64", "INT32", "INT16", "UINT32"])
def test_ids_may_be_of_every_whole_type(address, datatype):
    assert ask(address, tensor("input_ids", [[7, 8, 9]], datatype))[0] == 200
    assert device.given == [[7, 8, 9]]


@pytest.mark.parametrize("dtype", [np.int64, np.int32, bool, np.uint8])
def test_masks_may_be_of_every_whole_type_and_of_bool_in_json_and_binary(address, dtype):
    mask = np.asarray([[1, 1, 0]]).astype(dtype)
    ids = np.asarray([[7, 8, 9]], np.int32)
    assert ask_binary(address, {"input_ids": ids, "attention_mask": mask})[0] == 200
    name = {"int64": "INT64", "int32": "INT32", "bool": "BOOL", "uint8": "UINT8"}[str(mask.dtype)]
    assert ask(address, tensor("input_ids", [[7, 8, 9]]), tensor("attention_mask", mask.tolist(), name))[0] == 200
    assert device.given == [[7, 8], [7, 8]]


@pytest.mark.parametrize(
    ("mask", "given"),
    [([1, 1, 1, 1], [5, 6, 7, 8]), ([1, 1, 0, 0], [5, 6]), ([0, 0, 1, 1], [7, 8]), ([0, 1, 1, 0], [6, 7])],
)
def test_padding_is_cut_off_on_both_sides(address, mask, given):
    assert ask(address, tensor("input_ids", [5, 6, 7, 8]), tensor("attention_mask", mask))[0] == 200
    assert device.given == [given]


@pytest.mark.parametrize("mask", [[0, 0, 0, 0], [1, 0, 1, 1], [2, 1, 1, 1], [-1, 1, 1, 1], [1, 1, 1]])
def test_a_mask_that_is_none_is_refused(address, mask):
    assert ask(address, tensor("input_ids", [5, 6, 7, 8]), tensor("attention_mask", mask))[0] == 400


def test_token_types_go_to_the_device_with_their_ids(address):
    ids, types = [[5, 6, 7, 8]], [[0, 0, 1, 1]]
    assert ask(address, tensor("input_ids", ids), tensor("token_type_ids", types, "INT32"))[0] == 200
    assert ask(address, tensor("input_ids", ids), tensor("token_type_ids", [[0, 0, 0, 0]]))[0] == 200
    mask = tensor("attention_mask", [[0, 1, 1, 1]])
    assert ask(address, tensor("input_ids", ids), mask, tensor("token_type_ids", [[9, 0, 1, 1]]))[0] == 200
    assert device.given == [[5, 6, 7 + VOCAB, 8 + VOCAB], [5, 6, 7, 8], [6, 7 + VOCAB, 8 + VOCAB]]
    for types in ([0, 0, 2, 0], [0, -1, 0, 0], [0, 0, 1]):
        assert ask(address, tensor("input_ids", ids), tensor("token_type_ids", types))[0] == 400


def test_a_pair_of_texts_has_two_types_and_is_one_request(address):
    pair = tensor("text", ["ab"], "BYTES"), tensor("text_pair", ["c"], "BYTES")
    status, _, reply = ask(address, *pair)
    assert status == 200
    assert reply["outputs"][0]["shape"] == [1, 2]
    assert device.given == [[ord("a"), ord("b"), ord("c") + VOCAB]]
    assert ask(address, pair[1])[0] == 400
    assert ask(address, pair[0], tensor("text_pair", ["c", "d"], "BYTES"))[0] == 400
    assert ask(address, *pair, tensor("input_ids", [[1]]))[0] == 400


def test_several_texts_are_several_requests_with_one_reply_in_their_order(address):
    before = float(metric(address, "nv_inference_count"))
    ids = [[11, 1, 1], [12, 1, 0], [13, 1, 1]]
    mask = [[1, 1, 1], [1, 1, 0], [0, 1, 1]]
    status, _, reply = ask(address, tensor("input_ids", ids), tensor("attention_mask", mask))
    assert status == 200
    assert reply["outputs"][0]["shape"] == [3, 2]
    assert reply["outputs"][0]["data"][::2] == [11.0, 12.0, 1.0]
    assert sorted(map(len, device.given)) == [2, 2, 3]
    assert float(metric(address, "nv_inference_count")) == before + 3
    reply = ask(address, tensor("text", ["a", "b", "c"], "BYTES"), tensor("text_pair", ["x", "y", "z"], "BYTES"))[2]
    assert reply["outputs"][0]["data"][::2] == [97.0, 98.0, 99.0]
    flat = tensor("input_ids", [21, 1, 22, 1], shape=[2, 2])
    assert ask(address, flat)[2]["outputs"][0]["data"][::2] == [21.0, 22.0]


def test_data_that_do_not_have_the_nesting_of_their_shape_are_refused(address):
    for data in ([[1, 2, 3], [4]], [[1, 2], 3, 4], [[[1], [2]], [[3], [4]]], [[1, 2]], {}):
        assert ask(address, tensor("input_ids", data, shape=[2, 2]))[0] == 400


def test_all_texts_of_a_request_are_refused_or_none():
    with running(endpoint([SleepingDevice(0.3)], "none", most=3)) as address:
        import concurrent.futures

        with concurrent.futures.ThreadPoolExecutor(2) as pool:
            first = pool.submit(ask, address, tensor("input_ids", [[1], [2]]))
            second = pool.submit(ask, address, tensor("input_ids", [[3], [4]]))
            assert sorted([first.result()[0], second.result()[0]]) == [200, 503]
        assert metric(address, 'cohort_requests_total{klass="",outcome="refused"}') == "2.0"
        assert ask(address, tensor("input_ids", [[1]] * 4))[0] == 400  # more than ever fit


def test_one_text_that_fails_makes_the_reply_one_error():
    with running(endpoint([SleepingDevice(0.1)], "none", within_s=0.25)) as address:
        status, _, reply = ask(address, tensor("input_ids", [[1], [2], [3], [4]]))
        assert status == 504
        assert list(reply) == ["error"]
        counts = {
            outcome: float(metric(address, f'cohort_requests_total{{klass="",outcome="{outcome}"}}'))
            for outcome in ("ok", "late", "dropped")
        }
        assert sum(counts.values()) == 4
        assert counts["dropped"] >= 1


def test_probabilities_and_names_of_classes_are_outputs_that_one_may_ask_for(address):
    wanted = ["label", "probabilities", "students_used", "logits"]
    outputs = [{"name": name} for name in wanted]
    status, _, reply = ask(address, tensor("input_ids", [[1, 1], [3, 1]]), outputs=outputs)
    assert status == 200
    found = {each["name"]: each for each in reply["outputs"]}
    assert list(found) == wanted
    assert found["label"] == {"name": "label", "datatype": "BYTES", "shape": [2], "data": [LABELS[1], LABELS[0]]}
    logits = np.asarray([[1.0, 2.0], [3.0, 2.0]])
    exact = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    assert found["probabilities"]["data"] == pytest.approx(exact.ravel().tolist(), abs=1e-6)
    assert found["students_used"] == {"name": "students_used", "datatype": "INT32", "shape": [2], "data": [2, 2]}


def test_outputs_may_be_binary_one_by_one(address):
    outputs = [
        {"name": "label", "parameters": {"binary_data": True}},
        {"name": "logits"},
        {"name": "probabilities", "parameters": {"binary_data": True}},
    ]
    status, headers, reply = ask(address, tensor("input_ids", [[1, 1], [3, 1]]), outputs=outputs)
    assert status == 200
    cut = int(headers["inference-header-content-length"])
    label, logits, probabilities = json.loads(reply[:cut])["outputs"]
    size = label["parameters"]["binary_data_size"]
    assert reply[cut : cut + size] == b"\x04\0\0\0good\x03\0\0\0bad"
    assert logits["data"] == [1.0, 2.0, 3.0, 2.0]
    assert probabilities["parameters"]["binary_data_size"] == 16
    assert np.frombuffer(reply[cut + size :], "<f4").reshape(2, 2).sum(axis=1) == pytest.approx([1, 1])


def test_a_text_that_is_cut_is_said_to_be_and_counted(address):
    before = float(metric(address, "cohort_truncated_texts_total"))
    assert "truncated" not in ask(address, tensor("text", ["a" * 16], "BYTES"))[2]["parameters"]
    reply = ask(address, tensor("text", ["a" * 16, "a" * 20, "a" * 18], "BYTES"))[2]
    assert (reply["parameters"]["truncated"], reply["parameters"]["text_tokens"]) == (True, 20)
    assert float(metric(address, "cohort_truncated_texts_total")) == before + 2


def test_a_text_that_is_too_long_is_refused_where_that_is_wanted():
    with running(endpoint([SleepingDevice()], tokenize=tokenize, cuts=False)) as address:
        assert ask(address, tensor("text", ["a" * 16], "BYTES"))[0] == 200
        status, _, reply = ask(address, tensor("text", ["a" * 17], "BYTES"))
        assert status == 400
        assert "17 tokens" in reply["error"]


def test_a_text_with_tokens_that_the_model_does_not_have_is_refused_alone(address):
    assert ask(address, tensor("text", ["a\u0fff"], "BYTES"))[0] == 400
    assert ask(address, tensor("text", ["a", "\u0fff"], "BYTES"))[0] == 400
    assert not device.given
    assert ask(address, tensor("text", ["a"], "BYTES"))[0] == 200


def test_binary_texts_are_read_one_after_another(address):
    for texts, status in ((["a", "", "bc"], 400), (["a", "bc"], 200)):
        tail = b"".join(len(text).to_bytes(4, "little") + text.encode() for text in texts)
        about = {"name": "text", "datatype": "BYTES", "shape": [len(texts)]}
        for size, expected in ((len(tail), status), (len(tail) - 1, 400)):
            header = json.dumps({"inputs": [about | {"parameters": {"binary_data_size": size}}]}).encode()
            length = {"Inference-Header-Content-Length": str(len(header))}
            assert call(address, content=header + tail[:size], headers=length)[0] == expected
    assert device.given == [[97], [98, 99]]


def metric(address, name):
    lines = get(address, "/metrics")[2].decode().splitlines()
    return next(line.rpartition(" ")[2] for line in lines if line.startswith(name))


def test_metadata_lists_what_may_be_given_and_asked_for(address):
    model = get(address, f"/v2/models/{MODEL}")[2]
    assert [each["name"] for each in model["inputs"]][2:] == ["token_type_ids", "text", "text_pair"]
    assert {each["name"]: each["shape"] for each in model["outputs"]} == {
        "logits": [-1, 2],
        "probabilities": [-1, 2],
        "label": [-1],
        "students_used": [-1],
    }
