"""The runs of a cell, in two rounds, each kept by its content: what was run is not run again."""

from __future__ import annotations

import ast
import hashlib
import json
import os
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from analysis.sweeps.origin import ROOT
from contest.cells import DATA, RECORDED, Cell, Traffic, traffic
from contest.rivals import ADAPTIVE, Entry, entries
from contest.tables import Shelf
from policies import make
from policies.registry import modules_of
from simulator import simulate
from simulator.core import PolicyError

#: Code that all runs go through; of the policies only what they share.
_SHARED = ("traces/**/*.py", "traces/shipped/*", "simulator/**/*.py", "profiler/table/*.py", "policies/*.py",
           "policies/machinery/*.py", "benchmarks/contest/cells.py", "benchmarks/contest/tables.py")  # fmt: skip
Row = dict[str, Any]


class Rounds(NamedTuple):
    """How a cell is run: `screening` seeds rule out all but those within `near` of the best, or the best `least`;
    these meet on the `seeds`, which alone count."""

    screening: tuple[int, ...]
    seeds: tuple[int, ...]
    requests: int = 4000
    near: float = 0.03
    least: int = 4


class Standing(NamedTuple):
    """What adaptive and those that came near are worth in a cell: accuracy-weighted goodput by seed, by entry.

    refused: those that do not run there.
    """

    cell: Cell
    values: dict[Entry, list[float]]
    refused: list[Entry]

    def mean(self, entry: Entry) -> float:
        return float(np.mean(self.values[entry]))

    @property
    def adaptive(self) -> Entry:
        return Entry(ADAPTIVE, self.cell.served)

    def best(self, own: bool = False) -> Entry | None:
        """The best of the others; own: of those that are made of adaptive, or serve less with it."""
        others = [each for each in self.values if each != self.adaptive and each.own() == own]
        return max(others, key=self.mean, default=None)

    def leads(self, entry: Entry) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
        """By how much an entry is ahead of adaptive, by seed."""
        return np.subtract(self.values[entry], self.values[self.adaptive])


def keys(cell: Cell, shelf: Shelf, rounds: Rounds) -> dict[tuple[Entry, int], str]:
    """The content key of every run that a cell may need."""
    seeds, size = [*rounds.screening, *rounds.seeds], [rounds.requests]
    return {
        (entry, seed): _key([*cell, shelf.deployment(cell.table, entry.served).table.digest, *size, *entry, seed,
                             code(entry.policy), *_recorded(cell.trace)])
        for entry in entries(cell, shelf) for seed in seeds
    }  # fmt: skip


def stand(
    cell: Cell, shelf: Shelf, rounds: Rounds, known: Mapping[str, float], keep: Callable[[Sequence[Row]], None] | None
) -> Standing:
    """Run a cell, but for what is known by its key; keep is given the rows of what was run, as soon as it was."""
    every, named = entries(cell, shelf), keys(cell, shelf, rounds)
    made: dict[int, Traffic] = {}

    def values(entry: Entry, seeds: Sequence[int]) -> list[float]:
        """By seed; empty where a policy does not run here."""
        found = []
        for seed in seeds:
            key = named[entry, seed]
            value = known.get(key)
            if value is None:
                if seed not in made:
                    made[seed] = traffic(cell, shelf, rounds.requests, seed)
                value = _run(entry, cell, shelf, made[seed])
                if keep is not None:
                    keep([{"key": key, "value": value}])
            found.append(value)
        return [] if np.isnan(found).any() else found

    screened = {entry: float(np.mean(own)) for entry in every if (own := values(entry, rounds.screening))}
    order = sorted(screened, key=lambda entry: -screened[entry])
    rivals = [entry for entry in order if not entry.own()]
    floor = max(screened.values(), default=0.0) - rounds.near
    near = [entry for entry in order if screened[entry] >= floor or entry in rivals[: rounds.least]]
    adaptive = Entry(ADAPTIVE, cell.served)
    met = {each: own for each in dict.fromkeys([adaptive, *near]) if (own := values(each, rounds.seeds))}
    return Standing(cell, met, [entry for entry in every if entry not in screened])


def _run(entry: Entry, cell: Cell, shelf: Shelf, its: Traffic) -> float:
    """What a policy is worth on these arrivals; NaN where it does not run on them."""
    deployment = shelf.deployment(cell.table, entry.served)
    try:
        report = simulate(its.trace, entry.at(its.slo_s), deployment, slo_s=its.slo_s, gpus=cell.gpus)
    except (ValueError, PolicyError):
        if entry.policy == ADAPTIVE:
            raise
        return float("nan")
    return float(report.summary["accuracy_weighted_goodput"])


def _key(what: Sequence[object]) -> str:
    return hashlib.sha256(json.dumps(what).encode()).hexdigest()[:32]


def _recorded(trace: str) -> list[str]:
    """The files behind recorded traffic, by their size: whole days are not hashed for each run."""
    return [f"{name} {os.path.getsize(DATA / name)}" for name in RECORDED.get(trace, ())]


@cache
def code(policy: str) -> str:
    """Hash of the code that a run with this policy goes through: another policy's does not matter."""
    spec = Entry(policy, "").at(1.0)
    own = {ROOT / f"{name.replace('.', '/')}.py" for name in modules_of(make(spec)) if name.startswith("policies.")}
    shared = {path for pattern in _SHARED for path in ROOT.glob(pattern) if path.is_file()}
    digest = hashlib.sha256(np.__version__.encode())
    for path in sorted(shared | _reached(own)):
        digest.update(f"{path.relative_to(ROOT)}\0".encode() + path.read_bytes())
    return digest.hexdigest()[:16]


def _reached(paths: set[Path]) -> set[Path]:
    """These files of ours and those that they import, one through another."""
    found, left = set[Path](), list(paths)
    while left:
        path = left.pop()
        if path in found or not path.is_file() or path.name == "catalogue.py":  # that has them all
            continue
        found.add(path)
        names = [
            name
            for node in ast.walk(ast.parse(path.read_bytes()))
            if isinstance(node, ast.ImportFrom) and node.module and not node.level
            for name in (node.module, *(f"{node.module}.{each.name}" for each in node.names))
        ]
        left += [ROOT / f"{name.replace('.', '/')}.py" for name in names if name.startswith(("policies.", "analysis."))]
    return found
