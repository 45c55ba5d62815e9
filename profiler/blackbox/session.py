"""Measure a running server from outside, and write its table."""

from __future__ import annotations

import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from profiler.blackbox.gates import Gates
from profiler.blackbox.padding import filled, mixed, steps
from profiler.blackbox.reach import reach
from profiler.blackbox.ways import WAYS, ByCounters, ByReplies, ByRoundTrips, Way
from profiler.executors.server import ServerExecutor
from profiler.measuring import noise, summary
from profiler.measuring.grid import Grid
from profiler.measuring.journal import SampleJournal
from profiler.measuring.measure import Measurement, Progress
from profiler.measuring.rules import Rules
from profiler.servers.client import HttpClient, ServerError
from profiler.servers.offer import Offer, look_at_server
from profiler.servers.wording import Wording
from profiler.table import BucketPlan, LatencyTable, ShapeKey
from profiler.table.writing import write_table
from traces.shared.origin import origin

#: Sizes and lengths on powers of two, and some between: how a server pads is part of what it takes.
BATCHES, TOKENS = (1, 2, 3, 4, 5, 8, 9, 16), (16, 17, 24, 32, 48, 64, 128)
#: What nobody can know of a server from outside.
UNKNOWN = (
    "the model's layers and width (1 x 1 in the table)",
    "its accuracy",
    "how many replicas stand behind the URL",
)
#: What is not known besides, by way.
HIDDEN = {
    ByRoundTrips.name: ("computing apart from tokenizing and HTTP", "the sizes of the server's own batches"),
    ByCounters.name: (),
    ByReplies.name: (),
}


@dataclass(frozen=True)
class ServerModel:
    """A server and the model of it that is measured. tokenizer: a folder, needed where the server takes texts."""

    url: str
    model: str
    tokenizer: Path | None = None
    vocab: int | None = None


def measure_server(
    out: Path,
    target: ServerModel,
    budget_s: float,
    *,
    batches: Sequence[int] = BATCHES,
    tokens: Sequence[int] = TOKENS,
    seed: int = 0,
    meta: Mapping[str, Any],
    keep_samples: bool = False,
    progress: Progress = lambda share, what: None,
) -> LatencyTable | None:
    """Measure, and write the table to the folder `out`; None where the budget ended before every key had its samples.

    budget_s: of the rounds over all shapes; gates take their own time, less than a minute on a server that answers.
    What was timed is kept beside `out` until the table is there, and a repeated call goes on from there. Raises
    ServerError, LookupError or ArithmeticError in a line where the server cannot be measured.
    """
    with HttpClient(target.url) as client:
        offer = look_at_server(client, target.model)
        wording = None if target.tokenizer is None else Wording(target.tokenizer)
        batches, beyond = _within(batches, offer.most_texts, "texts")
        tokens, longer = _within(tokens, offer.most_tokens, "tokens")
        plan, rng = BucketPlan(tuple(batches), tuple(tokens)), np.random.default_rng(seed)
        server = ServerExecutor(client, offer.dialect, plan, target.model, target.vocab, wording)
        way, gates = _way(server, offer, rng), Gates()
        progress(0.0, "warming the server")
        gates.warm(way, batches[0], tokens[0])
        batches, tokens, refused = reach(way, batches, tokens)
        grid = Grid(target.model, (1,), tuple(batches), tuple(tokens), dims=server.spec)
        settings = {"url": client.url, "way": way.name, "cells": [str(cell) for cell in grid.cells()], "seed": seed}
        with SampleJournal(out.with_name(out.name + ".partial"), settings) as journal:
            waiting = _timed(way, grid, journal, budget_s, progress)
            if waiting is None:
                return None
            progress(1.0, "passing the gates")
            rows, about = _rows(journal, grid, way), _passed(gates, way, batches, tokens)
            about |= _padding(rows, way, batches, tokens)
            whole = {**meta, "seed": seed, "skipped": beyond | longer | refused, **_found(journal, waiting, grid)}
            whole |= {"kind": "black-box", "device": f"{offer.dialect.name} at {client.url}", "black_box": about}
            fills = [about["padding"][name] != "steps" for name in ("texts", "tokens")]
            jitter = summary.jitter_rows(_computed(journal, way))
            extra = [journal.folder / "samples.csv"] if keep_samples else []
            rows = filled(rows, fills)
            table = write_table(out, rows, whole | origin(), jitter=jitter, extra=extra, replace=True)
        shutil.rmtree(out.with_name(out.name + ".partial"))
        return table


def _timed(way: Way, grid: Grid, journal: SampleJournal, budget_s: float, progress: Progress) -> float | None:
    """Time every shape of the grid in rounds; None where the budget ended before each has its samples.

    Returns how long this process's threads waited for a core, as a share of the time.
    """
    rules = Rules(
        journal.elapsed_s + budget_s,
        minimum=5,
        enough=30,
        precision=0.02,
        visit_s=0.1,
        canary_s=5.0,
        rotations=1 << 30,  # a text that comes again may come from a cache
        idle_repeats=0,
    )
    cells = grid.cells()
    measurement = Measurement({grid.model: way}, cells, journal, rules, way.rng, cells[0], progress, way.draw)
    waited, began = noise.run_queue_delay_s(), time.perf_counter()
    measurement.run()
    waiting = (noise.run_queue_delay_s() - waited) / (time.perf_counter() - began)
    return None if measurement.unfinished else waiting


def _found(journal: SampleJournal, waiting: float, grid: Grid) -> dict[str, Any]:
    """What the samples say besides the rows."""
    drift = noise.canary_drift([each.seconds for each in journal.samples if each.kind == "canary"])
    found: dict[str, Any] = {"canary": str(grid.cells()[0]), "noise": noise.verdict(drift, waiting)}
    return found | {"measured_s": round(journal.elapsed_s, 1), "precision": summary.precision(journal.samples)}


def _within(sizes: Sequence[int], most: int | None, what: str) -> tuple[list[int], dict[str, str]]:
    """The sizes that a server says it takes (the most where none is), and why not the others."""
    beyond = {size for size in sizes if most is not None and size > most}
    kept = sorted(set(sizes) - beyond) or [most or 1]
    return kept, {f"{size} {what}": f"the server says that it takes {most}" for size in sorted(beyond)}


def _way(server: ServerExecutor, offer: Offer, rng: np.random.Generator) -> Way:
    """The best way that the server allows."""
    first = server.ask(server.draw(ShapeKey(1, 1, server.plan.tokens[0]), rng))
    name = ByReplies.name if first.told else ByCounters.name if offer.counters else ByRoundTrips.name
    return WAYS[name](server, rng)


def _passed(gates: Gates, way: Way, batches: Sequence[int], tokens: Sequence[int]) -> dict[str, Any]:
    """Go through the gates that follow the measurement; what they found."""
    middle, length = batches[len(batches) // 2], tokens[len(tokens) // 2]
    gates.again(way, batches[0], tokens[0], "at the end")
    gates.cache(way, length)
    gates.beyond(way, batches[-1], tokens[0])
    gates.in_flight(way, middle, length)
    rate = gates.burst(way, middle, length)
    gates.again(way, batches[0], tokens[0], "after a burst")
    server, found = way.server, {"valid": not gates.reasons, "reasons": gates.reasons, "gates": gates.found}
    found |= {"url": server.client.url, "protocol": server.dialect.name, "way": way.name, "vocab": server.spec.vocab}
    found["unknown"] = [*UNKNOWN, *HIDDEN[way.name]]
    if len(batches) == 1:
        found["capacity"] = f"{rate:.3g} texts of {length} tokens per second at saturation"
    return found


def _computed(journal: SampleJournal, way: Way) -> list[Any]:
    """The samples, timed by what the server computed where that is revealed."""
    if way.name == ByRoundTrips.name:
        return list(journal.samples)
    return [each._replace(seconds=each.device_s) for each in journal.samples]


def _rows(journal: SampleJournal, grid: Grid, way: Way) -> list[dict[str, Any]]:
    """The measured rows. wire_us: what a round trip takes beyond computing, where the server says what it computed."""
    cells = grid.cells()
    describe = dict.fromkeys(cells, way.name)
    rows = summary.latency_rows(_computed(journal, way), cells, {grid.model: grid.spec}, describe, "unknown")
    if way.name == ByRoundTrips.name:
        return [row | {"device_us": None} for row in rows]
    for cell, row in zip(cells, rows, strict=True):
        own = [each.seconds - each.device_s for each in journal.samples if (each.kind, each.cell) == ("sample", cell)]
        row["wire_us"] = round(max(0.0, float(np.median(own))) * 1e6, 1)
    return rows


def _padding(
    rows: Sequence[Mapping[str, Any]], way: Way, batches: Sequence[int], tokens: Sequence[int]
) -> dict[str, Any]:
    """How the server fills batches up, as far as it shows."""
    times = {(row["batch"], row["tokens"]): row["latency_us"] for row in rows}
    found = {"texts": steps(times, 0), "tokens": steps(times, 1)}
    try:
        found["lengths"] = mixed(way, min(8, batches[-1]), tokens[0], tokens[-1])
    except ServerError as error:
        found["lengths"] = f"unknown: {error}"
    return {"padding": found}
