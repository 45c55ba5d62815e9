"""Requests of many texts, whole and in part, and the thin routes for clients of OpenAI's embeddings and of TEI."""

from __future__ import annotations

import base64
import math
from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("starlette")
pytest.importorskip("httptools")
pytest.importorskip("prometheus_client")

from serving_doubles import LABELS, MODEL, SleepingDevice, call, endpoint, running, tokenize

from profiler.executors.interface import BatchResult
from simulator.endpoint.protocol import offered


class Scoring(SleepingDevice):
    """One output: so many tokens as the text has."""

    def run(self, students, ids):
        found = super().run(students, ids)
        return BatchResult(np.asarray([[len(row)] for row in ids], np.float32), None, found.seconds, 0.0, 0.0)


def serving(device, gives="logits", policy="greedy", width=2, **limits):
    subject = endpoint([device], policy, tokenize=tokenize, **limits)
    labels = LABELS if gives == "logits" and width > 1 else ()
    its = replace(subject.limits, texts=1000, gives=gives, width=width, outputs=offered(labels))
    return running(replace(subject, limits=its, labels=labels))


@pytest.fixture(scope="module")
def address():
    with serving(SleepingDevice(), most=1000) as address:
        yield address


def post(address, path, **content):
    return call(address, path=path, content=content)


def many(count, **parameters):
    ids = [number % 256 for number in range(count)]
    tensor = {"name": "input_ids", "datatype": "INT64", "shape": [count, 1], "data": ids}
    return {"inputs": [tensor], "parameters": parameters}


def test_a_request_of_a_thousand_texts_is_answered_in_their_order(address):
    status, _, reply = call(address, content=many(1000))
    assert status == 200
    assert reply["outputs"][0]["shape"] == [1000, 2]
    assert reply["outputs"][0]["data"][::2] == [number % 256 for number in range(1000)]
    assert reply["parameters"]["batch_size"] == 8


def test_predict_answers_as_tei_does(address):
    status, headers, one = post(address, "/predict", inputs="Ah")
    assert status == 200
    assert [each["label"] for each in one] == ["bad", "good"]  # the double's logits: first letter, students
    assert sum(each["score"] for each in one) == pytest.approx(1)
    assert post(address, "/predict", inputs=[["Ah"], ["a", "b"]])[2][0] == one
    pair = post(address, "/predict", inputs=["a", "b"], raw_scores=True)[2]
    assert {each["label"]: each["score"] for each in pair} == {"bad": ord("a"), "good": 2.0}
    for name in ("x-total-time", "x-ingress-time", "x-tokenization-time", "x-queue-time", "x-inference-time"):
        assert 0 <= float(headers[name]) < 5000  # milliseconds


def test_rerank_sorts_by_score_and_says_which_text_it_was():
    with serving(Scoring(), width=1) as address:
        asked = {"query": "q", "texts": ["aaa", "a", "aa"]}
        status, _, found = post(address, "/rerank", **asked, return_text=True)
        assert status == 200
        assert [(each["index"], each["text"]) for each in found] == [(0, "aaa"), (2, "aa"), (1, "a")]
        assert found[0]["score"] == pytest.approx(1 / (1 + math.exp(-4)))  # query and text have four letters
        assert post(address, "/rerank", **asked, raw_scores=True)[2][0] == {"index": 0, "score": 4.0}


def test_embeddings_as_openais_client_reads_them():
    with serving(SleepingDevice(), gives="embeddings") as address:
        status, _, found = post(address, "/v1/embeddings", model=MODEL, input=["Az", "b"])
        assert status == 200
        assert [each["embedding"] for each in found["data"]] == [[65.0, 2.0], [98.0, 2.0]]
        assert found["usage"] == {"prompt_tokens": 3, "total_tokens": 3}
        packed = post(address, "/v1/embeddings", model=MODEL, input="Az", encoding_format="base64")[2]
        assert np.frombuffer(base64.b64decode(packed["data"][0]["embedding"]), "<f4").tolist() == [65.0, 2.0]
        by_ids = post(address, "/v1/embeddings", input=[[7, 8], [9]])[2]
        assert [each["embedding"][0] for each in by_ids["data"]] == [7.0, 9.0]
        assert post(address, "/v1/embeddings", model="other", input="a")[0] == 404


@pytest.mark.parametrize(
    ("path", "content", "word"),
    [
        ("/v1/embeddings", {"input": "a"}, "no embeddings"),
        ("/rerank", {"query": "q", "texts": ["a"]}, "one output"),
        ("/predict", {"inputs": ["a", "b", "c"]}, "pair"),
        ("/predict", {"inputs": [[]]}, "inputs must be text"),
        ("/predict", {"inputs": [["a", 3]]}, "inputs must be text"),
        ("/predict", {"inputs": "\ud800"}, "surrogate"),
        ("/predict", {"inputs": "a", "raw_scores": 1}, "raw_scores"),
        ("/predict", {"inputs": "a", "parameters": {"slo_ms": 0}}, "slo_ms"),
        ("/predict", {"inputs": "a", "parameters": {"partial": 1}}, "partial"),
        ("/predict", {"inputs": [["a"]] * 1001}, "1001 texts"),
    ],
)
def test_what_a_route_cannot_answer_is_refused_by_name(address, path, content, word):
    status, _, reply = post(address, path, **content)
    assert status == 400
    assert word in reply["error"]


def test_texts_that_were_dropped_are_named_and_the_others_answered_where_a_part_is_enough():
    with serving(SleepingDevice(), policy="serving_doubles:DropsOdd", most=100) as address:
        status, _, reply = call(address, content=many(6))
        assert status == 504
        assert "3 of 6 texts have no answer (numbers 1, 3, 5" in reply["error"]
        status, _, reply = call(address, content=many(6, partial=True))
        assert status == 200
        assert reply["outputs"][0]["data"][::2] == [0.0, 2.0, 4.0]
        assert reply["parameters"]["unanswered"] == "1,3,5"
        status, _, reply = post(address, "/predict", inputs=[["a"], ["b"]], parameters={"partial": True})
        assert status == 200
        assert [each is None for each in reply] == [False, True]
