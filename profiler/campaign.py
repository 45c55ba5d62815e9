"""Everything there is to measure on a device, in parts with budgets of their own: resumable, results as they come."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from profiler import gate, gpu_probes, nvml, verdicts, weights
from profiler.campaign_plan import BASELINES, Baseline, Plan, shape
from profiler.cuda import DTYPES, best_executor, open_executor
from profiler.devices import Device, HostDevice, Unavailable, open_cuda
from profiler.executor import Executor
from profiler.grid import Grid
from profiler.measure import Progress
from profiler.merging import merge_tables
from profiler.metadata import origin
from profiler.roofline import Ceilings
from profiler.rules import Rules
from profiler.session import Entry, measure_table
from profiler.spec import Spec
from profiler.table import BucketPlan, ShapeKey
from profiler.weights import Weights


@dataclass
class Campaign:
    """A campaign under way in the folder `out`: what is measured, on what, and what came of it so far.

    state: campaign.json. After every part it is written again, so that an interruption loses at most the part that was
    under way, and of its timings none.
    """

    out: Path
    plan: Plan
    on_gpu: bool
    seed: int = 0
    progress: Progress = lambda share, what: None
    state: dict[str, Any] = field(default_factory=dict)
    _weights: dict[Spec, Weights] = field(default_factory=dict)

    def run(self, names: Iterable[str], budget_s: float) -> dict[str, Any]:
        """Run the parts of these names that are not done, in the order given; returns the state.

        A part gets its own budget, cut to what is left of `budget_s`. A part that fails says so in the state, and the
        next one runs.
        """
        self._load()
        end = time.monotonic() + budget_s
        for name in names:
            if self.state["parts"].get(name, {}).get("status") == "done":
                continue
            own = self.plan.budgets[name]
            left = end - time.monotonic()
            if left < min(own, self.plan.shortest_s):
                self.state["parts"][name] = {"status": "outstanding", "reason": f"{left:.0f} s left of {budget_s:g} s"}
                continue
            self._run(name, time.monotonic() + min(own, left))
        merge_tables(self.out / "table", [self.out / name for name in self.plan.tables])
        self.state["verdicts"] = verdicts.verdicts(self.out, self.state)
        if self.plan.name != "full":  # tiny models on a CPU say nothing about the targets
            self.state["verdicts"] = [verdict | {"verdict": "dry run"} for verdict in self.state["verdicts"]]
        self._save()
        return self.state

    def _run(self, name: str, deadline: float) -> None:
        self.progress(0.0, name)
        began = time.monotonic()
        card = nvml.open_nvml() if self.on_gpu else None
        before = card.state() if card else {}
        try:
            result = PARTS[name](self, name, deadline)
        except (Unavailable, ArithmeticError, MemoryError, RuntimeError, ImportError) as error:
            # Bounded parts must not take the campaign down with them; the reason is in the state, and in the report.
            result = {"status": "failed", "reason": f"{type(error).__name__}: {error}"}
        result["seconds"] = round(time.monotonic() - began, 1)
        if card:
            result["card"] = {"before": before, "after": card.state()}
        self.state["parts"][name] = result
        self._weights.clear()
        if self.on_gpu:
            torch.cuda.empty_cache()
        self._save()

    @cached_property
    def device(self) -> Device:
        """Opened when it is first needed; the graph executors open devices of their own, with pools of their own."""
        return open_cuda() if self.on_gpu else HostDevice()

    @property
    def ceilings(self) -> Ceilings | None:
        own = self.state["parts"].get("probes", {}).get("ceilings")
        return Ceilings(**own) if own else None

    def random(self, spec: Spec) -> Weights:
        """The float32 weights of a shape, on the device, the same for every executor of a part."""
        if spec not in self._weights:
            self._weights[spec] = weights.random(spec, self.seed, device=self.device.torch_device)
        return self._weights[spec]

    def eager(self) -> Device:
        """A device that launches operators one by one."""
        return open_cuda(graphs=False) if self.on_gpu else HostDevice()

    def open(self, kind: str, own: Weights, plan: BucketPlan, students: tuple[int, ...], **options: Any) -> Executor:
        """An executor of ours on the GPU, or its double on the CPU. One that stands in for another is noted."""
        settings = {"dtype": self.plan.dtype, "tune_s": self.plan.tune_s} | options
        if not self.on_gpu:
            return open_executor(kind, own, plan, students, device=HostDevice(), **settings)
        opened, executor, reasons = best_executor(kind, own, plan, students, **settings)
        if reasons:
            self.state.setdefault("stand_ins", {})[kind] = {"opened": opened, "because": list(reasons)}
        return executor

    def table(self, name: str, entries: list[Entry], deadline: float, *, idle: bool) -> dict[str, Any]:
        """Measure these entries into the folder `name`."""
        meta = {**gpu_probes.describe(self.device), "dtype": self.plan.dtype, "rank": 50, "campaign_part": name}
        if not self.on_gpu:
            meta["device"] += " (dry run)"
        rules = Rules(budget_s=self.plan.least_s, enough=self.plan.enough, idle_repeats=6 if idle else 0)
        return measure_table(
            self.out / name,
            entries,
            rules,
            meta=meta,
            ceilings=self.ceilings,
            deadline=deadline,
            partial_table=True,
            seed=self.seed,
            progress=lambda share, what: self.progress(share, f"{name}: {what}"),
        )

    def _load(self) -> None:
        path = self.out / "campaign.json"
        self.out.mkdir(parents=True, exist_ok=True)
        settings = {"device": "cuda" if self.on_gpu else "cpu", "plan": self.plan.name, "seed": self.seed}
        self.state = json.loads(path.read_text()) if path.exists() else {"settings": settings, "parts": {}}
        if self.state["settings"] != settings:
            raise ValueError(
                f"{self.out} holds a campaign with {self.state['settings']}, this one has {settings}: "
                f"choose another --out"
            )

    def _save(self) -> None:
        path = self.out / "campaign.json"
        partial_file = path.with_suffix(".tmp")
        partial_file.write_text(json.dumps(self.state | {"origin": origin()}, indent=1) + "\n")
        os.replace(partial_file, path)


def _probes(campaign: Campaign, name: str, deadline: float) -> dict[str, Any]:
    plan, device = campaign.plan, campaign.device
    own = gpu_probes.ceilings(device, DTYPES[plan.dtype], plan.sizes)
    launch = gpu_probes.launch(device, plan.sizes)
    return {"status": "done", **gpu_probes.describe(device), "ceilings": vars(own), "launch": launch}


def _numerics(campaign: Campaign, name: str, deadline: float) -> dict[str, Any]:
    """Every executor and dtype against float64; a dtype or executor that is not to be had is named."""
    grid = campaign.plan.numerics
    own, found = campaign.random(shape(grid)), {}
    for kind in campaign.plan.kinds:
        for dtype in DTYPES:
            if time.monotonic() >= deadline:
                found[f"{kind} {dtype}"] = {"failed": "no time left"}
                continue
            try:
                executor = campaign.open(kind, own, grid.plan, grid.students, dtype=dtype, tune_s=0.0)
                executor.warm()
                errors = gate.check(executor, own, np.random.default_rng(campaign.seed), keys=2)
                executor.close()
                found[f"{kind} {dtype}"] = {error: float(f"{value:.2e}") for error, value in errors.items()}
            except (ArithmeticError, Unavailable, RuntimeError) as error:
                found[f"{kind} {dtype}"] = {"failed": str(error).splitlines()[0]}
    failed = [label for label, errors in found.items() if "failed" in errors]
    return {"status": "failed" if failed else "done", "errors": found, "failed": failed}


def _table(campaign: Campaign, name: str, deadline: float) -> dict[str, Any]:
    """The table of the grids that the plan lists under this name, all by our best executor."""
    grids = campaign.plan.tables[name]
    return campaign.table(name, [_entry(campaign, grid) for grid in grids], deadline, idle=len(grids) == 1)


def _entry(campaign: Campaign, grid: Grid) -> Entry:
    def opened() -> tuple[Executor, Weights]:
        own = campaign.random(shape(grid))
        return campaign.open(campaign.plan.ours, own, grid.plan, grid.students), own

    return Entry(grid.model, shape(grid), grid.plan, grid.students, opened)


def _baselines(campaign: Campaign, name: str, deadline: float) -> dict[str, Any]:
    return campaign.table(name, list(_baseline_entries(campaign, compiled=False)), deadline, idle=False)


def _compiled(campaign: Campaign, name: str, deadline: float) -> dict[str, Any]:
    """Apart from the other baselines: compiling takes tens of seconds, and nothing can cut it short."""
    if not campaign.plan.compiled:
        return {"status": "done", "reason": "a dry run compiles nothing"}
    return campaign.table(name, list(_baseline_entries(campaign, compiled=True)), deadline, idle=False)


def _baseline_entries(campaign: Campaign, *, compiled: bool) -> Iterable[Entry]:
    for baseline in BASELINES:
        if (baseline.compiled is not None) != compiled:
            continue
        for grid in campaign.plan.compared_grids(baseline):
            ours, name = f"{grid.model}+ours", f"{grid.model}+{baseline.name}"
            if compiled:  # one shape each
                ours, name = "", f"{name}@{grid.batches[0]}x{grid.tokens[0]}"
            opened = partial(_open_baseline, campaign, baseline, grid)
            like = ours if name != ours else ""
            yield Entry(name, shape(grid), grid.plan, grid.students, opened, like=like)


def _open_baseline(campaign: Campaign, baseline: Baseline, grid: Grid) -> tuple[Executor, Weights]:
    from profiler.baselines import HuggingFaceForward
    from profiler.staged import StagedExecutor

    own = campaign.random(shape(grid))
    if baseline.attention is None:
        kind = campaign.plan.ours if baseline.kind == "ours" else baseline.kind
        options: dict[str, Any] = {} if baseline.tuned else {"tune_s": 0.0}
        exact = baseline.simplifications
        return campaign.open(kind, own, grid.plan, grid.students, simplifications=exact, **options), own
    device = campaign.eager()
    forward = HuggingFaceForward(
        own,
        campaign.plan.dtype,
        device.torch_device,
        attention=baseline.attention,
        compiled=baseline.compiled,
    )
    return StagedExecutor(forward, grid.plan, grid.students, device), own


def _energy(campaign: Campaign, name: str, deadline: float) -> dict[str, Any]:
    """Joules per request in steady loops: the driver's counter before and after, at least plan.energy_s each."""
    card = nvml.open_nvml() if campaign.on_gpu else None
    if card is None or card.energy_j() is None:
        return {"status": "done", "reason": "no energy counter on this device: nothing was measured"}
    idle = _joules(card.energy_j, lambda: time.sleep(0.05), campaign.plan.energy_s)
    rows = []
    for grid, keys in campaign.plan.energy:
        own = campaign.random(shape(grid))
        executor = campaign.open(campaign.plan.ours, own, grid.plan, grid.students)
        executor.warm(keys)
        for key in keys:
            if time.monotonic() >= deadline:
                break
            rows.append({"model": grid.model, **key._asdict(), **_energy_of(card, executor, key, campaign)})
        executor.close()
    return {"status": "done", "idle_w": round(idle[0] / idle[1], 1), "accuracy": "+-10 %", "rows": rows}


def _energy_of(card: nvml.Nvml, executor: Executor, key: ShapeKey, campaign: Campaign) -> dict[str, float]:
    ids = gate.random_batch(key, executor.spec.vocab, np.random.default_rng(campaign.seed))
    joules, seconds, runs = _joules(card.energy_j, lambda: executor.run(key.students, ids), campaign.plan.energy_s)
    return {"j_per_request": joules / (runs * key.batch), "power_w": joules / seconds, "seconds": round(seconds, 2)}


def _joules(
    counter: Callable[[], float | None], work: Callable[[], object], least_s: float
) -> tuple[float, float, int]:
    """Joules, seconds and calls of a loop of at least so many seconds."""
    before, began, calls = counter() or 0.0, time.perf_counter(), 0
    while time.perf_counter() - began < least_s:
        work()
        calls += 1
    seconds = time.perf_counter() - began
    return (counter() or 0.0) - before, seconds, calls


#: The parts by name, in the order in which they run: what everything else needs first, what can overrun last.
PARTS: dict[str, Callable[[Campaign, str, float], dict[str, Any]]] = {
    "probes": _probes,
    "numerics": _numerics,
    "students-768": _table,
    "students-384": _table,
    "teachers": _table,
    "baselines": _baselines,
    "depths": _table,
    "energy": _energy,
    "compiled": _compiled,
}
