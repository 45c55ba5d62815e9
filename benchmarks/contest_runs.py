"""What policies are worth in the cells of the contest: traffic, runs, and what is kept of them."""

from __future__ import annotations

import hashlib
import inspect
import json
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from analysis.comparisons.optimum import ceiling
from analysis.sweeps.origin import ROOT
from analysis.sweeps.store import Store
from profiler.table import Deployment, LatencyTable, Predictions
from simulator import simulate
from simulator.core import PolicyError
from simulator.defaults import default_slo_s, saturation
from traces import Trace, load
from traces.lengths import SHORT_TEXT

#: Traffic by name: a spec with its own clock, in full batches of the highest level, or the seconds of one that is
#: compressed from hours.
PROCESSES = {
    "poisson": "poisson:",
    "mmpp": "mmpp:levels=1/5,stays={long:.6g}/{short:.6g},",
    "diurnal": "diurnal:period={period:.6g},",
}
COMPRESSED = {"azure-conversation-like": 3500.0, "azure-code-like": 3500.0, "twitter-like": 86400.0}
#: The accuracies, of all tables alike.
TASK = "illustrative"
#: The folder of what adaptive alone is made of.
OWN = "adaptive"
Values = NDArray[np.float64]


class Setting(NamedTuple):
    """A table with what is served on it. tokens: the one length, None for the built-in mix."""

    table: LatencyTable
    predictions: Predictions
    tokens: int | None

    @classmethod
    def load(cls, name: str) -> Setting:
        its = Deployment.of(name, task=TASK)
        return cls(its.table, its.predictions, its.plan.max_tokens if name == "synthetic" else None)

    def alone_s(self) -> float:
        """Seconds of one request of the median length at the highest level."""
        tokens = SHORT_TEXT.values if self.tokens is None else np.array([self.tokens])
        return default_slo_s(self.predictions, np.minimum(tokens, self.predictions.plan.max_tokens)) / 5

    def traffic(self, name: str, offered: float, requests: int, seed: int) -> Trace:
        """About so many requests of this kind at this load."""
        rng = np.random.default_rng(seed)
        tokens = np.full(4096, self.tokens) if self.tokens else SHORT_TEXT(rng, np.linspace(0, 1, 4096))
        tokens = np.minimum(tokens, self.predictions.plan.max_tokens).astype(np.int32)
        full = saturation(self.predictions, self.predictions.plan.buckets(tokens))
        rate = offered * full
        if name in COMPRESSED:
            seconds = COMPRESSED[name]
            arrival_s = load(name, rate=requests / seconds, duration=seconds, seed=seed).arrival_s
            arrival_s = arrival_s * (requests / rate / seconds)
        else:
            batch_s, seconds = self.predictions.plan.max_batch / full, requests / rate
            spec = PROCESSES[name].format(long=60 * batch_s, short=20 * batch_s, period=seconds / 2)
            arrival_s = load(f"{spec}rate={rate:.6g},duration={seconds:.6g}", seed=seed).arrival_s
        return Trace(arrival_s, tokens[np.arange(len(arrival_s)) % len(tokens)], source=name)


class Cell(NamedTuple):
    """Traffic on a table at a load. slo: in times of one request alone."""

    table: str
    trace: str
    load: float
    slo: float


class Runs:
    """Accuracy-weighted goodput by cell, policy and seed; with a folder each is run once for the same code."""

    def __init__(self, tables: Sequence[str], requests: int, folder: Path | None) -> None:
        self._settings = {name: Setting.load(name) for name in tables}
        self._requests, self._store = requests, Store(folder)
        self._code = {named: _code(with_adaptive=named) for named in (True, False)}

    def values(self, cell: Cell, policies: Sequence[str], seeds: Sequence[int]) -> dict[str, Values]:
        """What each policy is worth on each seed. Who does not run is left out, and said on stderr."""
        setting, values = self._settings[cell.table], dict[str, Values]()
        keys = {(policy, seed): self._key(cell, policy, seed) for policy in policies for seed in seeds}
        known = {key: row["value"] for key, row in self._store.find(keys.values()).items()}
        new: dict[str, float] = {}
        traces: dict[int, Trace] = {}
        slo_s = cell.slo * setting.alone_s()
        for policy in policies:
            try:
                for seed in seeds:
                    key = keys[policy, seed]
                    if key in known:
                        continue
                    if seed not in traces:
                        traces[seed] = setting.traffic(cell.trace, cell.load, self._requests, seed)
                    report = simulate(traces[seed], _at(policy, slo_s), setting.table, task=TASK, slo_s=slo_s)
                    new[key] = float(report.summary["accuracy_weighted_goodput"])
            except (ValueError, PolicyError) as error:
                print(f"# {policy} does not run: {error}", file=sys.stderr)
                continue
            values[policy] = np.array([(known | new)[keys[policy, seed]] for seed in seeds])
        self._store.add([{"key": key, "value": value} for key, value in new.items()])
        self._store.flush()
        return values

    def ceiling(self, cell: Cell, seeds: Sequence[int]) -> float:
        """The mean of the exact optimum, or of the bound where there is none."""
        setting = self._settings[cell.table]
        traces = [setting.traffic(cell.trace, cell.load, self._requests, seed) for seed in seeds]
        tops = [ceiling(each, setting.predictions, slo_s=cell.slo * setting.alone_s()) for each in traces]
        return float(np.mean([each.accuracy_weighted_goodput for each in tops]))

    def join(self) -> None:
        """Keep what was run in few files."""
        self._store.join()

    def _key(self, cell: Cell, policy: str, seed: int) -> str:
        code = self._code["adaptive" in policy]
        named = [*cell, self._settings[cell.table].table.digest, self._requests, policy, seed, code]
        return hashlib.sha256(json.dumps(named).encode()).hexdigest()[:32]


def _at(spec: str, slo_s: float) -> str:
    """The spec at this SLO."""
    return re.sub(r"([\d.]+)SLO", lambda found: f"{float(found[1]) * slo_s:.6g}", spec)


def _code(with_adaptive: bool) -> str:
    """Hash of the code that a run goes through: adaptive's own does not matter to others."""
    digest = hashlib.sha256(f"{np.__version__} {inspect.getsource(Setting)}".encode())
    for package in ("traces", "policies", "simulator", "profiler"):
        for path in sorted((ROOT / package).rglob("*.py")):
            if with_adaptive or path.parent.name != OWN:
                digest.update(path.read_bytes())
    return digest.hexdigest()
