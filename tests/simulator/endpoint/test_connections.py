"""Connections: offers to upgrade, large heads, pipelines that are not read, and stock clients of other languages."""

from __future__ import annotations

import http.client
import itertools
import json
import random
import shutil
import socket
import subprocess
import threading
import time

import pytest

pytest.importorskip("starlette")
pytest.importorskip("httptools")
pytest.importorskip("prometheus_client")

from serving_doubles import MODEL, SleepingDevice, body, call, endpoint, running

from simulator.endpoint.command import bound
from simulator.endpoint.connections import LARGEST_HEAD

INFER = f"/v2/models/{MODEL}/infer"
CONTENT = json.dumps(body((7, 8))).encode()


@pytest.fixture(scope="module")
def address():
    with running(endpoint([SleepingDevice()], body=1 << 20)) as address:
        yield address


def connected(address):
    return socket.create_connection(("127.0.0.1", address.port), timeout=10)


def request(*headers, content=CONTENT, method="POST", path=INFER):
    lines = [f"{method} {path} HTTP/1.1", "Host: x", f"Content-Length: {len(content)}", *headers]
    return "\r\n".join([*lines, "", ""]).encode() + content


def answers(connection, count):
    """So many answers of one connection: (status, body)."""
    stream = connection.makefile("rb")
    found = []
    for _ in range(count):
        status = int(stream.readline().split()[1])
        headers = http.client.parse_headers(stream)
        found.append((status, stream.read(int(headers["content-length"]))))
    return found


H2C = [
    ["Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAEAAEAAAAIAAAABAAMAAABkAAQBAAAAAAUAAEAA"],
    ["connection: upgrade", "UPGRADE: h2c"],
    ["Connection: keep-alive", "Connection: Upgrade", "Upgrade: h2c, foo/2"],
    ["Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Key: x"],
]


@pytest.mark.parametrize("headers", H2C)
@pytest.mark.parametrize("cut", [None, 10, 130, -3])
def test_an_offer_to_upgrade_is_ignored_and_the_body_kept_in_every_split(address, headers, cut):
    sent = request(*headers)
    with connected(address) as connection:
        for _ in range(2):  # the connection stays
            connection.sendall(sent[:cut])
            if cut is not None:
                time.sleep(0.01)
                connection.sendall(sent[cut:])
            ((status, answer),) = answers(connection, 1)
            assert status == 200
            assert json.loads(answer)["outputs"][0]["data"][0] == 7.0


def test_offers_to_upgrade_may_be_pipelined_and_chunked(address):
    chunked = (
        f"POST {INFER} HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n"
    )
    chunks = b"%x\r\n%s\r\n0\r\n\r\n" % (len(CONTENT), CONTENT)
    with connected(address) as connection:
        connection.sendall(request(*H2C[0]) + chunked.encode() + chunks + request(*H2C[1]))
        assert [status for status, _ in answers(connection, 3)] == [200, 200, 200]


def test_a_connection_that_is_to_close_closes_despite_the_offer(address):
    with connected(address) as connection:
        connection.sendall(request("Connection: close, Upgrade", "Upgrade: h2c"))
        assert b"connection: close" in connection.makefile("rb").read()


def test_a_tunnel_is_refused(address):
    with connected(address) as connection:
        connection.sendall(b"CONNECT example:443 HTTP/1.1\r\nHost: example:443\r\n\r\n")
        assert connection.recv(4096).startswith(b"HTTP/1.1 400 ")


@pytest.mark.parametrize("size", [LARGEST_HEAD + 100, 60_000])
@pytest.mark.parametrize("kind", ["value", "names", "url", "spaces"])
def test_a_head_above_the_limit_is_refused_in_one_write(address, size, kind):
    sent = {
        "value": request(f"X-A: {'a' * size}"),
        "names": request(*(f"X-{number}: a" for number in range(size // 7))),
        "url": request(path=f"{INFER}?{'a' * size}"),
        "spaces": request(f"X-A:{' ' * size}a"),
    }[kind]
    with connected(address) as connection:
        connection.sendall(sent)
        assert answers(connection, 1)[0][0] == 400


def test_a_head_below_the_limit_and_a_large_body_are_taken(address):
    head = request(f"X-A: {'a' * (LARGEST_HEAD - 200)}")
    padded = json.dumps({**body((7, 8)), "parameters": {"x": "y" * 900_000}}).encode()
    with connected(address) as connection:
        connection.sendall(head + request(content=padded) + head)
        assert [status for status, _ in answers(connection, 3)] == [200, 200, 200]


@pytest.mark.parametrize("bad", [request(f"X-A: {'a' * (LARGEST_HEAD + 100)}"), b"nonsense\r\n\r\n", b"GET\0"])
def test_what_is_bad_in_a_pipeline_is_refused_after_the_answers_to_what_was_good(address, bad):
    with connected(address) as connection:
        connection.sendall(request() * 3 + bad + request())
        assert [status for status, _ in answers(connection, 4)] == [200, 200, 200, 400]
        assert connection.recv(1) == b""


def test_what_is_pipelined_is_answered_in_order_however_much_it_is():
    with running(endpoint([SleepingDevice(0.0)])) as address, connected(address) as connection:
        bodies = [json.dumps(body((number % 1000, 1))).encode() for number in range(300)]
        connection.sendall(b"".join(request(content=each) for each in bodies))
        found = answers(connection, 300)
    assert [status for status, _ in found] == [200] * 300
    assert [json.loads(answer)["outputs"][0]["data"][0] for _, answer in found] == [float(n) for n in range(300)]


def drawn(rng, number):
    """A request that begins with this id, of some shape: offered upgrades, long heads, chunks, long bodies."""
    content = json.dumps({**body((number, 1)), "parameters": {"x": "y" * rng.choice((0, 0, 3000, 70_000))}}).encode()
    headers = [*rng.choice(([], *H2C)), *([f"X-A: {'a' * rng.randrange(9000)}"] if rng.random() < 0.3 else [])]
    if rng.random() < 0.7:
        return request(*headers, content=content)
    lines = [f"POST {INFER} HTTP/1.1", "Host: x", "Transfer-Encoding: chunked", *headers, "", ""]
    size = rng.choice((1 << 20, 1000))
    pieces = [content[start : start + size] for start in range(0, len(content), size)]
    return "\r\n".join(lines).encode() + b"".join(b"%x\r\n%s\r\n" % (len(each), each) for each in pieces) + b"0\r\n\r\n"


@pytest.mark.parametrize("seed", range(6))
def test_requests_of_all_shapes_cut_anywhere_are_answered_in_order(address, seed):
    rng = random.Random(seed)
    sent = b"".join(drawn(rng, number) for number in range(40))
    cuts = sorted(rng.randrange(len(sent)) for _ in range(60))
    with connected(address) as connection:

        def write():
            for start, end in itertools.pairwise([0, *cuts, len(sent)]):
                connection.sendall(sent[start:end])
                if rng.random() < 0.2:
                    time.sleep(0.002)

        writer = threading.Thread(target=write)
        writer.start()
        found = answers(connection, 40)
        writer.join()
    assert [status for status, _ in found] == [200] * 40
    assert [json.loads(answer)["outputs"][0]["data"][0] for _, answer in found] == list(range(40))


def flooded(connection, most):
    """Send requests without reading an answer until nothing more is taken; the bytes that were."""
    connection.setblocking(False)
    piece, taken, last = b"GET /v2 HTTP/1.1\r\nHost: x\r\n\r\n" * 1000, 0, time.monotonic()
    while taken < most and time.monotonic() - last < 0.3:
        try:
            taken += connection.send(piece)
            last = time.monotonic()
        except BlockingIOError:
            time.sleep(0.01)
    return taken


def cut(connection):
    """Whether the other side has ended a connection that is written to."""
    try:
        while connection.send(b"x" * 1000):
            time.sleep(0.01)
    except ConnectionError:
        return True
    return False


def test_a_client_that_pipelines_and_never_reads_is_not_listened_to_and_then_cut():
    import gc

    from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

    with running(endpoint([SleepingDevice()]), patience_s=1.5) as address:
        connection = socket.socket()
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.connect(("127.0.0.1", address.port))
        with connection:
            taken = flooded(connection, 1 << 26)
            assert taken < 1 << 25  # what the system's buffers hold
            held = sum(type(each) is RequestResponseCycle for each in gc.get_objects())
            assert held < 400
            assert call(address, content=body())[0] == 200  # others are served
            time.sleep(1.6)
            connection.setblocking(True)
            connection.settimeout(5)
            assert cut(connection)
        until = time.monotonic() + 10
        while (held := sum(type(each) is RequestResponseCycle for each in gc.get_objects())) >= 20:
            assert time.monotonic() < until, f"{held} requests of the client that was cut are kept"
            time.sleep(0.1)
            gc.collect()


JAVA = """
import java.net.*; import java.net.http.*; import java.nio.file.*;

class Ask {
    public static void main(String[] given) throws Exception {
        var client = HttpClient.newHttpClient();
        for (int round = 0; round < 2; round++) {
            var request = HttpRequest.newBuilder(URI.create(given[0]))
                .POST(HttpRequest.BodyPublishers.ofString(given[1])).build();
            var answer = client.send(request, HttpResponse.BodyHandlers.ofString());
            System.out.println(answer.statusCode() + " " + answer.body());
        }
    }
}
"""


def works(command):
    """Whether a program is there and starts."""
    return shutil.which(command[0]) is not None and subprocess.run(command, capture_output=True).returncode == 0


def test_the_stock_client_of_java(address, tmp_path):
    if not works(["java", "--source", "17", "--version"]):
        pytest.skip("needs java, 17 or later")
    (tmp_path / "Ask.java").write_text(JAVA)
    command = [
        "java",
        "--source",
        "17",
        str(tmp_path / "Ask.java"),
        f"http://127.0.0.1:{address.port}{INFER}",
        CONTENT.decode(),
    ]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert ran.returncode == 0, ran.stderr
    lines = ran.stdout.splitlines()
    assert [line[:4] for line in lines] == ["200 ", "200 "]
    assert json.loads(lines[0][4:])["outputs"][0]["data"][0] == 7.0


def test_curl_that_offers_http_2(address):
    if (
        shutil.which("curl") is None
        or b"HTTP2" not in subprocess.run(["curl", "--version"], capture_output=True).stdout
    ):
        pytest.skip("needs curl with HTTP/2")
    command = [
        "curl",
        "-sS",
        "--http2",
        "--noproxy",
        "*",
        f"http://127.0.0.1:{address.port}{INFER}",
        "-d",
        CONTENT.decode(),
    ]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=30)
    assert json.loads(ran.stdout)["outputs"][0]["data"][0] == 7.0


def test_answers_do_not_wait_for_acknowledgements():
    """An answer is written in two pieces; the second must not wait for the client to acknowledge the first."""
    with bound("127.0.0.1", 0) as listening:
        listening.listen()
        with socket.create_connection(listening.getsockname()), listening.accept()[0] as accepted:
            assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
