"""The runs of a cell, in two rounds, each kept by its content: what was run is not run again."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from contest.cells import DATA, RECORDED, Cell, Traffic, traffic
from contest.code import code
from contest.rivals import Entry, entries
from contest.tables import Shelf
from simulator import simulate
from simulator.core import PolicyError

Row = dict[str, Any]


class Rounds(NamedTuple):
    """How a cell is run: `screening` seeds rule out all but those within `near` of the best, or the best `least`;
    these meet on the `seeds`, which alone count.

    judged: the policy that the others are held against. trust: take kept runs of others whatever code they are of.
    """

    screening: tuple[int, ...]
    seeds: tuple[int, ...]
    requests: int = 4000
    near: float = 0.03
    least: int = 4
    judged: str = "adaptive"
    trust: bool = False


class Standing(NamedTuple):
    """What the judged policy and those that came near are worth in a cell: accuracy-weighted goodput by seed, by entry.

    refused: those that do not run there.
    """

    cell: Cell
    judged: Entry
    values: dict[Entry, list[float]]
    refused: list[Entry]

    def mean(self, entry: Entry) -> float:
        return float(np.mean(self.values[entry]))

    def best(self, kind: str = "rival") -> Entry | None:
        """The best of the others of this kind."""
        others = [each for each in self.values if each != self.judged and each.kind(self.judged.policy) == kind]
        return max(others, key=self.mean, default=None)

    def leads(self, entry: Entry) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
        """By how much an entry is ahead of the judged policy, by seed."""
        return np.subtract(self.values[entry], self.values[self.judged])


class Key(NamedTuple):
    """What names a run: `exact` with the code that it goes through, `loose` without."""

    exact: str
    loose: str


def keys(cell: Cell, shelf: Shelf, rounds: Rounds) -> dict[tuple[Entry, int], Key]:
    """Of every run that a cell may need."""
    found = {}
    for entry in entries(cell, shelf, rounds.judged):
        what = [*cell, shelf.deployment(cell.table, entry.served).table.digest, rounds.requests, *entry]
        for seed in (*rounds.screening, *rounds.seeds):
            its = [*what, seed, *_recorded(cell.trace)]
            found[entry, seed] = Key(_key([*its, code(entry.at(1.0))]), _key(its))
    return found


def wanted(key: Key, entry: Entry, rounds: Rounds) -> str:
    """The key under which a run is looked for."""
    return key.loose if rounds.trust and not entry.of(rounds.judged) else key.exact


def stand(
    cell: Cell, shelf: Shelf, rounds: Rounds, known: Mapping[str, float], keep: Callable[[Sequence[Row]], None] | None
) -> Standing:
    """Run a cell, but for what is known by its key; keep is given the rows of what was run, as soon as it was."""
    every, named = entries(cell, shelf, rounds.judged), keys(cell, shelf, rounds)
    made: dict[int, Traffic] = {}

    def values(entry: Entry, seeds: Sequence[int]) -> list[float]:
        """By seed; empty where a policy does not run here."""
        found = []
        for seed in seeds:
            key = named[entry, seed]
            value = known.get(wanted(key, entry, rounds))
            if value is None:
                if seed not in made:
                    made[seed] = traffic(cell, shelf, rounds.requests, seed)
                try:
                    value = _run(entry, cell, shelf, made[seed])
                except (ValueError, PolicyError):
                    if entry.policy == rounds.judged:
                        raise
                    value = float("nan")
                if keep is not None:
                    keep([{"key": each, "value": value} for each in key])
            found.append(value)
        return [] if np.isnan(found).any() else found

    screened = {entry: float(np.mean(own)) for entry in every if (own := values(entry, rounds.screening))}
    order = sorted(screened, key=lambda entry: -screened[entry])
    rivals = [entry for entry in order if entry.kind(rounds.judged) == "rival"]
    floor = max(screened.values(), default=0.0) - rounds.near
    near = [entry for entry in order if screened[entry] >= floor or entry in rivals[: rounds.least]]
    met = {each: own for each in dict.fromkeys([every[0], *near]) if (own := values(each, rounds.seeds))}
    return Standing(cell, every[0], met, [entry for entry in every if entry not in screened])


def _run(entry: Entry, cell: Cell, shelf: Shelf, its: Traffic) -> float:
    """What a policy is worth on these arrivals. Raises ValueError or PolicyError where it does not run on them."""
    deployment = shelf.deployment(cell.table, entry.served)
    report = simulate(its.trace, entry.at(its.slo_s), deployment, slo_s=its.slo_s, gpus=cell.gpus)
    return float(report.summary["accuracy_weighted_goodput"])


def _key(what: Sequence[object]) -> str:
    return hashlib.sha256(json.dumps(what).encode()).hexdigest()[:32]


def _recorded(trace: str) -> list[str]:
    """The files behind recorded traffic, by their size: whole days are not hashed for each run."""
    return [f"{name} {os.path.getsize(DATA / name)}" for name in RECORDED.get(trace, ())]
