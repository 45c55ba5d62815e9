"""Keep adapters on GPUs: load what the batches of another policy need, evict by a rule, prefetch."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import ClassVar, Protocol

from policies.interface import Action, Completion, Dispatch, Evict, Heard, Load, View, Wait
from policies.machinery.wrapped import Wrapper

PREFETCHES = ("none", "queue", "popular")
#: What of the View a keeper reads.
KEEPS = frozenset(
    {"now", "waiting", "gpus", "idle", "oldest", "plan", "room", "resident", "loading", "adapter", "tenant_of"}
    | {"free_at", "completions"}
)


class Shelf(Protocol):
    """A rule of eviction for one GPU: it hears what is used and what comes and goes, and names what makes room."""

    def use(self, tenant: str, request: int, view: View) -> None:
        """A request of this tenant is in the next batch, whether its adapter is there or not."""

    def put(self, tenant: str, view: View) -> None:
        """The adapter will be there."""

    def take(self, tenant: str) -> None:
        """The adapter makes room."""

    def victim(self, keep: Collection[str], view: View) -> str | None:
        """Whose adapter is to make room, none of these; None where only these are there."""


@dataclass
class Keeper(Wrapper):
    """Around any policy that batches: before a batch of it runs, its adapters are loaded, and others evicted for them.

    A batch whose tenants do not fit together is served in parts, one after the other. prefetch: "queue" loads, while
    a GPU is busy, what the oldest `window` requests need (default: the largest batch), and evicts nothing that one of
    them needs; "popular" loads, with a batch that needs no load, of the last `window` tenants that made room the one
    asked for most often, in place of one that was asked for less than half as often.
    """

    prefetch: str = "none"
    window: int | None = None

    needs: ClassVar[frozenset[str]] = frozenset({"memory"})
    uses: ClassVar[frozenset[str]] = KEEPS
    #: Whether a batch waits until all its adapters are there, instead of computing as their layers come.
    whole: ClassVar[bool] = False

    def shelf(self, view: View) -> Shelf:
        """A new, empty shelf for a GPU."""
        raise NotImplementedError

    def start(self, view: View) -> None:
        if self.prefetch not in PREFETCHES:
            raise ValueError(f"prefetch is {self.prefetch!r}; it must be one of {', '.join(PREFETCHES)}")
        if self.window is not None and self.window < 1:
            raise ValueError(f"window is {self.window} (must be at least 1)")
        super().start(view)
        self.every_arrival = self.every_arrival or self.prefetch == "queue"
        self._asks = self.every_arrival and not getattr(self.inner, "every_arrival", False)
        self._budget = [view.room(gpu) for gpu in range(view.gpus)]
        self._shelves = [self.shelf(view) for _ in range(view.gpus)]
        self._running: list[dict[str, None]] = [{} for _ in range(view.gpus)]
        self._next: Dispatch | None = None
        self._rest: Dispatch | None = None  # of a batch in parts
        self._is_part = False
        self._parts: set[int] = set()  # the first requests of those that the inner policy does not know of
        self._missing: list[str] = []
        self._needed: dict[str, None] = {}
        self._planned_s = 0.0
        self._times: Counter[str] = Counter()
        self._out: list[dict[str, None]] = [{} for _ in range(view.gpus)]  # which made room, the last ones

    def decide(self, view: View) -> Action:
        if (self._next or self._rest) is not None and view.now != self._planned_s:
            self._next, self._rest = self._waiting(self._next, view), self._waiting(self._rest, view)
            self._planned_s = view.now
        if self._next is None:
            if self._rest is not None and view.idle:
                rest, self._rest = self._rest, None
                self._plan(rest, view)
                self._is_part = True
                return self._serve(view)
            if self._rest is not None or (self._asks and not (view.idle and view.waiting)):
                return self._ahead(view) or Wait()
            action = self.inner.decide(view)
            if type(action) is not Dispatch:
                return (self._ahead(view) or action) if type(action) is Wait else action
            self._plan(action, view)
            self._is_part = False
        return self._serve(view)

    def observe(self, event: Heard) -> None:
        """Pass an event on, but for those of parts that the inner policy does not know of."""
        if type(event) is Completion and event.requests[0] in self._parts:
            self._parts.remove(event.requests[0])
        else:
            super().observe(event)

    def _plan(self, action: Dispatch, view: View) -> None:
        """Note what a batch needs, of those of its requests that fit together."""
        gpu = view.idle[0] if action.gpu is None else action.gpu
        needed, size, budget = dict[str, None](), 0, self._budget[gpu]
        fit = len(action.requests)
        for place, request in enumerate(action.requests):
            tenant = view.tenant_of(request)
            if tenant not in needed:
                size += view.adapter(tenant).bytes
                if size > budget:
                    fit = place
                    break
                needed[tenant] = None
        requests = action.requests
        if fit < len(requests):
            self._rest = Dispatch(requests[fit:], action.level, None, action.plan)
            requests = requests[:fit]
        shelf, there, counts = self._shelves[gpu], view.resident(gpu), self.prefetch == "popular"
        for request in requests:
            tenant = view.tenant_of(request)
            shelf.use(tenant, request, view)
            if counts:
                self._times[tenant] += 1
        self._planned_s = view.now
        self._next, self._needed = Dispatch(requests, action.level, gpu, action.plan), needed
        self._missing = [tenant for tenant in needed if tenant not in there][::-1]

    def _serve(self, view: View) -> Action:
        """Take the next step towards the batch that was decided on."""
        action = self._next
        assert action is not None
        assert action.gpu is not None
        gpu = action.gpu
        loading = view.loading(gpu)
        while self._missing:
            tenant = self._missing[-1]
            if tenant in loading:
                self._missing.pop()
            elif view.adapter(tenant).bytes <= view.room(gpu):
                self._missing.pop()
                return self._load(gpu, tenant, view)
            else:
                return self._evict(gpu, self._needed, view) or Wait()  # until a load is there that can be evicted
        if self.whole and any(tenant in loading for tenant in self._needed):
            return Wait()
        if self.prefetch == "popular" and (fetch := self._popular(gpu, view)) is not None:
            return fetch
        self._running[gpu], self._next = self._needed, None
        if self._is_part:
            self._parts.add(action.requests[0])
        return action

    def _waiting(self, action: Dispatch | None, view: View) -> Dispatch | None:
        """What is left of a batch that had to wait, where another policy dropped some of it meanwhile."""
        if action is None:
            return None
        waiting = set(view.oldest(view.waiting))
        left = [each for each in action.requests if each in waiting]
        if len(left) < len(action.requests):
            action.requests = left
        return action if left else None

    def _load(self, gpu: int, tenant: str, view: View, ahead: bool = False) -> Load:
        self._shelves[gpu].put(tenant, view)
        self._out[gpu].pop(tenant, None)
        return Load(gpu, tenant, ahead)

    def _evict(self, gpu: int, keep: Collection[str], view: View) -> Evict | None:
        """Evict by the rule; None where nothing can be."""
        loading = view.loading(gpu)
        if loading:
            keep = dict.fromkeys((*keep, *loading))
        victim = self._shelves[gpu].victim(keep, view)
        if victim is None:
            return None
        self._shelves[gpu].take(victim)
        if self.prefetch == "popular":
            out = self._out[gpu]
            out[victim] = None
            if len(out) > (self.window or view.plan.max_batch):
                del out[next(iter(out))]
        return Evict(gpu, victim)

    def _ahead(self, view: View) -> Action | None:
        """The next prefetch; None where there is none to do."""
        if self.prefetch != "queue":
            return None
        requests = view.oldest(self.window or view.plan.max_batch)
        wanted = dict.fromkeys(map(view.tenant_of, requests))
        gpu = min(range(view.gpus), key=view.free_at) if view.gpus > 1 else 0
        return self._fetch(gpu, wanted, wanted, view)

    def _fetch(self, gpu: int, wanted: Iterable[str], keep: Iterable[str], view: View) -> Action | None:
        """Load the first of these that is not there, where it fits without evicting one to keep or one that runs."""
        there, loading = view.resident(gpu), view.loading(gpu)
        running = {} if gpu in view.idle else self._running[gpu]
        for tenant in wanted:
            if tenant in there or tenant in loading:
                continue
            if view.adapter(tenant).bytes <= view.room(gpu):
                return self._load(gpu, tenant, view, ahead=True)
            return self._evict(gpu, dict.fromkeys((*keep, *running)), view)
        return None

    def _popular(self, gpu: int, view: View) -> Action | None:
        """Load again the most popular tenant of those that made room, in place of one that is half as popular."""
        out, times = self._out[gpu], self._times
        if not out or view.loading(gpu):
            return None
        best = max(out, key=times.__getitem__)
        if view.adapter(best).bytes <= view.room(gpu):
            return self._load(gpu, best, view, ahead=True)
        victim = self._shelves[gpu].victim(self._needed, view)
        if victim is None or 2 * times[victim] >= times[best]:
            return None
        self._shelves[gpu].take(victim)
        return Evict(gpu, victim)
