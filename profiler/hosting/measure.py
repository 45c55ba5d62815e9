"""Measure the host's times: our endpoint, in a process of its own, on a device that answers at once."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from time import perf_counter
from typing import Any, NamedTuple

import numpy as np

from profiler.executors.dry import NOTHING
from profiler.hosting.fit import AnsweredCell, fitted, rounded
from profiler.hosting.load import CONNECTIONS, ROTATED, busy, ids_request, text_request
from profiler.measuring.measure import Progress
from profiler.servers.client import HttpClient
from profiler.servers.wording import Wording
from profiler.table import LatencyTable
from traces.shared.origin import cpu_name, origin

#: Ids of words: BERT's own begin at 1000.
WORDS = (1000, 2000)
#: Requests that are sent one at a time, to see how the time before the queue and after the device compare.
ALONE = 200
#: Seconds until the endpoint is ready, or has ended.
PATIENCE_S = 120.0


class RunningEndpoint(NamedTuple):
    """An endpoint that is up, and where."""

    url: str
    pid: int


def measure_host(
    folder: Path,
    model: str,
    weights: Path | None,
    *,
    rounds: int = 3,
    seconds: float = 1.5,
    seed: int = 0,
    progress: Progress = lambda share, what: None,
) -> dict[str, Any]:
    """`host` of a table's metadata. weights: with a tokenizer.json, by which texts are sent; else token ids are.

    Raises ConnectionError where the endpoint does not start or answer.
    """
    table = LatencyTable.load(folder)
    plan, rng = table.plan(model), np.random.default_rng(seed)
    wording = None if weights is None else Wording(weights)
    lengths = sorted({plan.tokens[0], plan.tokens[len(plan.tokens) // 2], plan.max_tokens})
    drawn = {length: _drawn(length, wording, rng) for length in lengths}
    requests = {length: _requests(model, each, wording) for length, each in drawn.items()}
    answered: dict[tuple[int, int], list[Any]] = {}
    with ExitStack() as stack:
        largest = min(32, plan.max_batch)
        benches = {}
        for most in (1, largest):
            progress(0.0, f"starting the endpoint, batches of up to {most}")
            benches[most] = stack.enter_context(endpoint(folder, model, weights, f"greedy(max_batch={most})"))
        share = _ingress_share(benches[1].url, model, requests[lengths[0]])
        for _ in range(rounds):
            for most, bench in benches.items():
                for length in lengths:
                    share_done = sum(map(len, answered.values())) / (rounds * len(benches) * len(lengths))
                    progress(share_done, f"{length} tokens, batches of up to {most}")
                    found = busy(*bench, requests[length], seconds)
                    answered.setdefault((length, most), []).append(found)
    tokenizer = (0.0, 0.0) if weights is None else _tokenizing(weights, wording, drawn)
    cells = [
        AnsweredCell(length, float(np.mean([each.batches for each in own])), tuple(each.seconds for each in own),
                 tuple(each.server for each in own))
        for (length, _), own in answered.items()
    ]  # fmt: skip
    fit = fitted(cells, tokenizer, share)
    return {
        **rounded(fit.times),
        "spread": {name: round(value, 10) for name, value in fit.spread.items()},
        "inputs": "ids" if weights is None else "texts",
        "answered_s": {str(cell): float(np.mean(cell.seconds)) for cell in cells},
        "off": round(fit.off, 4),
        "valid": not fit.reasons,
        "reasons": fit.reasons,
        "processor": cpu_name(1),
        "how": f"{CONNECTIONS} connections that are never idle, {rounds} rounds of {seconds:g} s, device none",
        "measured": origin()["created"],
    }


@contextmanager
def endpoint(
    folder: Path, model: str, weights: Path | None, policy: str, device: str = NOTHING
) -> Iterator[RunningEndpoint]:
    """`python -m simulator serve` on a dry device, in a process of its own, until it is left."""
    command = [sys.executable, "-m", "simulator", "serve", "--device", device, "--port", "0", "--lame-duck-s", "0"]
    command += ["--table", str(folder), "--model", model, "--policy", policy, "--log-level", "info"]
    command += [] if weights is None else ["--weights", str(weights)]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    stuck = threading.Timer(PATIENCE_S, process.kill)
    stuck.start()
    try:
        assert process.stderr is not None
        said = ""
        for said in process.stderr:
            event = json.loads(said) if said.startswith("{") else {}
            if event.get("event") == "ready":
                break
        else:
            raise ConnectionError(f"the endpoint did not start: {said.strip()[:300]}")
        stuck.cancel()
        threading.Thread(target=process.stderr.read, daemon=True).start()
        yield RunningEndpoint(event["url"], process.pid)
    finally:
        stuck.cancel()
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _drawn(length: int, wording: Wording | None, rng: np.random.Generator) -> list[Any]:
    """Different texts of so many tokens, as ids."""
    if wording is None:
        return [rng.integers(*WORDS, length) for _ in range(ROTATED)]
    return [wording.ids(length, rng) for _ in range(ROTATED)]


def _requests(model: str, drawn: Sequence[Any], wording: Wording | None) -> list[bytes]:
    if wording is None:
        return [ids_request(model, each.tolist()) for each in drawn]
    return [text_request(model, wording.text(each)) for each in drawn]


def _ingress_share(url: str, model: str, requests: Sequence[bytes]) -> float:
    """The share of the time before the queue, of that and the time after the device, by the headers of replies."""
    shares = []
    with HttpClient(url) as client:
        for number in range(ALONE):
            body = requests[number % len(requests)].partition(b"\r\n\r\n")[2]
            headers = client.post(f"/v2/models/{model}/infer", body).headers
            total, before, *others = (
                float(headers[f"x-{name}-time"]) for name in ("total", "ingress", "tokenization", "queue", "inference")
            )
            shares.append(before / (total - sum(others)))
    return float(np.clip(np.median(shares), 0, 1))


def _tokenizing(weights: Path, wording: Wording | None, drawn: dict[int, list[Any]]) -> tuple[float, float]:
    """Seconds of the tokenizer per text, and per token of it: of the endpoint's own, here."""
    from profiler.executors.texts import open_texts

    assert wording is not None
    tokenize = open_texts(weights, max(drawn), wording.vocab, 2)
    lengths, seconds = [], []
    for length, texts in drawn.items():
        for text in map(wording.text, texts):
            times = []
            for _ in range(5):
                began = perf_counter()
                tokenize(text)
                times.append(perf_counter() - began)
            lengths.append(length)
            seconds.append(min(times))
    slope, constant = np.polyfit(lengths, seconds, 1) if len(drawn) > 1 else (0.0, float(np.median(seconds)))
    return max(0.0, float(constant)), max(0.0, float(slope))
