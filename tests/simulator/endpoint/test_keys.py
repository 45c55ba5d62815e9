"""API keys: who may ask, and what a file of keys may hold."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("starlette")
pytest.importorskip("httptools")
pytest.importorskip("prometheus_client")

from serving_doubles import MODEL, SleepingDevice, body, call, endpoint, running

from simulator.endpoint.keys import read_keys
from simulator.endpoint.load import send
from traces import Trace


@pytest.fixture(scope="module")
def address():
    with running(endpoint([SleepingDevice()], keys=(b"first-key", b"second-key"))) as address:
        yield address


@pytest.mark.parametrize(
    "headers",
    [
        {"Authorization": "Bearer first-key"},
        {"authorization": "bearer  second-key"},
        {"X-API-Key": "second-key"},
        {"Authorization": "Basic x", "x-api-key": "first-key"},
    ],
)
def test_a_request_with_a_key_is_answered(address, headers):
    assert call(address, content=body(), headers=headers)[0] == 200


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Authorization": "Bearer"},
        {"Authorization": "Bearer first-ke"},
        {"Authorization": "first-key"},
        {"Authorization": "Bearer first-key, second-key"},
        {"X-API-Key": "first-key\u00e9".encode("latin-1")},
        {"Cookie": "first-key"},
    ],
)
def test_a_request_without_one_is_a_401_wherever_it_goes(address, headers):
    status, found, reply = call(address, content=body(), headers=headers)
    assert (status, found["www-authenticate"], list(reply)) == (401, "Bearer", ["error"])
    for path in ("/metrics", "/v2", f"/v2/models/{MODEL}", f"/v2/models/{MODEL}/ready", "/nothing", "/v2/health/live/"):
        assert call(address, "GET", path, headers=headers)[0] == 401


def test_probes_need_none(address):
    for path in ("/v2/health/live", "/v2/health/ready"):
        assert call(address, "GET", path)[0] == 200


def test_the_load_client_has_one(address):
    trace, url = Trace(np.zeros(2), np.full(2, 5, np.int32)), f"http://127.0.0.1:{address.port}"
    assert send(url, trace, MODEL, vocab=1000, key="second-key").status.tolist() == [200, 200]
    assert send(url, trace, MODEL, vocab=1000).status.tolist() == [401, 401]


def test_a_file_has_a_key_a_line(tmp_path):
    path = tmp_path / "keys"
    path.write_bytes(b"one\n\n two \r\none\n")
    assert read_keys(path) == (b"one", b"two")
    for content in (b"", b"\n \n", b"a b\n", "clé".encode(), b"a\0b"):
        path.write_bytes(content)
        with pytest.raises(ValueError, match="keys"):
            read_keys(path)
