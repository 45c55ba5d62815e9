"""A queue for every GPU instead of one for all: a router sends each request to a GPU as it arrives."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from policies.interface import Action, Completion, Dispatch, Drop, Evict, Heard, Load, Loaded, Preempt, Scale, View
from policies.machinery.held import HeldQueue
from policies.machinery.part import Copies, Part
from policies.machinery.wrapped import Wrapper

RULES = ("round-robin", "shortest", "two-choices", "least-backlog")


@dataclass
class Router(Wrapper):
    """Send each request to the queue of one GPU as it arrives; a copy of the inner policy serves each.

    rule: "round-robin"; "shortest", the GPU with the fewest requests, waiting and running (join the shortest queue,
    Winston 1977); "two-choices", the shorter of two drawn at random (Mitzenmacher, IEEE TPDS 2001); "least-backlog",
    the least predicted work, running and waiting, in full batches at the highest level. Ties go to the lowest GPU.
    Without a router all GPUs share one queue, which is at least as good wherever requests may wait centrally.

    Requests stay where they were sent, but for a GPU that is scaled away; one that is starting gets none. seed: of the
    draws. A wrapper that drops, such as `admission`, belongs inside: outside it works, but each drop costs a look at
    the whole queue.
    """

    rule: str = "shortest"
    seed: int = 0

    uses = frozenset(
        {"now", "waiting", "gpus", "idle", "plan", "service", "oldest", "after", "kind", "free_at"}
        | {"arrival", "deadline", "completions"}
    )
    every_arrival = True

    def start(self, view: View) -> None:
        if self.rule not in RULES:
            raise ValueError(f"router has no rule {self.rule!r}; it has {', '.join(RULES)}")
        if isinstance(view, Part):
            raise ValueError("router must be the outermost policy, or inside wrappers that do not split the queue")
        self._cost = [min(row[size] / size for size in range(1, len(row))) for row in view.service[-1]]
        self._queues: list[HeldQueue] = []
        self._copies = Copies(self.inner)
        self._running: list[int] = []  # requests on each GPU
        self._work: list[float] = []  # predicted seconds of those that wait for each GPU
        self._gpu_of: list[int] = []  # of every request so far
        self._gpus = self._turn = 0
        self._stale = False  # whether requests may have come back
        self._rng = np.random.default_rng(self.seed)
        self._resize(view)

    def decide(self, view: View) -> Action:
        if view.gpus != self._gpus:
            self._resize(view)
        self._admit(view)
        asked = range(self._gpus) if self._copies.every_arrival else view.idle
        action, gpu = self._copies.ask(each for each in asked if self._queues[each].waiting)
        if type(action) is Dispatch:
            self._take(view, gpu, action.requests)
            self._running[gpu] += len(action.requests)
            return replace(action, gpu=gpu)
        if type(action) is Drop:
            self._take(view, gpu, action.requests)
        elif type(action) is Preempt:
            self._running[gpu], self._stale = 0, True
            return Preempt(gpu)
        elif isinstance(action, Load | Evict):
            return action._replace(gpu=gpu)
        elif type(action) is Scale:
            raise ValueError("a router's inner policy sees one GPU and cannot scale: put the scaling around the router")
        return action

    def observe(self, event: Heard) -> None:
        if type(event) is Completion:
            self._running[event.gpu] -= len(event.requests)
            self._stale |= bool(event.returned)
        self._copies.observe(event if isinstance(event, Loaded) else event._replace(gpu=0))

    def _admit(self, view: View) -> None:
        """Route new requests, and look again at the whole queue where requests returned or left unseen."""
        new = view.after(len(self._gpu_of) - 1, view.waiting)
        if len(new):
            self._route(view, new)
        if self._stale or sum(queue.waiting for queue in self._queues) != view.waiting:
            waiting = view.oldest(view.waiting)
            back = set(waiting)
            for gpu, queue in enumerate(self._queues):
                held = queue.oldest(queue.waiting)
                self._take(view, gpu, [request for request in held if request not in back])
                back.difference_update(held)
            for request in sorted(back):
                self._add(view, min(self._gpu_of[request], self._gpus - 1), request)
            self._stale = False

    def _route(self, view: View, requests: Sequence[int]) -> None:
        idle = view.idle
        serving = [gpu for gpu in range(self._gpus) if self._running[gpu] or gpu in idle] or list(range(self._gpus))
        for request in requests:
            self._gpu_of += [0] * (request + 1 - len(self._gpu_of))  # one that came and left unseen needs none
            self._gpu_of[request] = gpu = self._choose(view, serving)
            self._add(view, gpu, request)

    def _choose(self, view: View, serving: list[int]) -> int:
        """The GPU for the next request, of those that serve."""
        if self.rule == "round-robin":
            self._turn += 1
            return serving[(self._turn - 1) % len(serving)]
        if self.rule == "least-backlog":
            return min(serving, key=lambda gpu: (view.free_at(gpu) - view.now + self._work[gpu], gpu))
        if self.rule == "two-choices" and len(serving) > 2:
            first, other = int(self._rng.integers(len(serving))), int(self._rng.integers(len(serving) - 1))
            serving = sorted((serving[first], serving[other + (other >= first)]))
        return min(serving, key=lambda gpu: self._queues[gpu].waiting + self._running[gpu])

    def _add(self, view: View, gpu: int, request: int) -> None:
        self._queues[gpu].add(request)
        self._work[gpu] += self._cost[view.kind((request,))]

    def _take(self, view: View, gpu: int, requests: Sequence[int]) -> None:
        queue = self._queues[gpu]
        queue.take(requests)
        self._work[gpu] -= sum(self._cost[view.kind((request,))] for request in requests)
        if not queue.waiting:
            self._work[gpu] = 0.0  # no rounding errors pile up

    def _resize(self, view: View) -> None:
        """A queue for each GPU; those that wait for one that was removed are routed again."""
        for gpu in range(len(self._queues), view.gpus):
            self._queues.append(HeldQueue(view))
            self._copies.add(Part(view, self._queues[gpu], gpu))
            self._running.append(0)
            self._work.append(0.0)
        self._gpus, removed = view.gpus, self._queues[view.gpus :]
        for gpu, queue in enumerate(removed, start=view.gpus):
            stranded = list(queue.oldest(queue.waiting))
            self._take(view, gpu, stranded)
            self._route(view, stranded)
