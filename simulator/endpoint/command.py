"""python -m simulator serve: a policy and a device behind the Open Inference Protocol."""

from __future__ import annotations

import argparse
import asyncio
import gc
import logging
import logging.config
import signal
import socket
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from policies import describe, make
from profiler.table import Deployment
from simulator.arguments import parameters, settings_flags
from simulator.defaults import default_slo_s
from simulator.settings import Settings, refuse_beyond
from traces.lengths import SHORT_TEXT
from traces.shared.command import Flags, command_line
from traces.shared.origin import origin, version

if TYPE_CHECKING:
    from profiler.executors.serving import Served
    from simulator.endpoint.app import Endpoint

log = logging.getLogger("cohort.serve")
MIB = 1 << 20
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
        *("device", "gpus", "table", "model", "task", "levels", "weights", "seed"),
        device="default: cuda if there is one",
        gpus="devices behind one queue",
        table="measured latencies, which the policy believes",
        weights="checkpoint, with tokenizer.json for texts",
        seed="of random weights",
    )
    http = flags.add_argument_group("http")
    http.add_argument(
        "--host", default="127.0.0.1", help="address to listen on (default: 127.0.0.1, this machine only)"
    )
    http.add_argument("--port", type=int, default=8000, help="0 takes a free one (default: 8000)")
    limits = flags.add_argument_group("limits")
    limits.add_argument("--queue", type=int, default=1024, metavar="N", help="requests inside; more get 503")
    limits.add_argument("--connections", type=int, default=1024, metavar="N", help="open connections; more get 503")
    limits.add_argument("--body-kib", type=int, default=256, metavar="N", help="a request's body; more gets 413")
    limits.add_argument("--timeout-s", type=float, default=30.0, metavar="S", help="until a request gets 504")
    limits.add_argument("--patience-s", type=float, default=10.0, metavar="S", help="for a client to send a request")
    record = flags.add_argument_group("record")
    record.add_argument("--record", type=Path, metavar="DIR", help="write what arrives, and what becomes of it")
    record.add_argument("--record-mib", type=int, default=256, metavar="N", help="the most disk for it (default: 256)")
    record.add_argument("--log-level", default="info", choices=["debug", "info", "warning", "error"])
    return flags


@command_line("python -m simulator serve")
def main(arguments: list[str], prog: str) -> int:
    """Serve until SIGTERM or Ctrl-C; returns the exit status: 0 drained, 1 the executor failed, 2 bad input."""
    return _serve(parser(prog).parse_args(arguments))


def _serve(options: argparse.Namespace) -> int:
    _refuse_nonsense(options)
    import uvicorn

    from simulator.endpoint.connections import limited
    from simulator.endpoint.logs import configuration

    logging.config.dictConfig(configuration(options.log_level))
    with _bound(options.host, options.port) as listening:
        endpoint, served = _endpoint(options)
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
            asyncio.run(_until_told(uvicorn.Server(config), listening, url))
        finally:
            gc.unfreeze()
            for each, handler in previous.items():
                signal.signal(each, handler)
    if not (failed := not endpoint.service.alive):
        served.close()
    log.info("ended", extra={"failed": failed})
    return int(failed)


async def _until_told(server: Any, listening: socket.socket, url: str) -> None:
    """Run the server; say where it is once it can be reached."""
    serving = asyncio.create_task(server.serve(sockets=[listening]))
    while not (server.started or serving.done()):
        await asyncio.sleep(0.01)
    if server.started:
        log.info("ready", extra={"url": url})
    await serving


def _endpoint(options: argparse.Namespace) -> tuple[Endpoint, Served]:
    """The endpoint, its devices warm."""
    from profiler.executors.serving import default_device, open_devices
    from profiler.executors.tokens import open_tokenizer
    from simulator.endpoint.app import Endpoint
    from simulator.endpoint.metrics import Metrics
    from simulator.endpoint.protocol import Limits
    from simulator.endpoint.recording import Recorder
    from simulator.endpoint.service import Service

    deployment = Deployment.of(options.table, options.model, options.task, options.levels)
    table, model, plan = deployment.table, deployment.model, deployment.plan
    lengths = SHORT_TEXT.values.clip(max=plan.max_tokens)
    slo_s = default_slo_s(deployment.predictions, lengths) if options.slo_ms is None else options.slo_ms / 1e3
    policy = make(options.policy, parameters(options.p))
    device = options.device or default_device()
    served = open_devices(
        device,
        table,
        deployment.models,
        plan,
        count=options.gpus,
        checkpoint=options.weights,
        seed=options.seed,
        on_progress=lambda what: log.info(what),
    )
    notes = [*deployment.notes, *served.notes]
    for note in notes:
        log.warning(note)
    tokenize = None
    if options.weights is not None and _has_tokenizer(Path(options.weights)):
        tokenize = open_tokenizer(options.weights, plan.max_tokens)
    specs = [each.spec for each in served.executors[0].values()]
    limits = Limits(min(each.vocab for each in specs), plan.max_tokens, tokenize is not None)
    settings = Settings(
        policy=describe(policy),
        table=options.table or table.name,
        model=model,
        task=deployment.task,
        levels=options.levels,
        slo_ms=slo_s * 1e3,
        gpus=options.gpus,
        device=device,
        clock="wall",
        weights=options.weights,
        seed=options.seed,
    )
    about = {
        "policy": settings.policy,
        "slo_ms": settings.slo_ms,
        "task": deployment.task,
        "device": served.name,
        "gpus": options.gpus,
        "levels": [
            {"model": each.model, "students": each.students, "depth": each.depth, "accuracy": each.accuracy}
            for each in deployment.levels
        ],
        "table": {"name": table.name, "device": table.device, "digest": table.digest},
        "notes": notes,
    }
    metrics = Metrics(model)
    listeners: list[Any] = [metrics]
    closed: list[Callable[[], object]] = []
    if options.record is not None:
        run = {"settings": asdict(settings), "table": about["table"], "device": served.name, **origin()}
        recorder = Recorder(options.record, run, slo_s, options.record_mib * MIB)
        log.info("recording", extra={"folder": str(recorder.folder)})
        listeners.append(recorder)
        closed.append(recorder.close)
    service = Service(
        deployment.predictions,
        policy,
        served,
        slo_s,
        most=options.queue,
        patience_s=options.timeout_s,
        listeners=listeners,
    )
    metrics.watch(service)
    endpoint = Endpoint(
        service,
        model,
        max(each.outputs for each in specs),
        limits,
        about,
        metrics,
        version() or "unknown",
        body=options.body_kib * 1024,
        within_s=options.timeout_s,
        tokenize=tokenize,
        closed=closed,
    )
    return endpoint, served


def _has_tokenizer(weights: Path) -> bool:
    return ((weights if weights.is_dir() else weights.parent) / "tokenizer.json").exists()


def _refuse_nonsense(options: argparse.Namespace) -> None:
    for name in ("gpus", "slo_ms", "seed"):
        refuse_beyond(name, getattr(options, name))
    for name in ("queue", "connections", "body_kib", "timeout_s", "patience_s", "record_mib"):
        if not 0 < (value := getattr(options, name)) <= MOST:
            raise ValueError(f"--{name.replace('_', '-')} is {value}; it must be above 0, and at most {MOST:,}")
    if not 0 <= options.port < 65536:
        raise ValueError(f"--port is {options.port}; it must lie in 0 to 65535")


def _bound(host: str, port: int) -> socket.socket:
    """A bound socket that does not listen until the server is ready."""
    try:
        family, kind, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    except OSError as error:
        raise ValueError(f"cannot listen on {host}: {error.strerror or error}") from None
    bound = socket.socket(family, kind)
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind(address)
    except OSError as error:
        bound.close()
        raise ValueError(f"cannot listen on {host}, port {port}: {error.strerror or error}") from None
    return bound
