"""Doubles for the endpoint's tests: a device that sleeps, and a real HTTP server around it in a thread."""

from __future__ import annotations

import http.client
import json
import socket
import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from types import SimpleNamespace

import numpy as np
from conftest import formula_table

from policies import Dispatch, Drop, make
from profiler.events import BatchPlan, Cut
from profiler.executors.interface import BatchResult
from profiler.executors.serving import Served
from profiler.executors.texts import Tokens
from profiler.table import Level, Predictions, ShapeKey

MODEL = "students-2x8"
VOCAB, CLASSES, LABELS = 1000, 2, ("bad", "good")
#: The latency of a batch in the table, in microseconds: (students, batch, tokens).
STEP_US = 1000.0
LEVEL = Level(0, MODEL, 2, 2, 8, 0.8)


class SleepingDevice:
    """Answers after a sleep: [first token, students] of each request. `fail` makes the next batch raise that."""

    def __init__(self, seconds=0.001, fail=None):
        self.seconds, self.fail = seconds, fail
        self.spec = SimpleNamespace(vocab=VOCAB, outputs=CLASSES)
        self.sizes = []

    def run(self, students, ids):
        if self.fail is not None:
            raise self.fail
        began = time.perf_counter()
        time.sleep(self.seconds)
        self.sizes.append(len(ids))
        logits = np.asarray([[row[0], students] for row in ids], np.float32)
        return BatchResult(logits, None, time.perf_counter() - began, 0.0, self.seconds)

    def close(self):
        pass


class GatedDevice(SleepingDevice):
    """Runs nothing before its gate is open, for ten seconds at most. ran: the first token of every request in order."""

    def __init__(self):
        super().__init__()
        self.gate, self.ran = threading.Event(), []

    def run(self, students, ids):
        self.gate.wait(10)
        self.ran += [int(row[0]) for row in ids]
        return super().run(students, ids)


class SteppedDevice(SleepingDevice):
    """Runs students one after another, each for so many seconds; the first is sure of ids that begin evenly."""

    heads = (
        np.broadcast_to(np.eye(CLASSES, dtype=np.float32), (2, CLASSES, CLASSES)),
        np.zeros((2, CLASSES), np.float32),
    )

    def warm_parts(self, keys):
        return 0.0

    def part(self, first, last, ids):
        began = time.perf_counter()
        time.sleep(self.seconds * (last - first))
        vectors = np.zeros((len(ids), CLASSES), np.float32)
        if first == 0:
            vectors[:, 0] = [0.0 if row[0] % 2 else 9.0 for row in ids]
        else:
            vectors[:, 1] = 9.0
        key = ShapeKey(last - first, len(ids), 8)
        return BatchResult(vectors, key, time.perf_counter() - began, 0.0, self.seconds)


class StopsEarly:
    """At most so many requests in two stages, of one student each."""

    needs = frozenset({"stops"})
    plan = BatchPlan((Cut(1, 0.5), Cut(2, 0.0)))

    def decide(self, view):
        return Dispatch(view.oldest(view.plan.max_batch), view.levels[-1], plan=self.plan)


class DropsOdd:
    """Drops every second text, by its number."""

    def decide(self, view):
        if odd := [request for request in view.oldest(view.waiting) if request % 2]:
            return Drop(odd, "odd")
        return Dispatch(view.oldest(view.plan.max_batch), view.levels[-1])


#: While it is set, a policy that is Held does not return.
holding = threading.Event()


@dataclass(frozen=True)
class Held:
    """One request at a time; `where` ("decide" or "observe") returns once nothing is held: it sleeps, or it spins."""

    where: str = "decide"
    spins: bool = False
    uses = frozenset({"completions"})

    def _hold(self, where):
        began = time.monotonic()
        while where == self.where and holding.is_set() and time.monotonic() - began < 20:
            if not self.spins:
                time.sleep(0.01)

    def decide(self, view):
        self._hold("decide")
        return Dispatch(view.oldest(1), view.levels[-1])

    def observe(self, event):
        self._hold("observe")


def tokenize(text, pair=None):
    """A letter is a token, up to 16; those of a pair's second text are of type 1."""
    whole = text if pair is None else text + pair
    ids = np.asarray([ord(letter) for letter in whole[:16]], np.int32)
    if not len(ids) or ids.max() >= VOCAB:
        raise ValueError("it cannot be run")
    return Tokens(ids + VOCAB * (np.arange(len(ids)) >= len(text)).astype(np.int32), len(whole))


def table(students=(1, 2), batches=(1, 2, 4, 8), tokens=(8, 16)):
    return formula_table(
        lambda k, b, t: STEP_US * k + 10 * b, students=students, batches=batches, tokens=tokens, accuracy=lambda k: 0.8
    )


def predictions(of=None):
    of = table() if of is None else of
    return Predictions(of, of.levels(MODEL, "toy"), of.plan(MODEL))


def endpoint(devices, policy="greedy", *, slo_s=0.1, most=64, patience_s=30.0, listeners=(), tokenize=None, **limits):
    """An Endpoint on these devices; nothing of it runs yet."""
    from simulator.endpoint.app import Endpoint
    from simulator.endpoint.metrics import Metrics
    from simulator.endpoint.protocol import Limits, offered
    from simulator.endpoint.service import Service

    served = Served(
        "a test", tuple({MODEL: each} for each in devices), tuple(lambda: None for _ in devices), (), 0.0, 0.0
    )
    metrics = Metrics(MODEL)
    service = Service(
        predictions(), make(policy), served, slo_s, most=most, patience_s=patience_s, listeners=[metrics, *listeners]
    )
    metrics.watch(service)
    limits = {"within_s": 5.0} | limits
    taken = Limits(VOCAB, 16, tokenize is not None, types=2, texts=min(8, most), outputs=offered(LABELS), width=CLASSES)
    about = {"policy": policy}
    return Endpoint(service, MODEL, taken, about, metrics, "test", labels=LABELS, tokenize=tokenize, **limits)


@contextmanager
def running(endpoint, *, connections=64, patience_s=5.0, drain_s=5, lame_duck_s=0.0):
    """The endpoint's address while it runs; it is drained at the end. signal: as the process would get it."""
    import uvicorn

    from simulator.endpoint.connections import limited
    from simulator.endpoint.ending import LameDuck

    bound = socket.create_server(("127.0.0.1", 0))
    config = uvicorn.Config(
        endpoint.app(),
        http=limited(connections, patience_s),
        ws="none",
        lifespan="on",
        log_config=None,
        access_log=False,
        timeout_graceful_shutdown=drain_s,
    )
    server = LameDuck(config, lame_duck_s, endpoint.service.drain)
    thread = threading.Thread(target=partial(server.run, sockets=[bound]))
    thread.start()
    while not server.started:
        assert thread.is_alive()
        time.sleep(0.002)
    try:
        yield SimpleNamespace(
            port=bound.getsockname()[1],
            stop=partial(setattr, server, "should_exit", True),
            signal=lambda number: server.handle_exit(number, None),
        )
    finally:
        server.should_exit = True
        thread.join(20)
        assert not thread.is_alive()


def body(ids=(1, 2, 3), **parameters):
    tensor = {"name": "input_ids", "datatype": "INT64", "shape": [1, len(ids)], "data": list(ids)}
    return {"parameters": parameters, "inputs": [tensor]}


def call(address, method="POST", path=f"/v2/models/{MODEL}/infer", content=None, headers=None, timeout=10.0):
    """(status, headers, body) of one request on a connection of its own; JSON is read."""
    connection = http.client.HTTPConnection("127.0.0.1", address.port, timeout=timeout)
    try:
        content = json.dumps(content).encode() if isinstance(content, dict) else content
        connection.request(method, path, content, headers or {})
        response = connection.getresponse()
        found = response.read()
        if found and response.headers.get("content-type") == "application/json":
            found = json.loads(found)
        return response.status, dict(response.headers), found
    finally:
        connection.close()


def get(address, path):
    return call(address, "GET", path)


def segment_numbers(folder, kind="trace"):
    """The numbers of the complete segments of a session."""
    return [int(each.stem.rpartition("-")[2]) for each in sorted(folder.glob(f"{kind}-*.parquet"))]


def written(recorder):
    """Whether what a recorder has heard of is on disk now, segments that are complete as such."""
    done = recorder._log.attempt()
    recorder._completing.submit(int).result()
    return done


def serve_one(recorder, number, now, tokens=5):
    """Let a recorder hear of a request, and of the batch of it alone."""
    recorder.arrived(number, now, tokens, None, "")
    recorder.batch(number, (now, now + 0.001, 0, LEVEL, 0, range(number, number + 1)), (), 0.0009, 0.0)
