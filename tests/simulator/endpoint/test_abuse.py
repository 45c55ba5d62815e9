"""What must not hurt the endpoint: nonsense, and connections that are slow, half open, cut, or too many."""

from __future__ import annotations

import http.client
import json
import re
import socket
import time

import pytest
from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st

pytest.importorskip("starlette")
pytest.importorskip("httptools")
pytest.importorskip("prometheus_client")

from serving_doubles import MODEL, SleepingDevice, body, call, endpoint, running, tokenize

from simulator.endpoint.connections import LARGEST_HEAD

#: What must never be in an answer: paths, tracebacks, names of exceptions.
LEAK = re.compile(rb"/work|/home|/usr|\.py|Traceback|Error\b|Exception|line \d")

scalars = st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats() | st.text(max_size=20)
anything = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)


def near(value):
    """The right thing most of the time, so that what is wrong is found behind it."""
    return st.one_of(st.just(value), st.just(value), st.just(value), anything)


tensors = st.fixed_dictionaries(
    {
        "name": st.sampled_from(["input_ids", "attention_mask", "token_type_ids", "text", "text_pair"]) | anything,
        "datatype": st.sampled_from(["INT64", "INT32", "BOOL", "BYTES", "FP32"]) | anything,
        "shape": st.lists(st.integers(-3, 20), max_size=3) | anything,
    },
    optional={
        "data": st.lists(st.integers(-5, 1100) | scalars, max_size=20) | anything,
        "parameters": st.dictionaries(
            st.sampled_from(["binary_data_size", "x"]), st.integers(-2, 40) | scalars, max_size=2
        )
        | anything,
    },
)
RIGHT = {"name": "input_ids", "datatype": "INT64", "shape": [1, 2], "data": [1, 2]}
messages = st.fixed_dictionaries(
    {"inputs": st.lists(near(RIGHT) | tensors, max_size=3) | anything},
    optional={
        "id": st.text(max_size=8) | anything,
        "parameters": st.dictionaries(
            st.sampled_from(["slo_ms", "priority", "binary_data_output", "x"]),
            st.integers(-3, 2000) | scalars,
            max_size=4,
        )
        | anything,
        "outputs": st.lists(
            st.fixed_dictionaries({"name": st.sampled_from(["logits", "probabilities", "label"]) | near("logits")}),
            max_size=2,
        )
        | anything,
    },
)
bodies = (
    messages.map(lambda message: json.dumps(message).encode())
    | anything.map(lambda message: json.dumps(message).encode())
    | st.binary(max_size=200)
)
headers = st.dictionaries(
    st.sampled_from(["Inference-Header-Content-Length", "Content-Type", "Content-Encoding", "Accept", "Expect"]),
    st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=12) | st.integers(-1, 300).map(str),
    max_size=2,
)
names = st.sampled_from([MODEL, MODEL, MODEL, "other"]) | st.text("abz%2/.-\\", max_size=10)
paths = names.map(lambda name: f"/v2/models/{name}/infer") | st.text("v2/models.%{}", max_size=20).map(
    lambda rest: f"/{rest}"
)
methods = st.sampled_from(["POST", "POST", "POST", "POST", "GET", "PUT", "DELETE", "OPTIONS", "HEAD"])


@pytest.fixture(scope="module")
def address():
    device = SleepingDevice(0.0)
    with running(endpoint([device], body=4096, slo_s=10.0, tokenize=tokenize)) as address:
        yield address


@seed(6)
@settings(max_examples=1000, deadline=None, database=None, suppress_health_check=list(HealthCheck))
@given(method=methods, path=paths, content=bodies, head=headers)
def test_a_thousand_fuzzed_requests_give_clean_answers(address, method, path, content, head):
    status, _, found = call(address, method, path, content, head)
    assert status == 200 or 400 <= status < 500
    text = found if isinstance(found, bytes) else json.dumps(found).encode()
    assert not LEAK.search(text), text
    if status != 200 and isinstance(found, dict):
        assert list(found) == ["error"]


@seed(7)
@settings(max_examples=100, deadline=None, database=None, suppress_health_check=list(HealthCheck))
@given(st.binary(min_size=1, max_size=300))
def test_bytes_that_are_not_http_end_their_connection_alone(address, sent):
    with socket.create_connection(("127.0.0.1", address.port), timeout=5) as connection:
        connection.sendall(sent + b"\r\n\r\n")
        connection.shutdown(socket.SHUT_WR)
        found = b""
        while piece := connection.recv(4096):
            found += piece
    assert not found or found.startswith((b"HTTP/1.1 4", b"HTTP/1.0 4")), found
    assert not LEAK.search(found)


def test_after_all_that_it_serves(address):
    assert call(address, content=body((3,)))[2]["outputs"][0]["data"][0] == 3.0


def request_bytes(length=None, content=None):
    content = json.dumps(body()).encode() if content is None else content
    length = len(content) if length is None else length
    return f"POST /v2/models/{MODEL}/infer HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\n\r\n".encode() + content


def ended(connection):
    """Whether the other side ends a connection."""
    try:
        while connection.recv(4096):
            pass
    except ConnectionResetError:
        return True
    except TimeoutError:
        return False
    return True


def status(connection):
    """Of the answer that comes in on a connection, which is read whole."""
    response = http.client.HTTPResponse(connection)
    response.begin()
    response.read()
    return response.status


def connected(address):
    return socket.create_connection(("127.0.0.1", address.port), timeout=5)


def test_slow_and_half_open_connections_are_cut_and_others_are_served_meanwhile():
    with running(endpoint([SleepingDevice()]), patience_s=0.6) as address:
        silent, half_head, half_body = (connected(address) for _ in range(3))
        half_head.sendall(b"POST /v2/models/x/infer HTTP/1.1\r\nHo")
        half_body.sendall(request_bytes(length=1000))
        began = time.monotonic()
        drip = connected(address)
        drip.sendall(b"GET /v2 HTTP/1.1\r\nX-Slow: ")
        while time.monotonic() - began < 0.4:
            drip.sendall(b"x")
            assert call(address, content=body())[0] == 200
            time.sleep(0.05)
        for each in (silent, half_head, half_body, drip):
            with each:
                assert ended(each)
        assert time.monotonic() - began < 3
        assert call(address, content=body())[0] == 200


def test_a_kept_connection_may_rest_between_requests_longer_than_a_request_may_take():
    with running(endpoint([SleepingDevice()]), patience_s=0.3) as address, connected(address) as connection:
        for _ in range(2):
            connection.sendall(request_bytes())
            assert status(connection) == 200
            time.sleep(0.5)


def test_a_request_that_takes_longer_than_the_patience_with_senders_is_answered():
    with running(endpoint([SleepingDevice(0.6)]), patience_s=0.2) as address:
        assert call(address, content=body())[0] == 200


def test_cut_connections_leave_nothing_behind():
    subject = endpoint([SleepingDevice(0.02)])
    with running(subject) as address:
        for _ in range(20):
            with connected(address) as connection:
                connection.sendall(request_bytes())
        for _ in range(20):
            with connected(address) as connection:
                connection.sendall(request_bytes(length=500))
        assert call(address, content=body())[0] == 200
        deadline = time.monotonic() + 5
        while subject.service.pending and time.monotonic() < deadline:
            time.sleep(0.01)
        assert subject.service.pending == 0
        assert not subject.service._askers.asked


def test_too_many_connections_are_a_503_and_the_first_ones_stay():
    with running(endpoint([SleepingDevice()]), connections=3) as address:
        kept = [connected(address) for _ in range(3)]
        time.sleep(0.05)
        refused, headers, found = call(address, content=None, method="GET", path="/v2")
        assert (refused, headers["retry-after"], found) == (503, "1", {"error": "too many connections"})
        kept[0].sendall(request_bytes())
        assert status(kept[0]) == 200
        for each in kept:
            each.close()
        time.sleep(0.05)
        assert call(address, content=body())[0] == 200


def test_a_head_that_does_not_end_is_refused():
    with running(endpoint([SleepingDevice()])) as address, connected(address) as connection:
        connection.sendall(b"GET /v2 HTTP/1.1\r\n" + b"X-A: " + b"a" * (LARGEST_HEAD + 1000))
        assert status(connection) == 400


def test_memory_is_flat_while_three_times_as_many_come_as_can_be_served():
    """Every request is answered, and what the service holds is bounded by its limits."""
    subject = endpoint([SleepingDevice(0.005)], "greedy(max_batch=1)", most=8)
    with running(subject) as address:
        held, statuses = [], []
        connections = [connected(address) for _ in range(24)]
        for _ in range(25):
            for each in connections:
                each.sendall(request_bytes())
            held.append(subject.service.pending)
            for each in connections:
                statuses.append(status(each))
        for each in connections:
            each.close()
    assert len(statuses) == 25 * 24
    assert set(statuses) == {200, 503}
    assert max(held) <= 8
