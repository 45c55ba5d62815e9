"""The parts of a campaign: what each of them measures, and how."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

import numpy as np

from profiler.campaign.campaign import Campaign, Part
from profiler.campaign.plan import BASELINES, Baseline, shape
from profiler.device import nvml
from profiler.device.seam import Unavailable
from profiler.executors.baselines.hugging_face import hugging_face
from profiler.executors.cuda import DTYPES
from profiler.executors.interface import Engine
from profiler.executors.pipelined import PipelinedExecutor
from profiler.executors.staged import StagedExecutor
from profiler.measuring import gate, gpu_probes
from profiler.measuring.grid import Grid
from profiler.measuring.mixes import random_batch
from profiler.measuring.session import Entry
from profiler.models.weights import Weights
from profiler.table import ShapeKey


def _probes(campaign: Campaign, name: str, deadline: float) -> dict[str, Any]:
    plan, device = campaign.plan, campaign.device
    own = gpu_probes.ceilings(device, DTYPES[plan.dtype], plan.sizes)
    launch = gpu_probes.launch(device, plan.sizes)
    return {"status": "done", **gpu_probes.describe(device), "ceilings": vars(own), "launch": launch}


def _numerics(campaign: Campaign, name: str, deadline: float) -> dict[str, Any]:
    """Every executor and dtype against float64, each kept at once; one that is not to be had here is named."""
    grid = campaign.plan.numerics
    own = campaign.random(shape(grid))
    before = campaign.state["parts"].get(name, {}).get("errors", {})
    found: dict[str, dict[str, Any]] = {label: kept for label, kept in before.items() if "failed" not in kept}
    late = []
    for kind in campaign.plan.kinds:
        for dtype in DTYPES:
            if f"{kind} {dtype}" in found:
                continue
            if time.monotonic() >= deadline:
                late.append(f"{kind} {dtype}")
                continue
            try:
                executor = campaign.open(kind, own, grid.plan, grid.students, dtype=dtype, tune_s=0.0)
                executor.warm()
                errors = gate.check(executor, own, np.random.default_rng(campaign.seed), keys=2)
                executor.close()
                found[f"{kind} {dtype}"] = {error: float(f"{value:.2e}") for error, value in errors.items()}
            except Unavailable as error:
                found[f"{kind} {dtype}"] = {"unavailable": str(error)}
            except (ArithmeticError, RuntimeError) as error:
                found[f"{kind} {dtype}"] = {"failed": str(error).splitlines()[0]}
            campaign.note(name, errors=found)
    failed = [label for label, errors in found.items() if "failed" in errors]
    status = "failed" if failed else "unfinished" if late else "done"
    return {"status": status, "errors": found, "failed": failed, "late": late}


def _table(campaign: Campaign, name: str, deadline: float) -> dict[str, Any]:
    """The table of the grids that the plan lists under this name, all by our best executor."""
    if not (grids := campaign.plan.tables.get(name, ())):
        return {"status": "done", "reason": f"a plan that is {campaign.plan.name} has no such keys"}
    return campaign.table(name, [_entry(campaign, grid) for grid in grids], deadline)


def _entry(campaign: Campaign, grid: Grid) -> Entry:
    def opened() -> tuple[Engine, Weights]:
        own = campaign.random(shape(grid))
        return campaign.open(campaign.plan.ours, own, grid.plan, grid.students), own

    return Entry(grid.model, shape(grid), grid, opened)


def _baselines(campaign: Campaign, name: str, deadline: float) -> dict[str, Any]:
    return campaign.table(name, list(_baseline_entries(campaign, compiled=False)), deadline)


def _compiled(campaign: Campaign, name: str, deadline: float) -> dict[str, Any]:
    """Apart from the other baselines: compiling takes tens of seconds, and nothing can cut it short."""
    if not campaign.plan.compiled:
        return {"status": "done", "reason": "a dry run compiles nothing"}
    return campaign.table(name, list(_baseline_entries(campaign, compiled=True)), deadline)


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
            yield Entry(name, shape(grid), grid, opened, like=like)


def _open_baseline(campaign: Campaign, baseline: Baseline, grid: Grid) -> tuple[Engine, Weights]:
    own = campaign.random(shape(grid))
    if baseline.attention is None:
        kind = campaign.plan.ours if baseline.kind == "ours" else baseline.kind
        options: dict[str, Any] = {} if baseline.tuned else {"tune_s": 0.0}
        exact = baseline.simplifications
        return campaign.open(kind, own, grid.plan, grid.students, simplifications=exact, **options), own
    device, dtype, how = campaign.eager, campaign.plan.dtype, (baseline.attention, baseline.compiled)
    forward = hugging_face(own, dtype, device.torch_device, attention=how[0], compiled=how[1])
    return StagedExecutor(forward, grid.plan, grid.students, device), own


def _energy(campaign: Campaign, name: str, deadline: float) -> dict[str, Any]:
    """Joules per request in steady loops: the driver's counter before and after, at least plan.energy_s each."""
    card = nvml.open_nvml(gpu_probes.uuid()) if campaign.on_gpu else None
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


def _energy_of(card: nvml.Nvml, executor: Engine, key: ShapeKey, campaign: Campaign) -> dict[str, float]:
    ids = random_batch(executor.plan, key, executor.spec.vocab, np.random.default_rng(campaign.seed))
    joules, seconds, runs = _joules(card.energy_j, lambda: executor.run(key.students, ids), campaign.plan.energy_s)
    return {"j_per_request": joules / (runs * key.batch), "power_w": joules / seconds, "seconds": round(seconds, 2)}


def _slots(campaign: Campaign, name: str, deadline: float) -> dict[str, Any]:
    """Batches per second of our executor in a closed loop, with one staging slot and with two."""
    rows: list[dict[str, Any]] = []
    for grid in campaign.plan.students:
        own = campaign.random(shape(grid))
        for students in grid.students[:2]:
            if time.monotonic() >= deadline:
                return {"status": "unfinished", "rows": rows}
            key = grid.plan.keys(students)[0]
            one = campaign.open(campaign.plan.ours, own, grid.plan, (students,))
            assert isinstance(one, StagedExecutor)
            both = PipelinedExecutor(one)
            both.warm([key])
            ids = random_batch(grid.plan, key, own.spec.vocab, np.random.default_rng(campaign.seed))
            runs = [ids] * campaign.plan.enough
            began = time.perf_counter()
            for each in runs:
                one.run(students, each)
            between = time.perf_counter()
            deque(both.run(students, runs), maxlen=0)
            ended = time.perf_counter()
            both.close()
            rates = {"one_per_s": len(runs) / (between - began), "two_per_s": len(runs) / (ended - between)}
            rows.append({"model": grid.model, **key._asdict(), **rates})
    return {"status": "done", "rows": rows}


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
PARTS: dict[str, Part] = {
    "probes": _probes,
    "numerics": _numerics,
    "students-768": _table,
    "students-384": _table,
    "teachers": _table,
    "packed": _table,
    "baselines": _baselines,
    "slots": _slots,
    "depths": _table,
    "energy": _energy,
    "compiled": _compiled,
}
