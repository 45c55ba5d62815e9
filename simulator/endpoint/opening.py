"""Open what is served: the model on its devices, the policy, and what listens to them."""

from __future__ import annotations

import argparse
import logging
from collections.abc import Callable
from dataclasses import asdict
from math import isfinite
from pathlib import Path
from typing import Any

from policies import describe, make, needs
from policies.interface import Policy
from policies.registry import answers_of, modules_of
from profiler.executors.dry import DRY, open_dry
from profiler.executors.server import ServerExecutor
from profiler.executors.serving import Served, default_device, labels_of, open_devices
from profiler.executors.texts import open_texts
from profiler.table import Deployment, provenance
from simulator.arguments import parameters
from simulator.defaults import default_slo_s
from simulator.devices import devices_of, refuse_tenants
from simulator.endpoint.app import Endpoint
from simulator.endpoint.keys import read_keys
from simulator.endpoint.metrics import Metrics
from simulator.endpoint.protocol import LOGITS, Limits, offered
from simulator.endpoint.recording import Recorder
from simulator.endpoint.service import Service
from simulator.executors.tenants import TenantDevices, open_tenants
from simulator.settings import Settings
from traces.lengths import SHORT_TEXT
from traces.shared.modules import digest, outside
from traces.shared.origin import origin, version

log = logging.getLogger("cohort.serve")
MIB = 1 << 20


def opened(options: argparse.Namespace) -> tuple[Endpoint, Served, Recorder | None]:
    """The endpoint of these options, its devices warm, and what records it."""
    keys = () if options.api_key_file is None else read_keys(options.api_key_file)
    deployment = Deployment.of(options.table, options.model, options.task, options.levels)
    table, model, plan = deployment.table, deployment.model, deployment.plan
    lengths = SHORT_TEXT.values.clip(max=plan.max_tokens)
    slo_s = default_slo_s(deployment.predictions, lengths) if options.slo_ms is None else options.slo_ms / 1e3
    policy = make(options.policy, parameters(options.p))
    device = options.device or default_device()
    loads = options.adapters is not None or options.adapter_budget is not None or "memory" in needs(policy)
    refuse_tenants(device, loads)
    served = _devices(options, deployment, device)
    gpus = len(served.executors)
    tenants = _tenants(options, deployment, served, policy)
    served = served if tenants is None else tenants.served
    notes = [*deployment.notes, *served.notes]
    for note in notes:
        log.warning(note)
    if source := provenance(table.meta, deployment.task):
        notes.append(f"accuracy: {deployment.task} ({source})")
        log.info(notes[-1])
    specs = [each.spec for each in served.executors[0].values()]
    classes = max(each.classes for each in specs) if tenants is None else -1
    first = next(iter(served.executors[0].values()))
    gives = first.dialect.gives if isinstance(first, ServerExecutor) else LOGITS
    named = gives == LOGITS and tenants is None and device not in DRY
    labels = labels_of(options.weights, classes) if named else ()
    vocab, types, tokenize = min(each.vocab for each in specs), min(each.types for each in specs), None
    if options.weights is not None and _has_tokenizer(Path(options.weights)):
        tokenize = open_texts(options.weights, plan.max_tokens, vocab, types)
    limits = Limits(
        vocab,
        plan.max_tokens,
        tokenize is not None,
        types=types,
        texts=options.queue,
        outputs=offered(labels),
        width=classes,
        gives=gives,
        tenants=None if tenants is None else frozenset(tenants.names),
    )
    settings = Settings(
        policy=describe(policy),
        table=options.table or table.name,
        model=model,
        task=deployment.task,
        levels=options.levels,
        slo_ms=slo_s * 1e3,
        gpus=gpus,
        device=device,
        clock="wall",
        weights=options.weights,
        adapters=options.adapters,
        adapter_budget=options.adapter_budget,
        seed=options.seed,
        digests={path: digest(Path(path)) for path in answers_of(policy)},
    )
    about = {
        "policy": settings.policy,
        "slo_ms": settings.slo_ms,
        "task": deployment.task,
        "device": served.name,
        "gpus": gpus,
        "levels": [
            {"model": each.model, "students": each.students, "depth": each.depth, "accuracy": _known(each.accuracy)}
            for each in deployment.levels
        ],
        "labels": list(labels),
        **({} if tenants is None else {"tenants": len(tenants.names)}),
        "table": {"name": table.name, "device": table.device, "digest": table.digest},
        "notes": notes,
    }
    name = options.name or model
    metrics = Metrics(name)
    listeners: list[Any] = [metrics]
    closed: list[Callable[[], object]] = []
    recorder = None
    if options.record is not None:
        run = {"settings": asdict(settings), "table": about["table"], "device": served.name, **origin()}
        run["modules"] = outside(modules_of(policy))
        recorder = Recorder(
            options.record, run, slo_s, options.record_mib * MIB, on_failure=metrics.record_failures.inc
        )
        log.info("recording", extra={"folder": str(recorder.folder)})
        listeners.append(recorder)
        closed.append(recorder.close)
    if options.otlp is not None:
        from simulator.endpoint.spans import open_spans

        spans, end = open_spans(options.otlp, name)
        listeners.append(spans)
        closed.append(end)
    try:
        service = Service(
            deployment.predictions,
            policy,
            served,
            slo_s,
            most=options.queue,
            patience_s=options.timeout_s,
            listeners=listeners,
            tenants=tenants,
        )
    except BaseException:
        for close in closed:
            close()
        raise
    metrics.watch(service)
    endpoint = Endpoint(
        service,
        name,
        limits,
        about,
        metrics,
        version() or "unknown",
        body=options.body_kib * 1024,
        within_s=options.timeout_s,
        labels=labels,
        tokenize=tokenize,
        cuts=options.long_texts == "truncate",
        keys=keys,
        closed=closed,
    )
    return endpoint, served, recorder


def _devices(options: argparse.Namespace, deployment: Deployment, device: str) -> Served:
    """The devices, warm."""
    if device in DRY:
        own = Path(options.weights) if options.weights is not None else None
        tokenizer = _folder(own) if own is not None and _has_tokenizer(own) else None
        its = deployment.table, deployment.models, deployment.plan
        return open_dry(device, *its, count=options.gpus, tokenizer=tokenizer)
    return open_devices(
        device,
        deployment.table,
        deployment.models,
        deployment.plan,
        count=devices_of(device, options.gpus),
        checkpoint=options.weights,
        seed=options.seed,
        on_progress=lambda what: log.info(what),
    )


def _tenants(
    options: argparse.Namespace, deployment: Deployment, served: Served, policy: Policy
) -> TenantDevices | None:
    """The tenants of a store, where one is named. Raises ValueError where the other options do not fit that."""
    loads = "memory" in needs(policy)
    if options.adapters is None:
        if loads or options.adapter_budget is not None:
            raise ValueError(f"{options.policy} and an adapter budget are for tenants: name their store by --adapters")
        return None
    if not loads:
        raise ValueError(f"--adapters is given, but {options.policy} loads none: take a policy such as lru(greedy)")
    from profiler.tenants.store import AdapterStore

    names = AdapterStore.open(Path(options.adapters)).names
    if options.record is not None and (bad := next((each for each in names if not each.isprintable()), None)):
        raise ValueError(f"--record keeps a request in a line, and tenant {bad!r:.60} is none: give it another name")
    its = options.adapter_budget, options.adapters, options.weights, options.seed
    return open_tenants(served, deployment, names, *its)


def _known(value: float) -> float | None:
    """A number for JSON, null where a table has none."""
    return value if isfinite(value) else None


def _has_tokenizer(weights: Path) -> bool:
    return (_folder(weights) / "tokenizer.json").exists()


def _folder(weights: Path) -> Path:
    """The folder of a checkpoint that is one, or lies in one."""
    return weights if weights.is_dir() else weights.parent
