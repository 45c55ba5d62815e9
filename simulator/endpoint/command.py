"""python -m simulator serve: a policy and a device behind the Open Inference Protocol."""

from __future__ import annotations

import argparse
import asyncio
import gc
import logging
import logging.config
import re
import signal
import socket
from ipaddress import ip_address
from pathlib import Path
from typing import Any

from simulator.arguments import settings_flags
from simulator.settings import refuse_beyond
from traces.shared.command import command_line
from traces.shared.flags import Flags

log = logging.getLogger("cohort.serve")
#: Of seconds, requests, connections, KiB and MiB: more than anybody means.
MOST = 10**9


def parser(prog: str = "python -m simulator serve") -> argparse.ArgumentParser:
    """The flags."""
    flags = Flags(
        prog=prog,
        description="Serve a model with a batching and pruning policy, on a real device, over HTTP: the Open Inference "
        "Protocol, version 2, with Prometheus metrics, and a record of what arrived that the simulator replays.",
    )
    what = flags.add_argument_group("what is served, how")
    settings_flags(what, "policy", "slo_ms", slo_ms="target of requests that do not name their own")
    what.add_argument("-p", action="append", default=[], metavar="KEY=VALUE", help="a parameter of the policy")
    device = flags.add_argument_group("device")
    settings_flags(
        device,
        *("device", "gpus", "table", "model", "task", "levels", "weights", "adapters", "adapter_budget", "seed"),
        device="cpu, cuda (the default where there is one), http://HOST:PORT, a running server (repeatable); none "
        "answers zeros at once, table when the table says: dry runs of everything around a device",
        gpus="devices behind one queue",
        table="measured latencies, which the policy believes",
        weights="checkpoint, with tokenizer.json for texts",
        adapters="a store of tenants, of which every request names one",
        adapter_budget="on each device, for the adapters of tenants: bytes, or with KiB, MiB, GiB (default: for all)",
        seed="of random weights",
    )
    device.add_argument("--name", metavar="NAME", help="of the model, as clients ask for it (default: the table's)")
    http = flags.add_argument_group("http")
    http.add_argument(
        "--host",
        default="127.0.0.1",
        metavar="ADDRESS",
        help="address to listen on (default: 127.0.0.1, this machine only)",
    )
    http.add_argument("--port", type=int, default=8000, metavar="N", help="0 takes a free one (default: 8000)")
    http.add_argument(
        "--api-key-file", type=Path, metavar="FILE", help="keys, one a line; requests need one, but for /v2/health"
    )
    http.add_argument(
        "--lame-duck-s", type=float, default=5.0, metavar="S",
        help="after SIGTERM, answer for so long with health not ready, then end (default: 5)",
    )  # fmt: skip
    limits = flags.add_argument_group("limits")
    limits.add_argument(
        "--queue", type=int, default=1024, metavar="N", help="texts inside, in all; more get 503 (default: 1024)"
    )
    limits.add_argument(
        "--connections", type=int, default=1024, metavar="N", help="open connections; more get 503 (default: 1024)"
    )
    limits.add_argument(
        "--body-kib", type=int, default=256, metavar="N", help="a request's body; more gets 413 (default: 256)"
    )
    limits.add_argument(
        "--timeout-s", type=float, default=30.0, metavar="S", help="until a request gets 504 (default: 30)"
    )
    limits.add_argument(
        "--patience-s",
        type=float,
        default=10.0,
        metavar="S",
        help="for a client to send a request, or take answers (default: 10)",
    )
    limits.add_argument(
        "--long-texts",
        choices=["truncate", "refuse"],
        default="truncate",
        help="beyond the table's longest (default: truncate)",
    )
    record = flags.add_argument_group("record")
    record.add_argument("--record", type=Path, metavar="DIR", help="write what arrives, and what becomes of it")
    record.add_argument("--record-mib", type=int, default=256, metavar="N", help="the most disk for it (default: 256)")
    record.add_argument("--otlp", metavar="URL", help="send spans to this OpenTelemetry collector (extra otlp)")
    record.add_argument("--log-level", default="info", choices=["debug", "info", "warning", "error"],
                        help="what is logged, from this level on (default: info)")  # fmt: skip
    return flags


@command_line("python -m simulator serve")
def main(arguments: list[str], prog: str) -> int:
    """Serve until SIGTERM or Ctrl-C; returns the exit status.

    0 drained, 1 the executor failed or records were lost, 2 bad input.
    """
    return _serve(parser(prog).parse_args(arguments))


def _serve(options: argparse.Namespace) -> int:
    _refuse_nonsense(options)
    import uvicorn

    from simulator.endpoint.connections import limited
    from simulator.endpoint.ending import LameDuck
    from simulator.endpoint.logs import configuration
    from simulator.endpoint.opening import opened

    logging.config.dictConfig(configuration(options.log_level))
    with bound(options.host, options.port) as listening:
        endpoint, served, recorder = opened(options)
        if not endpoint.keys and not ip_address(listening.getsockname()[0]).is_loopback:
            log.warning("others can reach this address, and no key is asked for: give --api-key-file")
        config = uvicorn.Config(
            endpoint.app(),
            http=limited(options.connections, options.patience_s),
            ws="none",
            lifespan="on",
            log_config=None,
            access_log=False,
            proxy_headers=False,
            server_header=False,
            timeout_graceful_shutdown=int(options.timeout_s) + 1,
        )
        host, port = listening.getsockname()[:2]
        url = f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
        # These objects live until the end: keep the collector from scanning them.
        gc.collect()
        gc.freeze()
        # uvicorn drains on these signals, then raises them again for the earlier handlers.
        previous = {each: signal.signal(each, lambda *_: None) for each in (signal.SIGINT, signal.SIGTERM)}
        try:
            server = LameDuck(config, options.lame_duck_s, endpoint.service.drain)
            asyncio.run(_until_told(server, listening, url))
        finally:
            gc.unfreeze()
            for each, handler in previous.items():
                signal.signal(each, handler)
    if not (failed := not endpoint.service.alive):
        served.close()
    if lost := 0 if recorder is None else recorder.lost:
        log.error("records lost", extra={"lines": lost, "folder": str(options.record)})
    log.info("ended", extra={"failed": failed})
    return int(failed or lost > 0)


async def _until_told(server: Any, listening: socket.socket, url: str) -> None:
    """Run the server; say where it is once it can be reached."""
    serving = asyncio.create_task(server.serve(sockets=[listening]))
    while not (server.started or serving.done()):
        await asyncio.sleep(0.01)
    if server.started:
        log.info("ready", extra={"url": url})
    await serving


def _refuse_nonsense(options: argparse.Namespace) -> None:
    for name in ("gpus", "slo_ms", "seed"):
        refuse_beyond(name, getattr(options, name))
    for name in ("queue", "connections", "body_kib", "timeout_s", "patience_s", "record_mib"):
        if not 0 < (value := getattr(options, name)) <= MOST:
            raise ValueError(f"--{name.replace('_', '-')} is {value}; it must be above 0, and at most {MOST:,}")
    if not 0 <= options.lame_duck_s <= MOST:
        raise ValueError(f"--lame-duck-s is {options.lame_duck_s}; it must be 0 or more, and at most {MOST:,}")
    if options.name is not None and not re.fullmatch(r"[\w.:-]{1,128}", options.name, re.ASCII):
        raise ValueError(f"--name is {options.name!r}; it must be 1 to 128 letters, digits, and . : _ -")
    if not 0 <= options.port < 65536:
        raise ValueError(f"--port is {options.port}; it must lie in 0 to 65535")


def bound(host: str, port: int) -> socket.socket:
    """A bound socket that does not listen until the server is ready."""
    try:
        family, kind, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    except OSError as error:
        raise ValueError(f"cannot listen on {host}: {error.strerror or error}") from None
    made = socket.socket(family, kind)
    # Else the body of an answer waits 40 ms for the client's delayed acknowledgement of its head: asyncio sets it only
    # on sockets made with the protocol's number. Connections inherit it.
    made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    try:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.bind(address)
    except OSError as error:
        made.close()
        raise ValueError(f"cannot listen on {host}, port {port}: {error.strerror or error}") from None
    return made
