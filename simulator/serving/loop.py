"""The serving loop: admit, decide, execute."""

from __future__ import annotations

from array import array
from bisect import insort
from collections.abc import Callable, Generator, Sequence
from contextlib import closing
from dataclasses import replace
from functools import partial
from heapq import heapify, heappop, heappush
from math import inf
from operator import index
from typing import Any, NoReturn

from policies.interface import Completion, Dispatch, Drop, Policy, Preempt, Scale, Wait
from simulator.core import Batch, Execution, PolicyError, Records, place
from simulator.executors.table import Executor, TableExecutor
from simulator.queue.backlog import Backlog
from simulator.queue.view import ServerView
from simulator.serving.clock import Clock
from simulator.serving.fleet import Due, Fleet

#: Batches between two reports of progress.
PROGRESS = 256
#: Waits in a row with an idle GPU, nothing new and nothing running, after which a policy is said never to dispatch.
IDLE_WAITS = 1000
#: So many Scale and Preempt at one moment, and a policy is said not to settle.
RESTLESS = 1000
PLAIN = Execution(0.0)


class Server:
    """One queue, some GPUs, a policy that decides and an executor that runs: one generator on the clock.

    Arrivals are not events. The loop wakes for a GPU that becomes free, for the arrival that somebody waits for,
    and for a policy's timer. At equal times completions, arrivals and timers are all taken in before one round of
    decisions. cold_start_s: until a GPU that a policy adds serves; None where none can be added.
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
        cold_start_s: float | None = None,
    ) -> None:
        self.clock, self.executor, self.policy, self.backlog, self.view = clock, executor, policy, backlog, view
        self.records, self._idle = records, idle
        self._observe: Callable[[Completion], None] | None = getattr(policy, "observe", None)
        self._every_arrival = bool(getattr(policy, "every_arrival", False))
        self._on_progress, self._scales = on_progress, cold_start_s is not None
        self._submit = getattr(executor, "submit", None)
        # Of the table alone all is known without a Batch, which takes a tenth of the time of a small one to make.
        self._takes = executor.takes if type(executor) is TableExecutor else None
        self._elsewhere = 0  # batches whose completion will come through the clock's inbox
        self._largest = view.plan.max_batch
        self._levels = {id(level) for level in view.levels}
        self._last_level = view.levels[-1]
        self._due: list[Due] = []  # soonest first
        self._fleet = Fleet(idle, self._due, view, records, clock.now, cold_start_s)
        self._waits, self._waits_since = 0, 0
        self._restless = (-inf, 0)  # the moment of the last Scale or Preempt, and how many there were at it
        self._steps = self._serve()
        self._upcoming: Any = None  # the alarm that is waited for; one that was overtaken rings without effect

    def serve(self) -> Records:
        """Serve every request of the backlog. Raises PolicyError where the policy breaks a rule or raises."""
        try:
            with self.clock.interruptible(self.close), closing(self._steps):  # which otherwise keep the records alive
                self._go_on(None)
                self.clock.run()
        except PolicyError as error:
            name, where = type(self.policy).__name__, place(error.__cause__) or place(error)
            raise PolicyError(f"policy {name} at {self.clock.now:.6f} s {error}{where}") from error.__cause__
        return self.records

    def close(self) -> None:
        """Let nobody in from now on and turn those away who wait; what runs is finished. For the clock's callbacks."""
        now = self.clock.now
        self.backlog.close(now)
        if self.backlog.waiting:
            self._drop(Drop(self.backlog.oldest(self.backlog.waiting), "interrupted"), now)
        self.interrupt()

    def _go_on(self, alarm: Any) -> None:
        """What a SimPy process does when its event rings, less the bookkeeping of who waits for whom."""
        if alarm is self._upcoming:
            self._upcoming = upcoming = self._steps.send(alarm and alarm._value)
            if upcoming is not None:
                upcoming.callbacks.append(self._go_on)

    def interrupt(self) -> None:
        """Go on at once, before the alarm that was waited for."""
        if self._upcoming is not None:
            self._upcoming.callbacks.clear()  # so that nobody sleeps until then
            self._upcoming = self.clock.at(self.clock.now)
            self._upcoming.callbacks.append(self._go_on)

    def _serve(self) -> Generator[Any, float, None]:
        """Yields the alarm to wake for, takes the time it rang at; None once everything is served."""
        clock, backlog, view, due = self.clock, self.backlog, self.view, self._due
        idle, decide, every_arrival = self._idle, self.policy.decide, self._every_arrival
        records, unanswered, scales = self.records, self.records.unanswered, self._scales
        watched = self._observe is not None or self._on_progress is not None
        now = clock.now
        while True:
            view.now = now
            while due and due[0][0] <= now:
                _, batch, gpu, done = heappop(due)
                if gpu >= view.gpus:
                    self._fleet.retire(gpu, now)
                elif gpu >= 0:
                    insort(idle, gpu)
                if unanswered and batch in unanswered:
                    backlog.give_back(records.batches[batch][5])
                if watched:
                    self._tell(done, batch)
            view.waiting = backlog.admit(now)
            wake = inf
            while (view.waiting and (idle or every_arrival)) or (scales and backlog.gone < backlog.total):
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
                elif type(action) is Scale:
                    self._settle(now)
                    self._fleet.scale(action, now)
                elif type(action) is Preempt:
                    self._preempt(action, now)
                else:
                    raise PolicyError(f"answered {action!r}; it must be a Dispatch, a Drop or a Wait")
            if every_arrival or (idle and not view.waiting):
                arrival = backlog.next_arrival()
                wake = arrival if arrival < wake else wake
            if due and due[0][0] < wake:
                wake = due[0][0]
            if wake < inf:
                now = wake if clock.skip(wake) else (yield clock.at(wake))
            elif self._elsewhere or backlog.open:
                now = yield clock.event()  # never rings: a completion or an arrival interrupts
            elif view.waiting:
                raise PolicyError(f"waits for what cannot come: {view.waiting} requests wait and nothing runs")
            else:
                yield None

    def _dispatch(self, action: Dispatch, now: float) -> None:
        requests, level, gpu = action.requests, action.level, action.gpu
        view, backlog, batches, idle = self.view, self.backlog, self.records.batches, self._idle
        if gpu is None and idle:
            gpu = idle.pop(0)
        elif gpu in idle:
            idle.remove(gpu)
        else:
            raise PolicyError(f"dispatched to GPU {gpu}, but {idle} are idle" if idle else "dispatched to busy GPUs")
        if type(requests) is not range:
            requests = _own(requests)
        size = len(requests)
        if size > self._largest:
            raise PolicyError(f"dispatched {size} requests; the table's largest batch is {self._largest}")
        if level is not self._last_level:  # mostly it is, which is quicker to see
            if id(level) not in self._levels:
                raise PolicyError(f"dispatched at {level!r}, which is not one of view.levels")
            self._last_level = level
        bucket = backlog.take(requests)
        view.waiting = backlog.arrived - backlog.gone
        number = len(batches)
        if self._takes is not None:
            execution = self._takes(level, bucket, size)
        else:
            batch = Batch(gpu, level, requests, bucket, action.plan)
            if self._submit is not None:
                batches.append((now, inf, gpu, level, bucket, requests))
                self._elsewhere += 1
                self._submit(batch, now).callbacks.append(partial(self._come_in, number))
                return
            execution = self.executor.run(batch, now)
        finish = now + execution.seconds
        batches.append((now, finish, gpu, level, bucket, requests))
        done = None if self._observe is None else Completion(gpu, level, requests, now, finish)
        if execution.plain:
            heappush(self._due, (finish, number, gpu, done))
        else:
            self._ends(number, execution, done)

    def _come_in(self, number: int, event: Any) -> None:
        """Take in a batch that ran elsewhere: it is done now. One that failed ends the run: SimPy raises its error."""
        if not event.ok:
            return
        start, _, gpu, level, bucket, requests = self.records.batches[number]
        now = self.clock.now
        self.records.batches[number] = (start, now, gpu, level, bucket, requests)
        self._elsewhere -= 1
        done = None if self._observe is None else Completion(gpu, level, requests, start, now)
        self._ends(number, replace(event.value, seconds=now - start), done)
        self.interrupt()

    def _ends(self, number: int, execution: Execution, done: Completion | None) -> None:
        """Note when a batch is done, its device is free, and what of it is more than seconds."""
        start, finish, gpu, *_ = self.records.batches[number]
        if not execution.plain:
            self.records.executions[number] = execution
        if not execution.answered:
            self.records.unanswered.add(number)
        if execution.accepts is None:
            heappush(self._due, (finish, number, gpu, done))
        else:
            heappush(self._due, (start + execution.accepts, -1, gpu, None))
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

    def _preempt(self, action: Preempt, now: float) -> None:
        """End the batch of a GPU now; its requests wait again."""
        due, records = self._due, self.records
        self._settle(now)
        if "preempt" not in self.executor.offers:
            raise PolicyError("preempts, which this executor cannot do")
        running = next((entry for entry in due if entry[2] == action.gpu and entry[1] >= 0), None)
        if running is None or not records.executions.get(running[1], PLAIN).plain:
            raise PolicyError(f"preempts GPU {action.gpu}, which runs nothing that can be stopped")
        due.remove(running)
        heapify(due)
        start, _, gpu, level, bucket, requests = records.batches[running[1]]
        records.batches[running[1]] = (start, now, gpu, level, bucket, requests)
        records.unanswered.add(running[1])
        self.backlog.give_back(requests)
        self.view.waiting = self.backlog.waiting
        if gpu >= self.view.gpus:
            self._fleet.retire(gpu, now)
        else:
            insort(self._idle, gpu)

    def _settle(self, now: float) -> None:
        """Raise PolicyError where a policy scales and preempts on and on at one moment."""
        self._restless = (now, self._restless[1] + 1 if self._restless[0] == now else 1)
        if self._restless[1] > RESTLESS:
            raise PolicyError(f"scaled and preempted {RESTLESS} times at one moment, and does not settle")

    def _alarm(self, wait: Wait, now: float) -> float:
        """When a Wait is over: its time, or the arrival that makes as many wait as it asks for."""
        until, backlog = wait.until, self.backlog
        try:
            wake = backlog.next_arrival() if wait.waiting is None and wait.bucket is None else backlog.reaches(wait)
            passed = not until > now  # so that NaN counts as passed
            if until < wake:
                wake = until
        except TypeError as error:
            raise PolicyError(f"answered {wait!r}, which makes no sense: {error}") from None
        if passed:
            raise PolicyError(f"waits until {until}, which has come: test `now >= until` first, and act")
        arrived = backlog.arrived
        nothing_new = self.view.waiting and not self._due and arrived == self._waits_since
        self._waits = self._waits + 1 if nothing_new else 1
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
    """The requests that a policy names as our own, since it may use its list again. A range stays one."""
    if type(requests) is range:
        return requests
    if type(requests) is array and requests.typecode == "q":
        return requests[:]
    try:
        return tuple(map(index, requests))
    except TypeError:
        raise PolicyError(f"named {requests!r}: requests must be a sequence of whole numbers") from None
