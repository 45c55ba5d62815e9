"""The serving loop: admit, decide, execute."""

from __future__ import annotations

from bisect import insort
from collections.abc import Callable, Generator, Sequence
from heapq import heappop, heappush
from math import inf
from operator import index
from typing import Any, NoReturn

from policies.interface import Completion, Dispatch, Drop, Policy, Wait
from simulator.backlog import Backlog
from simulator.batch import Batch
from simulator.clock import Clock
from simulator.error import PolicyError, place
from simulator.executor import Executor
from simulator.records import Records
from simulator.view import ServerView

_new_tuple = tuple.__new__
#: Batches between two reports of progress.
PROGRESS = 256
#: Waits in a row with an idle GPU, nothing new and nothing running, after which a policy is said never to dispatch.
IDLE_WAITS = 1000


class Server:
    """One queue, some GPUs, a policy that decides and an executor that runs: one generator on the clock.

    Arrivals are not events. The loop wakes for a GPU that becomes free, for the arrival that somebody waits for,
    and for a policy's timer. At equal times completions, arrivals and timers are all taken in before one round of
    decisions.
    """

    def __init__(
        self,
        clock: Clock,
        executor: Executor,
        policy: Policy,
        backlog: Backlog,
        view: ServerView,
        records: Records,
        idle: list[int],
        on_progress: Callable[[int], None] | None = None,
    ) -> None:
        self.clock, self.executor, self.policy, self.backlog, self.view = clock, executor, policy, backlog, view
        self.records, self._idle = records, idle
        self._observe: Callable[[Completion], None] | None = getattr(policy, "observe", None)
        self._every_arrival = bool(getattr(policy, "every_arrival", False))
        self._on_progress = on_progress
        self._largest = view.plan.max_batch
        self._levels = {id(level) for level in view.levels}
        # (when, batch, the GPU that becomes free or -1, what to observe or None), soonest first.
        self._due: list[tuple[float, int, int, Completion | None]] = []
        self._waits, self._waits_since = 0, 0

    def serve(self) -> Records:
        """Serve every request of the backlog. Raises PolicyError where the policy breaks a rule or raises."""
        steps = self._serve()

        def go_on(alarm: Any) -> None:
            """What a SimPy process does when its event rings, less the bookkeeping of who waits for whom."""
            upcoming = steps.send(alarm and alarm._value)
            if upcoming is not None:
                upcoming.callbacks.append(go_on)

        try:
            go_on(None)
            self.clock.run()
        except PolicyError as error:
            name, where = type(self.policy).__name__, place(error.__cause__) or place(error)
            raise PolicyError(f"policy {name} at {self.clock.now:.6f} s {error}{where}") from error.__cause__
        return self.records

    def _serve(self) -> Generator[Any, float, None]:
        """Yields the alarm to wake for, takes the time it rang at; None once everything is served."""
        clock, backlog, view, due = self.clock, self.backlog, self.view, self._due
        idle, decide, every_arrival = self._idle, self.policy.decide, self._every_arrival
        watched = self._observe is not None or self._on_progress is not None
        now = clock.now
        while True:
            view.now = now
            while due and due[0][0] <= now:
                _, batch, gpu, done = heappop(due)
                if gpu >= 0:
                    insort(idle, gpu)
                if watched:
                    self._tell(done, batch)
            view.waiting = backlog.admit(now)
            wake = inf
            while view.waiting and (idle or every_arrival):
                try:
                    action = decide(view)
                except Exception as error:
                    self._blame(error)
                if type(action) is Dispatch:
                    self._dispatch(action, now)
                elif type(action) is Wait:
                    wake = self._alarm(action, now)
                    break
                elif type(action) is Drop:
                    self._drop(action, now)
                else:
                    raise PolicyError(f"answered {action!r}; it must be a Dispatch, a Drop or a Wait")
            if every_arrival or (idle and not view.waiting):
                wake = min(wake, backlog.next_arrival())
            if due and due[0][0] < wake:
                wake = due[0][0]
            if wake == inf:
                if view.waiting:
                    raise PolicyError(f"waits for what cannot come: {view.waiting} requests wait and nothing runs")
                yield None
            now = yield clock.at(wake)

    def _dispatch(self, action: Dispatch, now: float) -> None:
        requests, level, gpu, plan = action
        view, backlog, batches = self.view, self.backlog, self.records.batches
        idle = self._idle
        if gpu is None and idle:
            gpu = idle.pop(0)
        elif gpu in idle:
            idle.remove(gpu)
        else:
            raise PolicyError(f"dispatched to GPU {gpu}, but {idle} are idle" if idle else "dispatched to busy GPUs")
        if type(requests) is not range:
            requests = _own(requests)
        if len(requests) > self._largest:
            raise PolicyError(f"dispatched {len(requests)} requests; the table's largest batch is {self._largest}")
        if id(level) not in self._levels:
            raise PolicyError(f"dispatched at {level!r}, which is not one of view.levels")
        bucket = backlog.take(requests)
        view.waiting = backlog.arrived - backlog.gone
        # As Batch(...) does, without the call in between: this runs for every batch.
        batch = _new_tuple(Batch, (gpu, level, requests, bucket, plan))
        execution = self.executor.run(batch, now)
        number, finish = len(batches), now + execution.seconds
        batches.append((now, finish, gpu, level, bucket, requests))
        if execution.released is not None or execution.columns is not None:
            self.records.executions[number] = execution
        done = None if self._observe is None else Completion(gpu, level, requests, now, finish)
        if execution.accepts is None:
            heappush(self._due, (finish, number, gpu, done))
        else:
            heappush(self._due, (now + execution.accepts, number, gpu, None))
            heappush(self._due, (finish, number, -1, done))

    def _tell(self, done: Completion | None, batch: int) -> None:
        """Tell the policy what is done, and whoever watches how far the run is."""
        if done is not None and self._observe is not None:
            try:
                self._observe(done)
            except Exception as error:
                self._blame(error)
        if self._on_progress is not None and batch % PROGRESS == 0:
            self._on_progress(self.backlog.gone)

    def _drop(self, action: Drop, now: float) -> None:
        requests = _own(action.requests)
        self.backlog.take(requests)
        self.view.waiting = self.backlog.waiting
        self.records.drops.append((now, requests, action.reason))

    def _alarm(self, wait: Wait, now: float) -> float:
        """When a Wait is over: its time, or the arrival that makes as many wait as it asks for."""
        try:
            wake = min(wait.until, self.backlog.reaches(wait))
            passed = not wait.until > now  # so that NaN counts as passed
        except TypeError as error:
            raise PolicyError(f"answered {wait!r}, which makes no sense: {error}") from None
        if passed:
            raise PolicyError(f"waits until {wait.until}, which has come: test `now >= until` first, and act")
        arrived = self.backlog.arrived
        self._waits = 1 if self._due or arrived != self._waits_since else self._waits + 1
        self._waits_since = arrived
        if self._waits > IDLE_WAITS:
            raise PolicyError(
                f"waited {IDLE_WAITS} times in a row while {self.view.waiting} requests and a GPU stood idle"
            )
        return wake

    def _blame(self, error: Exception) -> NoReturn:
        """End the run with whatever the policy raised."""
        if isinstance(error, PolicyError):
            raise error
        raise PolicyError(f"raised {type(error).__name__}: {error}") from error


def _own(requests: Sequence[int]) -> Sequence[int]:
    """The requests that a policy names as our own tuple, since it may use its list again. A range stays one."""
    if type(requests) is range:
        return requests
    try:
        return tuple(map(index, requests))
    except TypeError:
        raise PolicyError(f"named {requests!r}: requests must be a sequence of whole numbers") from None
