"""Every protocol answers the same; texts have the tokens that they should; nonsense is an error in a line."""

from __future__ import annotations

import random
import socket
import threading
from contextlib import contextmanager

import numpy as np
import pytest
from server_doubles import MODEL, Hidden, serving

from profiler.executors.server import ServerExecutor
from profiler.servers.client import HttpClient, ServerError
from profiler.servers.counters import read_counters
from profiler.servers.offer import look_at_server
from profiler.servers.wording import Wording
from profiler.table import BucketPlan, ShapeKey

PLAN = BucketPlan((1, 4), (8, 16))


@pytest.fixture(scope="module")
def wording(tmp_path_factory):
    tokenizers = pytest.importorskip("tokenizers")
    folder = tmp_path_factory.mktemp("tokenizer")
    words = {"[UNK]": 0, "[CLS]": 1, "[SEP]": 2} | {
        word: 3 + at for at, word in enumerate(["good", "film", "a", "bad"])
    }
    found = tokenizers.Tokenizer(tokenizers.models.WordLevel(words, unk_token="[UNK]"))
    found.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    special = [("[CLS]", 1), ("[SEP]", 2)]
    found.post_processor = tokenizers.processors.TemplateProcessing("[CLS] $A [SEP]", special_tokens=special)
    found.add_special_tokens(["[CLS]", "[SEP]", "[UNK]"])
    found.save(str(folder / "tokenizer.json"))
    return Wording(folder)


@pytest.mark.parametrize("binary", [False, True])
def test_ids_are_answered_in_json_and_binary(binary):
    hidden = Hidden(lambda lengths: 0.0, binary=binary)
    ids = [np.arange(7, 7 + length, dtype=np.int32) for length in (3, 8, 5)]
    with serving(hidden) as url:
        client = HttpClient(url)
        offer = look_at_server(client, MODEL)
        assert ("binary" in offer.dialect.name) is binary
        executor = ServerExecutor(client, offer.dialect, PLAN, MODEL)
        executor.warm()
        assert executor.spec.classes == 2
        found = executor.run(1, ids)
        client.close()
    assert found.logits.tolist() == [[7, 3], [7, 8], [7, 5]]
    assert (found.key.batch, found.key.tokens) == (4, 8)
    assert hidden.batches[-1] == [3, 8, 5]


@pytest.mark.parametrize("protocol", ["text", "openai", "infinity", "tei"])
def test_texts_have_the_tokens_that_were_asked_for(protocol, wording):
    hidden = Hidden(lambda lengths: 0.0, protocol=protocol, tokenize=lambda text: len(text.split()) + 2)
    with serving(hidden) as url:
        client = HttpClient(url)
        offer = look_at_server(client, MODEL)
        assert offer.dialect.takes == "texts"
        with pytest.raises(LookupError, match="--tokenizer"):
            ServerExecutor(client, offer.dialect, PLAN, MODEL)
        executor = ServerExecutor(client, offer.dialect, PLAN, MODEL, wording=wording)
        batch = executor.draw(ShapeKey(1, 4, 16), np.random.default_rng(0))
        assert [len(row) for row in batch] == [16] * 4
        found = executor.run(1, batch)
        client.close()
    assert hidden.batches[-1] == [16] * 4
    texts = [wording.text(row) for row in batch]
    expected = [[ord(text[0]), len(text)] for text in texts]
    assert found.logits.tolist() == expected


#: Whole replies of a server that answers well, by path; what follows changes them.
GOOD = {
    "/v2": b'{"name": "t", "extensions": []}',
    f"/v2/models/{MODEL}": b'{"inputs": [{"name": "input_ids", "datatype": "INT64", "shape": [-1, -1]}], '
    b'"outputs": [{"name": "logits", "datatype": "FP32", "shape": [-1, 2]}]}',
    f"/v2/models/{MODEL}/stats": b'{"model_stats": [{"name": "hidden", "inference_stats": {"queue": {"count": 1, '
    b'"ns": 5}}, "batch_stats": [{"batch_size": 1, "compute_infer": {"count": 3, "ns": 7000}}]}]}',
    f"/v2/models/{MODEL}/infer": b'{"parameters": {"batch_size": 2, "compute_us": 5, "queue_us": 1}, "outputs": '
    b'[{"name": "logits", "datatype": "FP32", "shape": [2, 2], "data": [1.5, 2.5, 3.5, 4.5]}]}',
}
NONSENSE = [b"NaN", b"null", b"1e999", b"-1", b"[]", b"{}", b'"x"', b"1e40", b"true", b"99999999999999999999", b"\xff"]


def mutated(whole, rng):
    """A reply that was changed somewhere: bytes lost, doubled or replaced, values that are none, ends cut off."""
    kind = rng.randrange(6)
    at = rng.randrange(len(whole))
    if kind == 0:
        return whole[:at]
    if kind == 1:
        return whole[:at] + bytes([rng.randrange(256)]) + whole[at + 1 :]
    if kind == 2:
        return whole[:at] + whole[at + rng.randrange(1, 30) :]
    if kind == 3:
        return whole[:at] + whole[max(0, at - 40) :]
    if kind == 4:
        numbers = [place for place, letter in enumerate(whole) if letter in b"0123456789"]
        place = rng.choice(numbers)
        return whole[:place] + rng.choice(NONSENSE) + whole[place + 1 :]
    return whole.replace(b"\r\n", rng.choice([b"\n", b"\r\n\r\n", b"\r\nTransfer-Encoding: chunked\r\n"]), 1)


@contextmanager
def hostile(seed):
    """The address of a server whose replies are mutated, and which closes after each; a seed makes it repeat."""
    rng = random.Random(seed)
    listening = socket.create_server(("127.0.0.1", 0))
    state = {"mutate": True, "path": None}

    def answer():
        while True:
            try:
                own, _ = listening.accept()
            except OSError:
                return
            with own:
                own.settimeout(2)
                try:
                    request = own.recv(1 << 16)
                    while request.startswith(b"POST") and not request.endswith(b"}]}"):
                        request += own.recv(1 << 16)
                    path = request.split()[1].decode()
                    body = GOOD.get(path, b"{}")
                    whole = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s" % (len(body), body)
                    spoilt = state["mutate"] and path == state["path"]
                    own.sendall(mutated(whole, rng) if spoilt else whole)
                except (OSError, IndexError, UnicodeDecodeError):
                    pass

    thread = threading.Thread(target=answer, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{listening.getsockname()[1]}", state
    finally:
        listening.shutdown(socket.SHUT_RDWR)
        listening.close()
        thread.join(5)


def test_two_thousand_mutated_replies_give_errors_in_a_line_or_the_right_kind_of_number():
    """What was changed within a number cannot be seen; all else is an error. Nothing hangs, nothing is a traceback."""
    seen, words = {"error": 0, "answer": 0}, set()
    with hostile(25) as (url, state):
        for number in range(2000):
            state["path"] = list(GOOD)[number % len(GOOD)]
            client = HttpClient(url, patience_s=0.5)
            try:
                offer = look_at_server(client, MODEL)
                assert offer.dialect.takes == "ids"
                counters = read_counters(client, MODEL)
                if counters is not None:
                    assert all(0 < size <= 100_000 for size in counters.ran)
                    assert all(0 <= seconds < 1e11 for seconds in counters.compute_s.values())
                executor = ServerExecutor(client, offer.dialect, PLAN, MODEL)
                found = executor.ask([np.full(3, 7, np.int32)] * 2)
                assert len(found.logits) == 2
                assert np.isfinite(found.logits).all()
                seen["answer"] += 1
            except (ServerError, LookupError) as error:
                words.add(str(error))
                seen["error"] += 1
            finally:
                client.close()
    assert all("\n" not in each and len(each) < 400 for each in words)
    assert min(seen.values()) > 400, seen


@pytest.mark.parametrize("drip", [b"HTTP/1.1 200 OK\r\nX: ", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"])
def test_a_server_that_never_ends_is_given_up_at_the_deadline(drip):
    listening = socket.create_server(("127.0.0.1", 0))
    stop = threading.Event()

    def trickle():
        own, _ = listening.accept()
        with own:
            own.sendall(drip)
            while not stop.wait(0.02):
                try:
                    own.sendall(b"1\r\na\r\n" if b"chunked" in drip else b"x")
                except OSError:
                    return

    thread = threading.Thread(target=trickle)
    thread.start()
    try:
        client = HttpClient(f"http://127.0.0.1:{listening.getsockname()[1]}", patience_s=0.3)
        with pytest.raises(ServerError, match="no answer in time"):
            client.get("/v2")
        client.close()
    finally:
        stop.set()
        thread.join()
        listening.close()


def test_a_chunked_reply_is_read_whole_and_a_kept_connection_that_was_closed_is_opened_anew():
    listening = socket.create_server(("127.0.0.1", 0))

    def answer():
        for _ in range(2):
            own, _ = listening.accept()
            with own:
                own.recv(1 << 16)
                own.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n")

    thread = threading.Thread(target=answer)
    thread.start()
    client = HttpClient(f"http://127.0.0.1:{listening.getsockname()[1]}")
    assert [client.get("/").body for _ in range(2)] == [b"abcde"] * 2
    client.close()
    thread.join()
    listening.close()
