"""How many GPUs to have, around any policy: by the rules of Ray Serve, of Kubernetes, and of Symphony."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, replace
from math import ceil, inf

from policies.interface import Action, Completion, Dispatch, Heard, Preempt, Scale, View, Wait
from policies.machinery import wrapped
from policies.machinery.wrapped import Wrapper

#: More than ever wait: a Wait for so many is a Wait for its time.
NEVER = 1 << 40


@dataclass
class Scaled(Wrapper):
    """A policy whose GPUs come and go: at every look, as many as are wanted. It counts what runs on each."""

    needs = frozenset({"scale"})
    uses = frozenset({"now", "waiting", "gpus", "idle", "completions"})

    def _look_every(self, interval_s: float, view: View) -> None:
        self._every_s = interval_s
        self._look = view.now + interval_s
        self._on: dict[int, int] = {}  # requests by GPU
        self._used: dict[int, float] = {}  # when each GPU last began or ended a batch
        self._busy_s = 0.0  # of all batches that are done
        self.every_arrival = wrapped.start(self.inner, view)

    def decide(self, view: View) -> Action:
        if view.now >= self._look:
            self._look = view.now + self._every_s
            gpus = self._wanted(view)
            if gpus != view.gpus:
                return Scale(gpus)
        return self._ask(view)

    def observe(self, event: Heard) -> None:
        if type(event) is Completion:
            self._on[event.gpu] -= len(event.requests)
            self._used[event.gpu] = event.finish
            self._busy_s += event.finish - event.start
        super().observe(event)

    def _wanted(self, view: View) -> int:
        """The number of GPUs to have from now on."""
        raise NotImplementedError

    def _ask(self, view: View) -> Action:
        """What the policy does, or a wait until the next look."""
        if not (view.waiting and (view.idle or self.every_arrival)):
            return Wait(until=self._look, waiting=NEVER)
        action = self.inner.decide(view)
        if type(action) is Dispatch:
            gpu = view.idle[0] if action.gpu is None else action.gpu
            self._on[gpu] = self._on.get(gpu, 0) + len(action.requests)
            self._used[gpu] = view.now
        elif type(action) is Preempt:
            self._on[action.gpu] = 0
        elif type(action) is Wait:
            return replace(action, until=min(action.until, self._look))
        return action


@dataclass
class Autoscale(Scaled):
    """Ray Serve's autoscaling: as many GPUs as keep the ongoing requests of each at the target.

    Every interval_s the requests in the system are counted; their mean over look_back_s, over the target, is the number
    wanted. It is adopted when more were wanted at every look for up_delay_s, or fewer for down_delay_s. Ray's defaults
    (serve/autoscaling_policy.py), but for `most`, which Ray has at 1 and at 100 with num_replicas="auto"; `target`
    counts requests per GPU, so for batches it wants to be about a batch. New GPUs serve after the run's cold start.
    Simplified: counted at the look, not sampled in between; Ray looks every 0.1 s at metrics that are 10 s old.
    """

    target: float = 2.0
    interval_s: float = 10.0
    look_back_s: float = 30.0
    up_delay_s: float = 30.0
    down_delay_s: float = 600.0
    least: int = 1
    most: int = 8

    def start(self, view: View) -> None:
        delays = (self.look_back_s, self.up_delay_s, self.down_delay_s)
        _check("autoscale", self.least, self.most, (self.target, self.interval_s), delays)
        self._look_every(self.interval_s, view)
        self._counts: deque[tuple[float, int]] = deque()
        self._leaning, self._since = 0, 0.0  # 1: more GPUs were wanted at every look since then; -1: fewer

    def _wanted(self, view: View) -> int:
        now, counts = view.now, self._counts
        counts.append((now, view.waiting + sum(self._on.values())))
        while counts[0][0] <= now - self.look_back_s and len(counts) > 1:
            counts.popleft()
        mean = sum(count for _, count in counts) / len(counts)
        wanted = min(max(ceil(mean / self.target), self.least), self.most)
        leaning = (wanted > view.gpus) - (wanted < view.gpus)
        if leaning != self._leaning:
            self._leaning, self._since = leaning, now
        delay_s = self.up_delay_s if leaning > 0 else self.down_delay_s
        if not leaning or now < self._since + delay_s:
            return view.gpus
        self._leaning = 0
        return wanted


@dataclass
class Hpa(Scaled):
    """The Kubernetes horizontal pod autoscaler on the utilisation of the GPUs.

    Every interval_s: wanted = ceil(GPUs x utilisation / target), where the utilisation since the last look is off by
    more than the tolerance; at most four more or twice as many at a time; fewer only as far as the most that was wanted
    within down_delay_s. Kubernetes' defaults (horizontal.go, replica_calculator.go); `most` has none there. Simplified:
    busy time counts when a batch is done, and GPUs that are starting count as there.
    """

    target: float = 0.8
    tolerance: float = 0.1
    interval_s: float = 15.0
    down_delay_s: float = 300.0
    least: int = 1
    most: int = 8

    def start(self, view: View) -> None:
        _check("hpa", self.least, self.most, (self.target, self.interval_s), (self.tolerance, self.down_delay_s))
        self._look_every(self.interval_s, view)
        self._recent: deque[tuple[float, int]] = deque()  # what was wanted, and when
        self._looked, self._busy_before = view.now, 0.0

    def _wanted(self, view: View) -> int:
        now, busy_s, recent = view.now, self._busy_s, self._recent
        ratio = (busy_s - self._busy_before) / (view.gpus * (now - self._looked)) / self.target
        self._looked, self._busy_before = now, busy_s
        wanted = view.gpus if abs(ratio - 1) <= self.tolerance else ceil(view.gpus * ratio)
        wanted = min(wanted, max(view.gpus + 4, 2 * view.gpus))
        recent.append((now, wanted))
        while recent[0][0] < now - self.down_delay_s:
            recent.popleft()
        if wanted < view.gpus:
            wanted = min(view.gpus, max(each for _, each in recent))
        return min(max(wanted, self.least), self.most)


@dataclass
class Tail(Scaled):
    """As many GPUs as were used, and a few to spare.

    Symphony's consolidation (arXiv 2308.07470): the lowest idle GPU takes the next batch, so those at the tail that
    nothing ran on for window_s are not needed. Every interval_s: the highest GPU used, and `spare` above it. Only the
    abstract of its autoscaling is public to us; the spare GPUs, by which it grows, and the defaults are ours.
    """

    spare: int = 1
    interval_s: float = 1.0
    window_s: float = 10.0
    least: int = 1
    most: int = 8

    def start(self, view: View) -> None:
        _check("tail", self.least, self.most, (1.0, self.interval_s), (self.spare, self.window_s))
        self._look_every(self.interval_s, view)
        self._since = view.now

    def _wanted(self, view: View) -> int:
        since = view.now - self.window_s
        used = max((gpu for gpu, last in self._used.items() if last > since or self._on[gpu]), default=-1) + 1
        wanted = used + self.spare
        if wanted < view.gpus and view.now < self._since + self.window_s:
            return view.gpus  # too soon to say that any is not needed
        return min(max(wanted, self.least), self.most)


def _check(name: str, least: int, most: int, positive: tuple[float, ...], others: tuple[float, ...]) -> None:
    if not (1 <= least <= most):
        raise ValueError(f"{name} needs 1 <= least <= most, not {least} and {most}")
    if not (all(0 < each < inf for each in positive) and all(0 <= each < inf for each in others)):
        raise ValueError(f"{name} needs a target and an interval above 0, and no negative delays or tolerances")
