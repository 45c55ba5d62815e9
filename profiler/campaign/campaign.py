"""Everything there is to measure on a device, in parts with budgets of their own: resumable, results as they come."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import torch

from profiler.campaign.plan import CampaignPlan
from profiler.campaign.report import FILE, conclude, load_state
from profiler.device import nvml
from profiler.device.cuda import open_cuda
from profiler.device.seam import Device, HostDevice
from profiler.executors.cuda import KINDS, best_executor, open_executor
from profiler.executors.interface import Engine
from profiler.measuring import gpu_probes
from profiler.measuring.measure import Progress
from profiler.measuring.rules import Rules
from profiler.measuring.session import Entry, measure_table
from profiler.models import weights
from profiler.models.products import Shape
from profiler.models.spec import Dims
from profiler.models.weights import Weights
from profiler.table import BucketPlan
from profiler.table.metadata import Ceilings
from traces.shared.atomic import make_folder, write_text
from traces.shared.documents import json_text, read_json
from traces.shared.origin import origin

#: Measures one part of a campaign until a time.monotonic: what becomes of it, with its `status`.
Part = Callable[["Campaign", str, float], dict[str, Any]]
#: Which product runs how, beside campaign.json: a later sitting must not choose anew, or its parts would not compare.
PRODUCTS = "products.json"
#: What a device, its libraries or their tools raise; everything else is a bug and shows its traceback.
FAILURES = (
    *(ArithmeticError, ImportError, LookupError, MemoryError, OSError, RuntimeError, ValueError),
    subprocess.SubprocessError,
)


@dataclass
class Campaign:
    """A campaign under way in the folder `out`: what is measured, on what, and what came of it so far.

    state: campaign.json, written again after every part and at the end, also of an interrupted run; whatever the end
    was, `profiler.campaign.report` makes tables and verdicts of the folder. commit: of this source, where there is no
    repository to ask. said: gets a line for every part that ends.
    """

    out: Path
    plan: CampaignPlan
    on_gpu: bool
    seed: int = 0
    progress: Progress = lambda share, what: None
    commit: str | None = None
    said: Callable[[str], None] = lambda line: None
    state: dict[str, Any] = field(default_factory=dict)
    _weights: dict[Dims, Weights] = field(default_factory=dict)
    _chosen: dict[str, dict[Shape, str]] = field(default_factory=dict)

    def run(self, parts: Mapping[str, Part], budget_s: float) -> dict[str, Any]:
        """Run those of these parts that are not done, in the order given; returns the state.

        A part gets its own budget, cut to what is left of `budget_s`. A part that fails says so in the state, and the
        next one runs.
        """
        self._load()
        end = time.monotonic() + budget_s
        try:
            for name, part in parts.items():
                if self.state["parts"].get(name, {}).get("status") == "done":
                    continue
                own = self.plan.budgets[name]
                left = end - time.monotonic()
                if left < min(own, self.plan.shortest_s):
                    reason = f"{left:.0f} s left of {budget_s:g} s"
                    self.state["parts"].setdefault(name, {"status": "outstanding", "reason": reason})
                    continue
                self._run(name, part, time.monotonic() + min(own, left))
        finally:
            conclude(self.out, self.state)
            self._save()
        return self.state

    def note(self, name: str, **found: Any) -> None:
        """Keep what a part has found so far, for the case that it does not come to its end."""
        self.state["parts"][name] = self.state["parts"].get(name, {}) | {"status": "running"} | found
        self._save()

    def _run(self, name: str, part: Part, deadline: float) -> None:
        self.progress(0.0, name)
        self.note(name)
        began = time.monotonic()
        card = nvml.open_nvml(gpu_probes.uuid()) if self.on_gpu else None
        before = card.state() if card else {}
        try:
            result = part(self, name, deadline)
        except FAILURES as error:
            # Bounded parts must not take the campaign down with them; the reason is in the state, and in the report.
            result = {"status": "failed", "reason": f"{type(error).__name__}: {error}"}
        result["seconds"] = round(time.monotonic() - began, 1)
        if card:
            result["card"] = {"before": before, "after": card.state()}
        self.state["parts"][name] = result
        self.said(f"{name}: {result['status']} after {result['seconds']:.0f} s {result.get('reason', '')}".rstrip())
        self._weights.clear()
        if self.on_gpu:
            torch.cuda.empty_cache()
        self._save()

    @cached_property
    def device(self) -> Device:
        """One for all executors with graphs: they never run at once, so their activations can share one pool."""
        return open_cuda() if self.on_gpu else HostDevice()

    @cached_property
    def eager(self) -> Device:
        """The same device, with operators launched one by one."""
        return open_cuda(graphs=False) if self.on_gpu else HostDevice()

    @property
    def ceilings(self) -> Ceilings | None:
        return Ceilings.of(self.state["parts"].get("probes", {}))

    def random(self, spec: Dims) -> Weights:
        """The float32 weights of a shape, on the device, the same for every executor of a part."""
        if spec not in self._weights:
            self._weights[spec] = weights.random(spec, self.seed, device=self.device.torch_device)
        return self._weights[spec]

    def open(self, kind: str, own: Weights, plan: BucketPlan, students: tuple[int, ...], **options: Any) -> Engine:
        """An executor of ours on the GPU, or its double on the CPU. One that stands in for another is noted.

        All of them run a product as the first that met it chose, so that they can be compared.
        """
        device = self.device if KINDS[kind].graphs else self.eager
        settings: dict[str, Any] = {"dtype": self.plan.dtype, "tune_s": self.plan.tune_s, "device": device} | options
        settings["choices"] = self._chosen.setdefault(settings["dtype"], {})
        if not self.on_gpu:
            return open_executor(kind, own, plan, students, **settings)
        opened, executor, reasons = best_executor(kind, own, plan, students, **settings)
        if reasons:
            self.state.setdefault("stand_ins", {})[kind] = {"opened": opened, "because": list(reasons)}
        return executor

    def table(self, name: str, entries: list[Entry], deadline: float) -> dict[str, Any]:
        """Measure these entries into the folder `name`."""
        meta = {**gpu_probes.describe(self.device), "dtype": self.plan.dtype, "rank": 50, "campaign_part": name}
        if self.commit is not None:
            meta["commit"] = self.commit
        if not self.on_gpu:
            meta["device"] += " (dry run)"
        rules = Rules(budget_s=self.plan.least_s, enough=self.plan.enough, idle_repeats=self.plan.idle.get(name, 0))
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
        make_folder(self.out)
        settings = {"device": "cuda" if self.on_gpu else "cpu", "plan": self.plan.name, "seed": self.seed}
        settings["dtype"] = self.plan.dtype
        self.state = load_state(self.out) if (self.out / FILE).exists() else {"settings": settings, "parts": {}}
        if self.state["settings"] != settings:
            raise ValueError(
                f"{self.out} holds a campaign with {self.state['settings']}, this one has {settings}: "
                f"choose another --out"
            )

        if (self.out / PRODUCTS).exists():
            kept: Any = read_json(self.out / PRODUCTS)
            self._chosen = {dtype: {Shape(*shape): how for *shape, how in own} for dtype, own in kept.items()}

    def _save(self) -> None:
        own = origin() | ({} if self.commit is None else {"commit": self.commit})
        write_text(self.out / FILE, json_text(self.state | {"origin": own}, indent=1) + "\n")
        chosen = {dtype: [[*shape, how] for shape, how in own.items()] for dtype, own in self._chosen.items()}
        if any(chosen.values()):
            write_text(self.out / PRODUCTS, json_text(chosen) + "\n")
