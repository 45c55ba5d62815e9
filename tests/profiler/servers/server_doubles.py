"""Servers of the tests' own, with hidden latencies: threads of this process that sleep, on real sockets."""

from __future__ import annotations

import json
import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

MODEL = "hidden"


def padded(size: int) -> int:
    """The next power of two."""
    return 1 << (size - 1).bit_length()


class VirtualTime:
    """A clock of the tests' own: a server moves it on instead of sleeping, and whoever measures reads it."""

    read_by = ("profiler.servers.client", "profiler.executors.server", "profiler.blackbox.gates")

    def __init__(self, monkeypatch):
        self.now = 0.0
        for module in self.read_by:
            monkeypatch.setattr(f"{module}.perf_counter", lambda: self.now)


@dataclass
class Hidden:
    """A model on one device. seconds: of a batch of so many texts of these lengths. counts: whether /stats is there.

    most: texts of a request. protocol: `ids` or `text` of the Open Inference Protocol, `openai`, `infinity`, `tei`.
    slower: factor on all times. told: whether replies say what their batch took. fails: the length of texts that are
    refused. clock: moved on in place of sleeping. remembers: how much slower it is after five requests waited at once.
    """

    seconds: object
    counts: bool = False
    told: bool = False
    most: int = 64
    protocol: str = "ids"
    binary: bool = False
    slower: float = 1.0
    down: bool = False
    remembers: float = 0.0
    caches: bool = False
    tokenize: object = len
    device: object = field(default_factory=threading.Lock)
    stats: dict = field(default_factory=dict)
    batches: list = field(default_factory=list)
    clock: object = None
    waiting: int = 0
    fails: int = 0
    free: float = 0.0
    reads: int = 0

    def run(self, texts, began):
        """Answer a batch: [first token or character, length] of each text."""
        self.waiting += 1
        with self.device:
            start = max(began, self.free)
            if self.remembers and self.waiting > 4:
                self.slower = self.remembers
            self.waiting -= 1
            lengths = [self.tokenize(text) for text in texts]
            known = self.caches and str(texts) in self.stats.setdefault("seen", set())
            own = 0.0 if known else self.seconds(lengths) * self.slower
            if self.caches:
                self.stats["seen"].add(str(texts))
            self.free = start + own
            if self.clock is None:
                time.sleep(max(0.0, self.free - time.perf_counter()))
            else:
                self.clock.now += own
            count, ns = self.stats.get(len(texts), (0, 0))
            self.stats[len(texts)] = (count + 1, ns + int(own * 1e9))
            self.batches.append(lengths)
        return [[float(text[0] if self.protocol == "ids" else ord(text[0])), float(len(text))] for text in texts], own


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    hidden: Hidden

    def log_message(self, *words):
        pass

    def say(self, status, values, headers=()):
        body = values if isinstance(values, bytes) else json.dumps(values).encode()
        head = [f"HTTP/1.1 {status} -", f"Content-Length: {len(body)}", *(f"{name}: {each}" for name, each in headers)]
        self.wfile.write("\r\n".join([*head, "", ""]).encode() + body)

    def do_GET(self):
        own = self.hidden
        if own.down:
            return self.say(503, {"error": "down"})
        kind = "INT64" if own.protocol == "ids" else "BYTES"
        names = ["input_ids", "attention_mask"] if own.protocol == "ids" else ["text"]
        oip = {
            "/v2": {"name": "test", "extensions": ["binary_tensor_data"] if own.binary else []},
            f"/v2/models/{MODEL}": {
                "name": MODEL,
                "inputs": [{"name": name, "datatype": kind, "shape": [-1, -1]} for name in names],
                "outputs": [{"name": "logits", "datatype": "FP32", "shape": [-1, 2]}],
            },
        }
        if own.counts:
            own.reads += self.path.endswith("/stats")
            oip[f"/v2/models/{MODEL}/stats"] = {"model_stats": [self.counters()]}
        if own.protocol in ("ids", "text"):
            known = oip
        elif own.protocol == "tei":
            known = {"/info": {"model_id": "me", "model_type": {"classifier": {}}, "max_client_batch_size": own.most}}
        else:
            able = {"capabilities": ["classify"]} if own.protocol == "infinity" else {}
            known = {"/models": {"data": [{"id": MODEL, **able}]}}
        return self.say(200, known[self.path]) if self.path in known else self.say(404, {"error": "no such path"})

    def counters(self):
        sizes = [
            {
                "batch_size": size,
                "compute_infer": {"count": count, "ns": ns},
                "compute_input": {"count": count, "ns": 0},
            }
            for size, (count, ns) in self.hidden.stats.items()
            if size != "seen"
        ]
        return {"name": MODEL, "inference_stats": {"queue": {"count": 0, "ns": 0}}, "batch_stats": sizes}

    def do_POST(self):
        began, own = time.perf_counter(), self.hidden
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if own.down:
            return self.say(503, {"error": "down"})
        if own.protocol in ("ids", "text"):
            return self.infer(body, began)
        message = json.loads(body)
        texts = [text[0] for text in message["inputs"]] if own.protocol == "tei" else message["input"]
        if len(texts) > own.most:
            return self.say(422, {"error": f"at most {own.most} texts"})
        answers, _ = own.run(texts, began)
        if own.protocol == "openai":
            data = [{"index": at, "embedding": row} for at, row in enumerate(answers)]
            return self.say(200, {"data": data[::-1]})
        scored = [[{"label": "b", "score": row[1]}, {"label": "a", "score": row[0]}] for row in answers]
        return self.say(200, scored if own.protocol == "tei" else {"data": scored})

    def infer(self, body, began):
        import numpy as np

        own, at = self.hidden, self.headers.get("inference-header-content-length")
        message = json.loads(body[: int(at)] if at else body)
        rows = {}
        tail = body[int(at) :] if at else b""
        for each in message["inputs"]:
            size = each.get("parameters", {}).get("binary_data_size")
            if size is None:
                rows[each["name"]] = np.reshape(each["data"], each["shape"]).tolist()
            else:
                rows[each["name"]] = np.frombuffer(tail[:size], "<i8").reshape(each["shape"]).tolist()
                tail = tail[size:]
        if "input_ids" in rows:
            texts = [row[: sum(mask)] for row, mask in zip(rows["input_ids"], rows["attention_mask"], strict=True)]
        else:
            texts = [row[0] for row in rows["text"]]
        if own.fails and any(len(text) == own.fails for text in texts):
            return self.say(400, {"error": f"no text may have {own.fails} tokens"})
        if len(texts) > own.most:
            return self.say(400, {"error": f"at most {own.most} texts"})
        answers, seconds = own.run(texts, began)
        about = {"name": "logits", "datatype": "FP32", "shape": [len(answers), 2]}
        reply = {"model_name": MODEL, "outputs": [about]}
        if own.told:
            reply["parameters"] = {"batch_size": len(texts), "compute_us": seconds * 1e6, "queue_us": 0}
        if not at:
            about["data"] = [value for row in answers for value in row]
            return self.say(200, reply)
        values = np.asarray(answers, "<f4").tobytes()
        about["parameters"] = {"binary_data_size": len(values)}
        header = json.dumps(reply).encode()
        return self.say(200, header + values, [("Inference-Header-Content-Length", len(header))])


class Quiet(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request, address):
        """A client that has gone is no error of the tests."""


@contextmanager
def serving(hidden, port=0):
    """The address of a hidden server while it runs."""
    server = Quiet(("127.0.0.1", port), type("Own", (Handler,), {"hidden": hidden}))
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
