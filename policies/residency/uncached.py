"""No cache: what no batch runs or will run next is evicted, as in vBERT and S-LoRA."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from policies.interface import Action, Evict, View
from policies.residency.lru import Lru


@dataclass
class Uncached(Lru):
    """Loads what the next batch needs and evicts all that no batch runs, nor the oldest `window` requests need."""

    def decide(self, view: View) -> Action:
        return self._clear(view) or super().decide(view)

    def _clear(self, view: View) -> Action | None:
        """Evict what was used, once its batch is done."""
        ahead: dict[str, None] = {}
        if self.prefetch == "queue":
            ahead = dict.fromkeys(map(view.tenant_of, view.oldest(self.window or view.plan.max_batch)))
        for gpu in view.idle:
            if self._next is not None and self._next.gpu == gpu:
                continue
            for tenant in self._running[gpu]:
                if tenant not in ahead and tenant in view.resident(gpu):
                    self._shelves[gpu].take(tenant)
                    return Evict(gpu, tenant)
            self._running[gpu] = {}
        return None


@dataclass
class Serial(Uncached):
    """Load, then compute, then evict: no cache and no overlap, the baseline of what pipelining gains."""

    whole: ClassVar[bool] = True


@dataclass
class Pipelined(Uncached):
    """No cache, but a batch computes as its layers come, and the next batch's adapters load meanwhile (vBERT).

    Differs from the source in one thing: a layer of the next batch need not wait until this batch is past that layer,
    since adapters have places of their own.
    """

    prefetch: str = "queue"


@dataclass
class Slora(Uncached):
    """After S-LoRA (arXiv 2311.03285): what runs, and what the next batch in the queue needs, loaded meanwhile.

    A batch waits until all its adapters are there.
    """

    prefetch: str = "queue"

    whole: ClassVar[bool] = True
