"""Partial: in a burst the last layers' adapters alone are loaded, at a declared cost in accuracy."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from policies.interface import Action, Dispatch, Evict, Load, View
from policies.machinery.wrapped import Wrapper


@dataclass
class Partial(Wrapper):
    """Around a wrapper that loads adapters: in a burst a load brings those of the last `layers` layers, and the head.

    A burst is while more than `burst` of the largest batches wait. After it, what came in part is loaded again, whole,
    before the next batch that needs it. cost: by how much an answer with such adapters is less accurate, as a share; it
    must be said, and comes from a study of your own. Simulated alone: a real device loads all layers.
    """

    layers: int = 1
    cost: float | None = None
    burst: float = 2.0

    needs: ClassVar[frozenset[str]] = frozenset({"memory"})
    uses: ClassVar[frozenset[str]] = frozenset(
        {"waiting", "plan", "gpus", "idle", "resident", "loading", "tenant_of", "adapter"}
    )

    def start(self, view: View) -> None:
        if self.layers < 1 or not self.burst > 0:
            raise ValueError(f"layers is {self.layers} (must be at least 1), burst {self.burst} (must be positive)")
        if self.cost is None or not 0 <= self.cost <= 1:
            raise ValueError(
                f"cost is {self.cost}: say how much less accurate answers are with the adapters of the last "
                f"{self.layers} layers alone, from 0 to 1, as in partial(lru(greedy), layers=2, cost=0.01)"
            )
        super().start(view)
        self._in_part: list[set[str]] = [set() for _ in range(view.gpus)]
        self._held: Dispatch | None = None

    def decide(self, view: View) -> Action:
        held, self._held = self._held, None
        action = self.inner.decide(view) if held is None else held
        burst = view.waiting > self.burst * view.plan.max_batch
        if type(action) is Load:
            return self._load(action.gpu, action.tenant, view, ahead=action.ahead, part=burst)
        if type(action) is Evict:
            self._in_part[action.gpu].discard(action.tenant)
        if type(action) is Dispatch and not burst and (again := self._again(action, view)) is not None:
            self._held = action
            return again
        return action

    def _load(self, gpu: int, tenant: str, view: View, *, ahead: bool, part: bool) -> Load:
        if not part or self.layers >= view.adapter(tenant).layers:
            self._in_part[gpu].discard(tenant)
            return Load(gpu, tenant, ahead)
        self._in_part[gpu].add(tenant)
        assert self.cost is not None
        return Load(gpu, tenant, ahead, self.layers, self.cost)

    def _again(self, action: Dispatch, view: View) -> Action | None:
        """The next step to have all adapters of a batch whole; those that are on their way in part stay so."""
        gpu = view.idle[0] if action.gpu is None else action.gpu
        if not (in_part := self._in_part[gpu]):
            return None
        for tenant in dict.fromkeys(map(view.tenant_of, action.requests)):
            if tenant in in_part and tenant not in view.loading(gpu):
                if tenant in view.resident(gpu):
                    return Evict(gpu, tenant)
                return self._load(gpu, tenant, view, ahead=False, part=False)
        return None
