"""The serving loop: admit, decide, execute."""

from __future__ import annotations

from array import array
from bisect import insort
from collections.abc import Callable, Generator, Sequence
from contextlib import closing
from heapq import heapify, heappop, heappush
from math import inf
from operator import index
from typing import Any, NoReturn

from policies.interface import (
    Completion,
    Dispatch,
    Drop,
    Evict,
    Final,
    Heard,
    Load,
    Policy,
    Preempt,
    Release,
    Scale,
    Wait,
)
from policies.machinery.raised import heed_interrupt
from policies.machinery.wrapped import hears
from profiler.events import BatchPlan, Event, Execution, Kind, Requests
from profiler.table import Level
from simulator.core import Executor, PolicyError, Records, place
from simulator.queue.backlog import Backlog
from simulator.queue.view import ServerView
from simulator.serving.clock import Clock
from simulator.serving.fleet import LOADED, STARTED, Due, Fleet
from simulator.serving.memory import Memory

#: Batches between two reports of progress.
PROGRESS = 256
#: A policy that returns this many Waits in a row, with an idle GPU, no new request and nothing running, is stopped.
IDLE_WAITS = 1000
#: A policy is stopped after this many Scale and Preempt at one moment, or this many Load and Evict, beyond those that
#: can be of use, while no request arrives or leaves.
RESTLESS = 1000
#: The columns of an answer that a policy may observe: never whether it was right.
HEARD = ("students", "exit", "answer", "confidence", "margin")


class Server:
    """One queue, some GPUs, a policy that decides and an executor that runs: one generator on the clock.

    Arrivals are not events. The loop wakes for an event of a batch, for the arrival that a Wait names, and for a
    policy's timer. At equal times events of batches, arrivals and timers are all taken in before one round of
    decisions. An executor gives events with the batch where it knows them beforehand; a batch that runs elsewhere posts
    them to the clock's inbox. All of them pass one heap, and `_serve` takes them from there.

    cold_start_s: until a GPU that a policy adds serves; None where none can be added. memory: where adapters are bound.
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
        memory: Memory | None = None,
    ) -> None:
        self.clock, self.executor, self.policy, self.backlog, self.view = clock, executor, policy, backlog, view
        self.records, self._batches, self._idle = records, records.batches, idle
        self._observe: Callable[[Any], None] | None = getattr(policy, "observe", None)
        self._hears = hears(policy) if self._observe is not None else frozenset()
        self._every_arrival = bool(getattr(policy, "every_arrival", False))
        self._on_progress, self._scales = on_progress, cold_start_s is not None
        self._memory = memory
        watched = (self._observe, on_progress, records.ended, memory)
        self._watched = any(each is not None for each in watched)
        self._begin = executor.begin if memory is None else self._begin_pinned
        self._elsewhere = self._posted = 0  # batches that run elsewhere; events that came from there
        self._largest = view.plan.max_batch
        self._levels = {id(level) for level in view.levels}
        self._last_level = view.levels[-1]
        self._due: list[Due] = []  # a heap, soonest first
        self._fleet = Fleet(idle, self._due, view, records, clock.now, cold_start_s)
        self._accepted: set[int] = set()  # batches whose GPU is free before they are done
        self._returned: dict[int, list[int]] = {}  # requests that wait again, by batch that is not done
        self._waits, self._waits_since = 0, 0
        self._restless: tuple[object, int] = (None, 0)  # when the policy last acted without end in sight, how often
        self._steps = self._serve()
        self._upcoming: Any = None  # the alarm that is waited for; one that was overtaken rings without effect

    def serve(self) -> Records:
        """Serve every request of the backlog. Raises PolicyError where the policy breaks a rule or raises."""
        self.clock.receive = self._receive
        try:
            with self.clock.interruptible(self.close), closing(self._steps):  # which otherwise keep the records alive
                self._go_on(None)
                self.clock.run()
        except PolicyError as error:
            name, where = type(self.policy).__name__, place(error.__cause__) or place(error)
            raise PolicyError(f"policy {name} at {self.clock.now:.6f} s {error}{where}") from error.__cause__
        finally:
            del self.clock.receive  # a cycle would keep the records alive, too
        if self._elsewhere:
            raise RuntimeError(f"{self._elsewhere} batches never ended: their executor posted no DONE")
        return self.records

    def close(self) -> None:
        """Admit no further request and drop those that wait; what runs is finished. For the clock's callbacks."""
        now = self.clock.now
        self.backlog.close(now)
        if self.backlog.waiting:
            self._drop(Drop(self.backlog.oldest(self.backlog.waiting), "interrupted"), now)
        self.interrupt()

    def _go_on(self, alarm: Any) -> None:
        """Resume the generator when its alarm rings (a minimal simpy.Process)."""
        if alarm is self._upcoming:
            self._upcoming = upcoming = self._steps.send(alarm and alarm._value)
            if upcoming is not None:
                upcoming.callbacks.append(self._go_on)

    def interrupt(self) -> None:
        """Resume the generator at once, before the alarm that it waits for."""
        if self._upcoming is not None:
            self._upcoming.callbacks.clear()  # so that the clock does not sleep until then
            self._upcoming = self.clock.at(self.clock.now)
            self._upcoming.callbacks.append(self._go_on)

    def _serve(self) -> Generator[Any, float, None]:
        """Yields the alarm to wake for, takes the time it rang at; None once everything is served."""
        clock, backlog, view, due = self.clock, self.backlog, self.view, self._due
        idle, decide, every_arrival = self._idle, self.policy.decide, self._every_arrival
        acts, scales, take_in, watched = ACTS, self._scales, self._take_in, self._watched
        now = clock.now
        while True:
            view.now = now
            while due and due[0][0] <= now:
                time, number, order, event = heappop(due)
                if event is not None:
                    take_in(number, time, event, now)
                    continue
                if order < view.gpus:  # DONE alone, or a GPU that has started: the usual case; a call costs 5 %
                    insort(idle, order)
                else:
                    self._fleet.retire(order, now)
                if watched and number != STARTED:
                    self._tell(number)
            view.waiting = backlog.admit(now)
            wake = inf
            while (view.waiting and (idle or every_arrival)) or (scales and backlog.left < backlog.total):
                try:
                    action = decide(view)
                except BaseException as error:
                    self._blame(error)
                until = acts[type(action)](self, action, now)
                if until is not None:
                    wake = until
                    break
            if every_arrival or (idle and not view.waiting):
                arrival = backlog.next_arrival()
                wake = arrival if arrival < wake else wake
            if due and due[0][0] < wake:
                wake = due[0][0]
            if wake < inf:
                now = wake if clock.skip(wake) else (yield clock.at(wake))
            elif self._elsewhere or backlog.open:
                now = yield clock.silence()
            elif view.waiting:
                raise PolicyError(f"waits for what cannot come: {view.waiting} requests wait and nothing runs")
            else:
                yield None

    # Events

    def _take_in(self, number: int, time: float, event: Event, now: float) -> None:
        """Handle an event of a batch."""
        HAPPENS[event.kind](self, number, time, event, now)
        if event.kind is not Kind.DONE:
            return
        if number in self._accepted:
            self._accepted.remove(number)
        else:
            self._free(self._batches[number][2], now)
        if self._watched:
            self._tell(number)

    def _free(self, gpu: int, now: float) -> None:
        """Let a GPU take the next batch, unless it was scaled away."""
        if gpu < self.view.gpus:
            insort(self._idle, gpu)
        else:
            self._fleet.retire(gpu, now)

    def _release(self, number: int, time: float, event: Event, now: float) -> None:
        """Let answers leave."""
        self.records.events.append((number, time, event))
        if "releases" in self._hears:
            self._heard(Release, number, time, event, HEARD)

    def _accept(self, number: int, time: float, event: Event, now: float) -> None:
        """Let the GPU take the next batch before this one is done."""
        self.records.events.append((number, time, event))
        self._accepted.add(number)
        self._free(self._batches[number][2], now)

    def _return(self, number: int, time: float, event: Event, now: float) -> None:
        """Let requests wait again."""
        self.records.events.append((number, time, event))
        requests = self._batches[number][5]
        again = requests if event.rows is None else [requests[row] for row in event.rows]
        self.backlog.give_back(again)
        if self._observe is not None:
            self._returned.setdefault(number, []).extend(again)

    def _finals(self, number: int, time: float, event: Event, now: float) -> None:
        """Note what the end of a batch says of answers that left before it."""
        if event.columns is not None:
            self.records.events.append((number, time, event))
            if "finals" in self._hears:
                self._heard(Final, number, time, event, ("agrees",))

    def _loaded(self, number: int, time: float, event: Event, now: float) -> None:
        """Note that an adapter is there."""
        assert self._memory is not None
        loaded = self._memory.loaded(LOADED - number)
        if "loads" in self._hears:
            self._say(loaded)

    def _heard(
        self, kind: type[Release] | type[Final], number: int, time: float, event: Event, names: Sequence[str]
    ) -> None:
        """Let the policy observe answers: what a real server knows of them."""
        _, _, gpu, level, _, requests = self._batches[number]
        rows = range(len(requests)) if event.rows is None else event.rows
        columns = event.columns or {}
        heard = kind(gpu, level, requests, rows, time, {name: columns[name] for name in names if name in columns})
        self._say(heard)

    def _receive(self, number: int, event: Event) -> None:
        """Take an event of a batch that runs elsewhere from the inbox into the heap, at the time that it says."""
        start, _, gpu, level, bucket, requests = self._batches[number]
        time = start + event.after
        if event.kind is Kind.DONE:
            self._batches[number] = (start, time, gpu, level, bucket, requests)
            self._elsewhere -= 1
        self._posted += 1
        heappush(self._due, (time, number, self._posted, event))
        self.interrupt()

    def _tell(self, number: int) -> None:
        """Let the policy and others observe that a batch is done."""
        if self._memory is not None:
            self._memory.unpin(number)
        if self.records.ended is not None:
            self.records.ended(number)
        if self._observe is not None:
            start, finish, gpu, level, _, requests = self._batches[number]
            returned = self._returned.pop(number, ()) if self._returned else ()
            self._say(Completion(gpu, level, requests, start, finish, returned))
        if self._on_progress is not None and number % PROGRESS == 0:
            self._on_progress(self.backlog.left)

    def _say(self, event: Heard) -> None:
        assert self._observe is not None
        try:
            self._observe(event)
        except BaseException as error:
            self._blame(error)

    # Actions

    def _dispatch(self, action: Dispatch, now: float) -> None:
        requests, level, gpu = action.requests, action.level, action.gpu
        view, backlog, batches, idle = self.view, self.backlog, self._batches, self._idle
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
        view.waiting = backlog.arrived - backlog.left
        number = len(batches)
        execution = self._begin(number, gpu, level, bucket, requests, action.plan, now)
        if execution is None:
            batches.append((now, inf, gpu, level, bucket, requests))
            self._elsewhere += 1
            return
        seconds, events = execution
        finish = now + seconds
        batches.append((now, finish, gpu, level, bucket, requests))
        if not events:
            heappush(self._due, (finish, number, gpu, None))
            return
        for order, event in enumerate(events):
            time = finish if event.kind is Kind.DONE else now + event.after
            heappush(self._due, (time, number, order, event))

    def _begin_pinned(
        self, number: int, gpu: int, level: Level, bucket: int, requests: Requests, plan: BatchPlan | None, now: float
    ) -> Execution | None:
        """Begin a batch whose adapters are pinned until it is done."""
        assert self._memory is not None
        self._memory.pin(number, gpu, requests, now)
        return self.executor.begin(number, gpu, level, bucket, requests, plan, now)

    def _load(self, action: Load, now: float) -> None:
        heappush(self._due, (self._bound().load(action, now), LOADED - action.gpu, 0, Event(0.0, Kind.LOADED)))

    def _evict(self, action: Evict, now: float) -> None:
        self._bound().evict(action)

    def _bound(self) -> Memory:
        """The memory that a Load or Evict is about."""
        if self._memory is None:
            raise PolicyError('loads and evicts, which not every run offers: declare needs = frozenset({"memory"})')
        self._settle((self.backlog.arrived, self.backlog.left), RESTLESS + self._memory.most_loads)
        return self._memory

    def _drop(self, action: Drop, now: float) -> None:
        requests = _own(action.requests)
        self.backlog.take(requests)
        self.view.waiting = self.backlog.waiting
        self.records.drops.append((now, requests, action.reason))

    def _scale(self, action: Scale, now: float) -> None:
        self._settle(now)
        self._fleet.scale(action, now)

    def _preempt(self, action: Preempt, now: float) -> None:
        """End the batch of a GPU now; its requests wait again."""
        due, batches = self._due, self._batches
        self._settle(now)
        if "preempt" not in self.executor.offers:
            raise PolicyError("preempts, which this executor cannot do")
        running = [entry for entry in due if entry[1] >= 0 and batches[entry[1]][2] == action.gpu]
        if len(running) != 1 or running[0][3] is not None:
            raise PolicyError(f"preempts GPU {action.gpu}, which runs nothing that can be stopped")
        due.remove(running[0])
        heapify(due)
        number = running[0][1]
        start, _, gpu, level, bucket, requests = batches[number]
        batches[number] = (start, now, gpu, level, bucket, requests)
        self.records.events.append((number, now, Event(now - start, Kind.RETURN)))
        self.backlog.give_back(requests)
        self.view.waiting = self.backlog.waiting
        if self._memory is not None:
            self._memory.unpin(number)
        self._free(gpu, now)
        if self.records.ended is not None:
            self.records.ended(number)

    def _settle(self, when: object, most: int = RESTLESS) -> None:
        """Raise PolicyError where a policy acts more than so many times while this stays the same."""
        self._restless = (when, self._restless[1] + 1 if self._restless[0] == when else 1)
        if self._restless[1] > most:
            raise PolicyError(f"scaled, preempted, loaded or evicted {most} times in a row, and does not settle")

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

    def _blame(self, error: BaseException) -> NoReturn:
        """End the run with the error that the policy raised."""
        heed_interrupt(error)
        if isinstance(error, PolicyError):
            raise error
        raise PolicyError(f"raised {type(error).__name__}: {error}") from error


class Handlers(dict[type, Callable[[Server, Any, float], float | None]]):
    """The handler of each type of action; it returns the time to wait until, or None to ask again."""

    def __missing__(self, kind: type) -> NoReturn:
        raise PolicyError(f"answered a {kind.__name__}; it must be one of {', '.join(each.__name__ for each in self)}")


ACTS = Handlers(
    {
        Dispatch: Server._dispatch,
        Wait: Server._alarm,
        Drop: Server._drop,
        Scale: Server._scale,
        Preempt: Server._preempt,
        Load: Server._load,
        Evict: Server._evict,
    }
)
#: The handler of each kind of event: (server, number of the batch, time, event, now).
HAPPENS: dict[Kind, Callable[[Server, int, float, Event, float], None]] = {
    Kind.RELEASE: Server._release,
    Kind.ACCEPT: Server._accept,
    Kind.RETURN: Server._return,
    Kind.DONE: Server._finals,
    Kind.LOADED: Server._loaded,
}


def _own(requests: Sequence[int]) -> Sequence[int]:
    """Copy the requests that a policy names, since it may reuse its list. A range stays one."""
    if type(requests) is range:
        return requests
    if type(requests) is array and requests.typecode == "q":
        return requests[:]
    try:
        return tuple(map(index, requests))
    except TypeError:
        raise PolicyError(f"named {requests!r}: requests must be a sequence of whole numbers") from None
