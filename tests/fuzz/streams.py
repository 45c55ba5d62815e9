"""Bytes on connections to the endpoint: spoiled requests, in pieces; it must answer sanely and go on."""

from __future__ import annotations

import json
import logging
import re
import socket
from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise

import numpy as np
from serving_doubles import MODEL, SleepingDevice, body, endpoint, get, running

from simulator.endpoint.protocol import THIN, BadRequest, Limits, infer, offered

#: Seconds that a client has for a request, and after which an answer is taken to be missing.
PATIENCE_S, LAST_S = 0.5, 5.0
LIMITS = Limits(1000, 16, text=True, types=2)
#: Every route by its path, with a body that is right, for a model that the route is for.
ROUTES = {
    "/predict": (
        {"inputs": [["a"], ["b", "c"]], "raw_scores": True},
        replace(LIMITS, outputs=offered(("bad", "good"))),
    ),
    "/rerank": ({"query": "q", "texts": ["a", "b"], "return_text": True}, replace(LIMITS, width=1)),
    "/v1/embeddings": ({"model": MODEL, "input": ["a", "b"]}, replace(LIMITS, gives="embeddings")),
}
_PIECES = (
    b"\r\n", b"\n", b"\0", b" ", b":", b"\xff", b"0", b"-1", b"9" * 30, b"{", b"[" * 3000, b'"', b"null", b"1e999",
    b"Content-Length: 5\r\n", b"Transfer-Encoding: chunked\r\n", b"Expect: 100-continue\r\n", b"Upgrade: h2c\r\n",
    b"Connection: close\r\n", b"Inference-Header-Content-Length: 3\r\n", b"HTTP/1.1", b"POST ", b"\\ud800",
    b"X: " + b"y" * 20_000, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
)  # fmt: skip


def request(rng: np.random.Generator) -> bytes:
    """A request that is right: inference in JSON or binary, or one of the other routes."""
    if rng.random() < 0.2:
        path = ("/v2", "/metrics", "/v2/health/ready", f"/v2/models/{MODEL}", "/nothing")[rng.integers(5)]
        return f"GET {path} HTTP/1.1\r\nHost: a\r\n\r\n".encode()
    content, more = json.dumps(body((1, 2, 3), slo_ms=50, priority=1)).encode(), ""
    if rng.random() < 0.3:
        tensor = {"name": "input_ids", "datatype": "INT64", "shape": [1, 2], "parameters": {"binary_data_size": 16}}
        header = json.dumps({"inputs": [tensor]}).encode()
        content = header + np.array([1, 2], "<i8").tobytes()
        more = f"Inference-Header-Content-Length: {len(header)}\r\n"
    path = f"/v2/models/{MODEL}/infer"
    if rng.random() < 0.3:
        path, more = list(ROUTES)[rng.integers(len(ROUTES))], ""
        content = json.dumps(ROUTES[path][0]).encode()
    if rng.random() < 0.2:
        content = b"%x\r\n%s\r\n0\r\n\r\n" % (len(content), content)
        length = "Transfer-Encoding: chunked"
    else:
        length = f"Content-Length: {len(content)}"
    return f"POST {path} HTTP/1.1\r\nHost: a\r\n{more}{length}\r\n\r\n".encode() + content


def spoiled_bytes(stream: bytes, rng: np.random.Generator) -> bytes:
    """A few bytes changed, cut out, put in, or repeated."""
    found = bytearray(stream)
    for _ in range(int(rng.integers(1, 5))):
        at, many = int(rng.integers(len(found) + 1)), int(rng.integers(1, 40))
        kind = rng.integers(5)
        if kind == 0:
            found[at : at + 1] = bytes([rng.integers(256)])
        elif kind == 1:
            del found[at : at + many]
        elif kind == 2:
            found[at:at] = found[at : at + many]
        elif kind == 3 and rng.random() < 0.2:
            del found[at:]
        else:
            found[at:at] = _PIECES[rng.integers(len(_PIECES))]
    return bytes(found)


def pieces(stream: bytes, rng: np.random.Generator) -> Iterator[bytes]:
    """The bytes in up to four pieces, each a write of its own."""
    cuts = sorted({0, len(stream), *(int(rng.integers(len(stream) + 1)) for _ in range(int(rng.integers(4))))})
    return (stream[first:last] for first, last in pairwise(cuts))


def findings(seed: int, numbers: range) -> Iterator[str]:
    """What is wrong with what becomes of each stream of bytes, empty where nothing is."""
    logging.getLogger("uvicorn").setLevel(logging.CRITICAL)  # it says what it was sent
    with running(endpoint([SleepingDevice(0.0002)]), patience_s=PATIENCE_S) as address:
        for number in numbers:
            rng = np.random.default_rng([seed, number, 1])
            stream = b"".join(request(rng) for _ in range(int(rng.integers(1, 3))))
            stream = spoiled_bytes(stream, rng)
            wrong = _body(stream.partition(b"\r\n\r\n")[2], rng) or _answers(address.port, stream, rng)
            if not wrong and number % 50 == 49 and get(address, "/v2/health/ready")[0] != 200:
                wrong = "it is not ready any more"
            yield f"{wrong} [{number}] {stream[:300]!r}" if wrong else ""


def _body(content: bytes, rng: np.random.Generator) -> str:
    """What is wrong with how a body by itself is read."""
    length = (None, "0", "3", str(len(content)), "x", "-1")[rng.integers(6)]
    path = [*ROUTES, ""][rng.integers(len(ROUTES) + 1)]
    route, limits = (THIN[path], ROUTES[path][1]) if path else (infer, LIMITS)
    try:
        route(content, length, limits)
    except BadRequest as error:
        return "" if str(error) and "\n" not in str(error) else f"not one line: {error}"
    except Exception as error:
        return f"{type(error).__name__} escapes: {error}"
    return ""


def _answers(port: int, stream: bytes, rng: np.random.Generator) -> str:
    """What is wrong with the answers to a stream."""
    answer = b""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=LAST_S) as connection:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            for piece in pieces(stream, rng):
                connection.sendall(piece)
            connection.shutdown(socket.SHUT_WR)
            while piece := connection.recv(65536):
                answer += piece
    except TimeoutError:
        return f"no end after {LAST_S} s"
    except OSError:  # it was cut off, as it may be
        pass
    statuses = [int(each) for each in re.findall(rb"HTTP/1\.1 (\d{3}) ", answer)]
    if answer and not answer.startswith(b"HTTP/1.1 "):
        return f"no HTTP: {answer[:80]!r}"
    return f"status {max(statuses)}" if statuses and max(statuses) >= 500 else ""
