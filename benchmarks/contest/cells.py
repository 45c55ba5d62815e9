"""Cells of the contest: which traffic at which load and target, on what; a grid of them, and some at random."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cache
from itertools import product
from pathlib import Path
from typing import NamedTuple
from zlib import crc32

import numpy as np

from analysis.sweeps.origin import ROOT
from contest.tables import SERVED, STEEP, TABLES, Shelf
from profiler.table import Deployment
from simulator.defaults import default_slo_s, saturation
from traces import Trace, load
from traces.lengths import LENGTHS
from traces.spec import Spec, call

#: A cell lasts for so many of its targets, or longer.
TARGETS = 20
#: Generated traffic: `stays` are in full batches of the highest level, `period` in runs.
GENERATED = ("poisson", "mmpp:levels=1/5,stays=60/20", "diurnal:period=0.5")
#: Fitted traffic that is compressed from hours, by its seconds.
FITTED = {"azure-conversation-like": 3500.0, "azure-code-like": 3500.0, "twitter-like": 84_660.0}
#: Recorded traffic of ../shared/data: the files that seeds take turns with.
RECORDED = {
    "twitter-2021": [f"twitter_stream_2021_08/day{day:02}.csv.gz" for day in range(1, 8)],
    "azure-conversation-2023": ["azure_llm_2023_conv/AzureLLMInferenceTrace_conv.csv.gz"],
}
DATA = ROOT.parent / "shared" / "data"
LOADS, SLOS, GPUS = (0.3, 0.6, 0.9, 1.2, 2.0, 4.0, 7.0, 8.0), (2.0, 5.0, 20.0), (1, 2, 4, 8)
#: One length, or many. "one" is 32 tokens; `synthetic` serves texts of its greatest length, as in its other uses.
ONE, MIXED = "one", "short-text"


class Cell(NamedTuple):
    """Traffic on a table. load: of the highest level of students; slo: in times of one such request alone."""

    table: str
    served: str
    trace: str
    load: float
    slo: float
    gpus: int
    lengths: str

    def __str__(self) -> str:
        return (
            f"{self.table} {self.served}, {self.trace}, load {self.load:g}, SLO {self.slo:g}x, "
            f"{self.gpus} GPU{'s' * (self.gpus > 1)}, {self.lengths}"
        )


class Traffic(NamedTuple):
    """What arrives in a cell, and its target in seconds."""

    trace: Trace
    slo_s: float


def present(data: Path = DATA) -> list[str]:
    """The recorded traffic that is there."""
    return [name for name, files in RECORDED.items() if all((data / file).is_file() for file in files)]


def grid(shelf: Shelf, traces: Sequence[str]) -> list[Cell]:
    """All cells of the grid, in an order in which every beginning is a fair sample."""
    tables = [table + steep for table in TABLES for steep in ("", STEEP)]
    every = product(tables, SERVED, traces, LOADS, SLOS, GPUS, (ONE, MIXED))
    cells = [Cell(*each) for each in every if shelf.offers(each[0], each[1])]
    return [cells[at] for at in np.random.default_rng(0).permutation(len(cells))]


def at_random(shelf: Shelf, count: int, seed: int, traces: Sequence[str]) -> list[Cell]:
    """Cells between those of the grid: any load, target and burstiness, two kinds of traffic and lengths more."""
    rng = np.random.default_rng(seed)
    cells: list[Cell] = []
    while len(cells) < count:
        table, served = str(rng.choice(TABLES)) + str(rng.choice(["", STEEP])), str(rng.choice(list(SERVED)))
        levels, stays = f"1/{rng.uniform(2, 12):.1f}", f"{rng.uniform(20, 200):.0f}/{rng.uniform(2, 40):.0f}"
        bursty = [f"mmpp:levels={levels},stays={stays}", f"gamma:cv={rng.uniform(1.5, 6):.1f}"]
        trace = str(rng.choice([*traces, *bursty]))
        offered, slo = (float(f"{np.exp(rng.uniform(*np.log(ends))):.3g}") for ends in ((0.3, 8), (2, 20)))
        lengths = str(rng.choice([ONE, MIXED, "constant:tokens=64", "lognormal:median=20"]))
        gpus = int(rng.choice(GPUS))
        if shelf.offers(table, served):
            cells.append(Cell(table, served, trace, offered, slo, gpus, lengths))
    return cells


def traffic(cell: Cell, shelf: Shelf, requests: int, seed: int, data: Path = DATA) -> Traffic:
    """About so many requests, or what comes in TARGETS targets; each cell has its own numbers from a seed."""
    own = int(np.random.SeedSequence([seed, crc32(repr(cell).encode())]).generate_state(1)[0])
    students = shelf.deployment(cell.table, "students")
    plan, rng = students.plan, np.random.default_rng(own)
    tokens = _lengths(cell, students, rng)
    full = cell.gpus * saturation(students.predictions, plan.buckets(tokens))
    rate, slo_s = cell.load * full, cell.slo * default_slo_s(students.predictions, tokens) / 5
    seconds = max(requests, TARGETS * rate * slo_s) / rate
    arrival_s = _arrivals(cell.trace, rate, seconds, plan.max_batch / full * cell.gpus, own, data)
    return Traffic(Trace(arrival_s, np.resize(tokens, len(arrival_s)), source=cell.trace), slo_s)


def _lengths(cell: Cell, students: Deployment, rng: np.random.Generator) -> np.ndarray[tuple[int], np.dtype[np.int32]]:
    most, spec = students.plan.max_tokens, cell.lengths
    if spec == ONE:
        spec = f"constant:tokens={most if cell.table.startswith('synthetic') else 32}"
    named = Spec.parse(spec)
    return call(LENGTHS[named.kind], named)(rng, np.linspace(0, 1, 4096)).clip(1, most).astype(np.int32)


def _arrivals(
    name: str, rate: float, seconds: float, batch_s: float, seed: int, data: Path
) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """Arrivals in [0, seconds]. Hours are thinned to as many and compressed, so that their whole shape is met."""
    if name not in FITTED and name not in RECORDED:
        spec = re.sub(r"(?<=stays=)([\d.]+)/([\d.]+)", lambda each: _scaled(each, batch_s), name)
        spec = re.sub(r"(?<=period=)([\d.]+)", lambda each: _scaled(each, seconds), spec)
        return load(spec, rate=rate, duration=seconds, seed=seed).arrival_s
    if name in FITTED:
        whole = FITTED[name]
        arrival_s = load(name, rate=rate * seconds / whole, duration=whole, seed=seed).arrival_s
    else:
        file = data / RECORDED[name][seed % len(RECORDED[name])]
        begin, end, recorded = _extent(file)
        whole = end - begin
        mode = "thin" if rate * seconds < recorded else "superpose"
        thinned = load(file, rate=rate * seconds / whole, rate_mode=mode, seed=seed)
        arrival_s = thinned.arrival_s - begin
    return arrival_s * (seconds / whole)


@cache
def _extent(file: Path) -> tuple[float, float, int]:
    """The window of a file in seconds, and how many arrive in it."""
    recorded = load(file)
    return *recorded.window, len(recorded)


def _scaled(found: re.Match[str], unit_s: float) -> str:
    return "/".join(f"{float(each) * unit_s:.6g}" for each in found.groups())
