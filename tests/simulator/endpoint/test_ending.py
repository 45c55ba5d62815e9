"""The end of a server under load: health is red first, requests on the wire are answered, no client is reset."""

from __future__ import annotations

import http.client
import json
import signal
import socket
import threading
import time
from collections import Counter

import pytest

pytest.importorskip("starlette")
pytest.importorskip("httptools")
pytest.importorskip("prometheus_client")

from serving_doubles import MODEL, SleepingDevice, body, call, endpoint, get, running

INFER = f"/v2/models/{MODEL}/infer"
CONTENT = json.dumps(body())


def client(address, ended, kept):
    """Ask again and again, on one connection or on one each, until an answer ends it; what came last."""
    connection = http.client.HTTPConnection("127.0.0.1", address.port, timeout=20)
    try:
        while True:
            connection.request("POST", INFER, CONTENT)
            response = connection.getresponse()
            response.read()
            if response.status != 200 or response.headers.get("connection") == "close":
                ended.append(response.status)
                return
            if not kept:
                connection.close()
    except Exception as error:
        ended.append(type(error).__name__)
    finally:
        connection.close()


@pytest.mark.parametrize("kept", [True, False])
def test_none_of_200_clients_is_reset_at_sigterm(kept):
    ended = []
    made = endpoint([SleepingDevice(0.002)], most=512, slo_s=10.0, within_s=10.0)
    with running(made, connections=512, lame_duck_s=1.5, drain_s=20) as address:
        threads = [threading.Thread(target=client, args=(address, ended, kept)) for _ in range(200)]
        for each in threads:
            each.start()
        time.sleep(1.0)
        assert not ended
        address.signal(signal.SIGTERM)
        for each in threads:
            each.join()
    assert Counter(ended) == {200: 200}


def knocking(address, ended):
    """Ask again and again, on a connection each, until none is taken; what came last."""
    sent = f"POST {INFER} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(CONTENT)}\r\nConnection: close\r\n\r\n{CONTENT}"
    try:
        while True:
            with socket.create_connection(("127.0.0.1", address.port), timeout=20) as connection:
                connection.sendall(sent.encode())
                if not connection.makefile("rb").read().startswith(b"HTTP/1.1 200 "):
                    ended.append("no answer")
                    return
    except OSError as error:
        ended.append(type(error).__name__)


def test_clients_that_do_not_heed_it_are_answered_or_refused_but_not_reset():
    ended = []
    made = endpoint([SleepingDevice(0.002)], most=512, slo_s=10.0, within_s=10.0)
    with running(made, connections=512, lame_duck_s=0.3, drain_s=20) as address:
        threads = [threading.Thread(target=knocking, args=(address, ended)) for _ in range(200)]
        for each in threads:
            each.start()
        time.sleep(0.7)
        address.signal(signal.SIGTERM)
        for each in threads:
            each.join()
    assert Counter(ended) == {"ConnectionRefusedError": 200}


def test_in_the_lame_duck_phase_new_connections_are_answered_and_health_says_what_it_is():
    with running(endpoint([SleepingDevice()]), lame_duck_s=1.0) as address:
        address.signal(signal.SIGTERM)
        began = time.monotonic()
        while get(address, "/v2/health/ready")[0] == 200:
            assert time.monotonic() - began < 0.5
        assert get(address, f"/v2/models/{MODEL}/ready")[0] == 503
        assert get(address, "/v2/health/live")[0] == 200
        assert b"cohort_ready 0.0" in get(address, "/metrics")[2]
        status, headers, _ = call(address, content=body())
        assert (status, headers["connection"]) == (200, "close")
        while True:
            try:
                get(address, "/v2")
            except ConnectionRefusedError:
                break
        assert 0.9 < time.monotonic() - began < 2.5


@pytest.mark.parametrize("signals", [[signal.SIGTERM, signal.SIGTERM], [signal.SIGINT]])
def test_a_second_signal_or_ctrl_c_does_not_wait(signals):
    with running(endpoint([SleepingDevice()]), lame_duck_s=60.0) as address:
        for each in signals:
            address.signal(each)
        began = time.monotonic()
    assert time.monotonic() - began < 3.0


def test_a_request_that_is_half_sent_at_the_end_is_answered():
    made = endpoint([SleepingDevice()])
    with running(made) as address:
        sent = f"POST {INFER} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(CONTENT)}\r\n\r\n{CONTENT}".encode()
        connections = [socket.create_connection(("127.0.0.1", address.port), timeout=5) for _ in range(3)]
        for connection, cut in zip(connections, (20, 120, 0), strict=True):
            connection.sendall(sent[:cut])
        time.sleep(0.05)
        address.stop()
        while not made.service.draining:
            time.sleep(0.005)
        for connection, cut in zip(connections, (20, 120, 0), strict=True):
            connection.sendall(sent[cut:])
        for connection in connections:
            with connection:
                answer = connection.makefile("rb").read()
                assert answer.startswith(b"HTTP/1.1 200 ")
                assert b"connection: close" in answer


def test_idle_connections_do_not_keep_the_server_from_ending():
    with running(endpoint([SleepingDevice()])) as address:
        connection = socket.create_connection(("127.0.0.1", address.port), timeout=5)
        assert get(address, "/v2")[0] == 200
        began = time.monotonic()
    assert time.monotonic() - began < 2.0
    connection.close()
