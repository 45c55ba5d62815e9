"""What Triton's tools read of a server, read of ours: statistics by batch size, configuration, index, packed bodies."""

from __future__ import annotations

import gzip
import json
import zlib

import pytest

pytest.importorskip("starlette")
pytest.importorskip("httptools")
pytest.importorskip("prometheus_client")

from serving_doubles import MODEL, SleepingDevice, body, call, endpoint, get, running, tokenize

from profiler.servers.client import HttpClient
from profiler.servers.counters import read_counters
from profiler.servers.offer import look_at_server


@pytest.fixture(scope="module")
def address():
    with running(endpoint([SleepingDevice(0.002)], tokenize=tokenize)) as address:
        yield address


def test_batches_are_counted_by_size_with_their_time(address):
    with HttpClient(f"http://127.0.0.1:{address.port}") as client:
        offer = look_at_server(client, MODEL)
        assert (offer.counters, offer.most_texts) == (True, 8)
        before = read_counters(client, MODEL)
        three = {"name": "input_ids", "datatype": "INT64", "shape": [3, 2], "data": [1, 2, 3, 4, 5, 6]}
        for content in (body(), {"inputs": [three]}, {"inputs": [three]}):
            assert call(address, content=content)[0] == 200
        since = read_counters(client, MODEL).since(before)
    assert since.ran == {1: 1, 3: 2}  # texts of one request are one batch where the device is idle
    assert since.queued == 7
    assert 0.002 <= since.compute_s[1] < since.compute_s[3] + 1.0


def test_configuration_and_index(address):
    config = get(address, f"/v2/models/{MODEL}/config")[2]
    assert (config["name"], config["max_batch_size"]) == (MODEL, 8)
    kinds = {each["name"]: (each["data_type"], each["dims"]) for each in config["input"]}
    assert kinds["input_ids"] == ("TYPE_INT64", [-1])
    assert kinds["text"] == ("TYPE_STRING", [1])
    listed = call(address, path="/v2/repository/index", content={})[2]
    assert listed == [{"name": MODEL, "version": "1", "state": "READY"}]


def test_packed_bodies_are_unpacked_within_the_limit(address):
    content = json.dumps(body((7, 8, 9))).encode()
    for encoding, packed in (("gzip", gzip.compress(content)), ("deflate", zlib.compress(content))):
        status, _, reply = call(address, content=packed, headers={"content-encoding": encoding})
        assert (status, reply["outputs"][0]["data"][0]) == (200, 7.0)
    bomb = gzip.compress(b" " * (1 << 22))
    assert call(address, content=bomb, headers={"content-encoding": "gzip"})[0] == 413
    assert call(address, content=b"no", headers={"content-encoding": "gzip"})[0] == 400
    assert call(address, content=content, headers={"content-encoding": "br"})[0] == 415
