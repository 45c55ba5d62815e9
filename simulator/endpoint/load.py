"""python -m simulator.endpoint.load: open-loop traffic for an endpoint, by a trace, from a process of its own.

A request is sent at its time, without waiting for the answers before it. Its latency counts from that scheduled time:
a server that stalls is charged for every request that it kept waiting.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from simulator.arguments import settings_flags
from simulator.endpoint.keys import read_keys
from simulator.endpoint.protocol.request import LONGEST_SLO_MS
from simulator.endpoint.sender import Sender, Sent
from simulator.reporting.output import to_json
from traces import Trace, load
from traces.clients import client_numbers, first_rows
from traces.shared.atomic import replacing
from traces.shared.command import command_line
from traces.shared.flags import Flags

#: Ids of synthetic words: BERT's own begin at 1000.
WORDS = (1000, 2000)


def requests(trace: Trace, model: str, vocab: int, seed: int, key: str = "") -> list[bytes]:
    """What is sent for each client request of a trace: its texts, or as many ids as these have tokens.

    key: of the endpoint.
    """
    guard = f"x-api-key: {key}\r\n" if key else ""
    rng = np.random.default_rng(seed)
    made: dict[Any, bytes] = {}
    listed = []
    slo_s = np.full(len(trace), np.nan) if trace.slo_s is None else trace.slo_s
    its = (trace.tokens if trace.text is None else trace.text).tolist()
    for rows in _clients(trace):
        slo = float(slo_s[rows[0]])
        klass = "" if trace.klass is None else str(trace.klass[rows[0]])
        texts = tuple(its[row] for row in rows)
        asked = (texts, None if np.isnan(slo) else slo, klass)
        if asked not in made:
            parameters: dict[str, Any] = {} if np.isnan(slo) else {"slo_ms": min(slo * 1e3, LONGEST_SLO_MS)}
            if klass.isdigit():
                parameters["priority"] = int(klass)
            inputs = [_tensor("text", "BYTES", texts)] if trace.text is not None else _ids(texts, vocab, rng)
            content = json.dumps({"inputs": inputs, "parameters": parameters}).encode()
            head = f"POST /v2/models/{model}/infer HTTP/1.1\r\nHost: load\r\nContent-Length: {len(content)}\r\n"
            made[asked] = f"{head}{guard}\r\n".encode() + content
        listed.append(made[asked])
    return listed


def _clients(trace: Trace) -> Iterable[Sequence[int]]:
    """The rows of each client request, in the order of their arrivals."""
    if trace.parent is None:
        return ((row,) for row in range(len(trace)))
    members: dict[int, list[int]] = {}
    for row, number in enumerate(client_numbers(trace.parent).tolist()):
        members.setdefault(number, []).append(row)
    return members.values()


def _ids(lengths: Sequence[int], vocab: int, rng: np.random.Generator) -> list[dict[str, Any]]:
    """The tensors of random texts of these lengths."""
    first, last = min(WORDS[0], vocab - 1), min(WORDS[1], vocab)
    width = max(lengths)
    rows = [rng.integers(first, last, length).tolist() + [0] * (width - length) for length in lengths]
    found = [_tensor("input_ids", "INT64", rows)]
    if min(lengths) < width:
        mask = [[1] * length + [0] * (width - length) for length in lengths]
        found.append(_tensor("attention_mask", "INT64", mask))
    return found


def _tensor(name: str, datatype: str, rows: Sequence[Any]) -> dict[str, Any]:
    """A tensor of a request: texts, or rows of equal length."""
    if datatype == "BYTES":
        return {"name": name, "datatype": datatype, "shape": [len(rows)], "data": rows}
    flat = [value for row in rows for value in row]
    return {"name": name, "datatype": datatype, "shape": [len(rows), len(rows[0])], "data": flat}


def send(
    url: str,
    trace: Trace,
    model: str,
    *,
    vocab: int = 30522,
    connections: int = 512,
    patience_s: float = 35.0,
    seed: int = 0,
    key: str = "",
) -> Sent:
    """Send a trace's client requests at their times. Raises ValueError where no server answers at that address."""
    bodies = requests(trace, model, vocab, seed, key)
    due_s = trace.arrival_s if trace.parent is None else trace.arrival_s[np.unique(first_rows(trace.parent))]

    async def run() -> Sent:
        return await Sender(url, bodies, due_s, connections).run(patience_s)

    return asyncio.run(run())


@command_line("python -m simulator.endpoint.load")
def main(arguments: list[str], prog: str) -> int:
    """Send traffic and print what came of it, as JSON."""
    flags = Flags(prog=prog, description=__doc__)
    flags.add_argument("--url", default="http://127.0.0.1:8000")
    flags.add_argument("--model", required=True, metavar="NAME", help="as the endpoint calls it")
    flags.add_argument("--trace", default="poisson:rate=50,duration=10", metavar="FILE|SPEC|NAME")
    flags.add_argument("--rate", type=float, metavar="R", help="mean requests per second")
    settings_flags(flags, "start", "duration", "bin_s", "time_unit")
    flags.add_argument("--max-tokens", type=int, default=128, help="clip lengths to this (default: 128)")
    flags.add_argument("--vocab", type=int, default=30522, help="token ids are below this (default: BERT's 30522)")
    flags.add_argument("--slo-ms", type=float, metavar="MS", help="count answers within this as on time")
    flags.add_argument("--connections", type=int, default=512, metavar="N", help="at most so many (default: 512)")
    flags.add_argument("--api-key-file", type=Path, metavar="FILE", help="the first key in it is sent")
    flags.add_argument("--seed", type=int, default=0)
    flags.add_argument("--out", type=Path, metavar="CSV", help="write a row per request")
    options = flags.parse_args(arguments)
    kept = ("rate", "start", "duration", "bin_s", "time_unit", "seed", "max_tokens")
    trace = load(options.trace, **{name: getattr(options, name) for name in kept})
    key = "" if options.api_key_file is None else read_keys(options.api_key_file)[0].decode()
    named = {name: getattr(options, name) for name in ("vocab", "connections", "seed")}
    sent = send(options.url, trace, options.model, key=key, **named)
    if options.out is not None:
        names = ("due_s", "late_s", "latency_s", "status", "students", "batch_size")
        columns = np.column_stack([getattr(sent, name) for name in names])
        with replacing(options.out) as part:
            np.savetxt(part, columns, "%.9g", ",", header=",".join(names), comments="")
    print(to_json(sent.summary(None if options.slo_ms is None else options.slo_ms / 1e3)), end="")
    return 0


if __name__ == "__main__":
    sys.exit(main())
