"""A closed loop against a server of known replies; and the whole measurement of our endpoint."""

from __future__ import annotations

import os
import shutil
import socketserver
import threading
from contextlib import contextmanager

import pytest
from conftest import H200

from profiler.__main__ import main
from profiler.hosting.load import busy, ids_request, text_request
from profiler.table import LatencyTable

REPLY = b'{"parameters": {"batch_size": 4}}'


@contextmanager
def server(status=b"200 OK"):
    """A server that answers every request with this; yields its address and the bodies that it got."""
    bodies = []

    class Handler(socketserver.StreamRequestHandler):
        def handle(self):
            while line := self.rfile.readline():
                length = 0
                while line.strip():
                    name, _, value = line.partition(b":")
                    length = int(value) if name.lower() == b"content-length" else length
                    line = self.rfile.readline()
                bodies.append(self.rfile.read(length))
                head = b"HTTP/1.1 " + status + b"\r\ncontent-length: " + str(len(REPLY)).encode() + b"\r\n\r\n"
                self.wfile.write(head + REPLY)

    class Threaded(socketserver.ThreadingTCPServer):
        daemon_threads = True

        def handle_error(self, request, address):
            """The client ends its connections as it likes."""

    with Threaded(("127.0.0.1", 0), Handler) as opened:
        threading.Thread(target=opened.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        yield f"http://127.0.0.1:{opened.server_address[1]}", bodies
        opened.shutdown()


def test_answers_are_counted_by_what_they_say_of_their_batch():
    with server() as (url, bodies):
        found = busy(url, os.getpid(), [ids_request("m", [101, 7]), text_request("m", "a word")], 0.1, connections=3)
    assert found.batches == pytest.approx(0.25)
    assert 0 < found.seconds < 0.1
    assert {b"[101, 7]" in each for each in bodies} == {True, False}


def test_an_endpoint_that_refuses_is_an_error_in_a_line():
    with server(b"503 Busy") as (url, _), pytest.raises(ConnectionError, match="503"):
        busy(url, os.getpid(), [ids_request("m", [101])], 5.0, connections=1)


def test_a_table_that_is_none_and_rounds_that_say_nothing_are_refused(tmp_path, capsys):
    assert main(["host", str(tmp_path / "nothing")]) == 2
    assert "profiler run" in capsys.readouterr().err
    assert main(["host", H200, "--rounds", "1"]) == 2
    assert "--rounds" in capsys.readouterr().err


@pytest.mark.slow
def test_the_endpoint_is_measured_and_its_table_written(tmp_path):
    """On a machine that does other things too it may be INVALID; it must be there."""
    pytest.importorskip("starlette")
    folder = tmp_path / "table"
    shutil.copytree(H200, folder)
    assert main(["host", str(folder), "--rounds", "2", "--seconds", "0.5"]) in (0, 1)
    host = LatencyTable.load(folder).meta["host"]
    assert 0 < host["ingress_s"] + host["egress_s"] < 0.1
    assert len(host["answered_s"]) == 6
