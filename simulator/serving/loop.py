"""The serving loop: admit, decide, execute."""

from __future__ import annotations

from bisect import insort
from collections.abc import Callable, Generator
from contextlib import closing
from heapq import heappop
from math import inf
from typing import Any

from policies.interface import Drop, Policy
from profiler.events import Event
from simulator.core import Executor, ExecutorError, PolicyError, Records, place
from simulator.queue.backlog import Backlog
from simulator.queue.hosted import HostQueue
from simulator.queue.view import ServerView
from simulator.serving.actions import ACTS, drop
from simulator.serving.clock import Clock
from simulator.serving.events import abandoned, post, take_in, tell
from simulator.serving.fleet import STARTED
from simulator.serving.memory import Memory
from simulator.serving.state import State, blame, blame_values

#: By how much the loop may be behind the wall clock before it skips what it has missed.
BEHIND_S = 1.0


class Server:
    """One queue, some GPUs, a policy that decides and an executor that runs: one generator on the clock.

    Arrivals are not events. The loop wakes for an event of a batch, for the arrival that a Wait names, and for a
    policy's timer. At equal times events of batches, arrivals and timers are all taken in before one round of
    decisions. An executor gives events with the batch where it knows them beforehand; a batch that runs elsewhere posts
    them to the clock's inbox. All of them pass one heap, and `_serve` takes them from there.

    cold_start_s: until a GPU that a policy adds serves; None where none can be added. memory: where adapters are bound.
    patience_s: a batch that runs elsewhere for longer ends the run. host: that of the backlog, where its time counts.
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
        patience_s: float = inf,
        host: HostQueue | None = None,
    ) -> None:
        self._patience_s = patience_s
        more = (on_progress, cold_start_s, memory, host)
        self.state = State(clock, executor, policy, backlog, view, records, idle, *more)
        self.clock, self.policy, self.backlog, self.records = clock, policy, backlog, records
        self._steps = self._serve()
        self._looking: Any = None  # the alarm of the next look
        self._upcoming: Any = None  # the alarm that is waited for; one that was overtaken rings without effect

    def serve(self) -> Records:
        """Serve every request of the backlog.

        Raises PolicyError where the policy breaks a rule or raises, ExecutorError where the executor breaks one, or a
        batch does not end.
        """
        self.clock.receive = self._receive
        try:
            with self.clock.interruptible(self.close), closing(self._steps):  # which otherwise keep the records alive
                self._look()
                self._go_on(None)
                self.clock.run()
        except PolicyError as error:
            name, where = type(self.policy).__name__, place(error.__cause__) or place(error)
            said = " ".join(str(error).split())
            raise PolicyError(f"policy {name} at {self.clock.now:.6f} s {said}{where}") from error.__cause__
        finally:
            del self.clock.receive  # a cycle would keep the records alive, too
        if self.state.elsewhere:
            raise ExecutorError(f"{len(self.state.elsewhere)} batches never ended: their executor posted no DONE")
        return self.records

    def close(self) -> None:
        """Admit no further request and drop those that wait; what runs is finished. For the clock's callbacks."""
        now = self.clock.now
        self.backlog.close(now)
        if self.backlog.waiting:
            drop(self.state, Drop(self.backlog.oldest(self.backlog.waiting), "interrupted"), now)
        self.interrupt()

    def _receive(self, number: int, event: Event) -> None:
        """Take an event of a batch that runs elsewhere from the inbox."""
        if number not in self.state.given_up and post(self.state, number, event):
            self.interrupt()

    def _go_on(self, alarm: Any) -> None:
        """Resume the generator when its alarm rings (a minimal simpy.Process)."""
        if alarm is self._upcoming:
            self._upcoming = upcoming = self._steps.send(alarm and alarm._value)
            if upcoming is not None:
                upcoming.callbacks.append(self._go_on)
            elif self._looking is not None:
                self._looking.callbacks.clear()  # so that the clock ends with the run

    def _alarm(self, wake: float) -> Any:
        """The alarm to wake for. Where events are posted, a loop that is far behind does not make up for every Wait."""
        if self.state.elsewhere or self.backlog.open:
            wake = max(wake, self.clock.wall - BEHIND_S)
        return self.clock.at(wake)

    def _look(self, alarm: Any = None) -> None:
        """Raise ExecutorError where a batch has run elsewhere for too long; look again when one could have."""
        if self._patience_s == inf:
            return
        state, now = self.state, self.clock.now
        oldest = next(iter(state.elsewhere), None)
        over = (now if oldest is None else state.elsewhere[oldest][1]) + self._patience_s
        if oldest is not None and over <= now:
            where = f"batch {oldest} on GPU {state.batches[oldest][2]}"
            raise ExecutorError(f"{where} has not ended after {self._patience_s:g} s: the device is stuck, or lost it")
        self._looking = self.clock.at(over)
        self._looking.callbacks.append(self._look)

    def interrupt(self) -> None:
        """Resume the generator at once, before the alarm that it waits for."""
        if self._upcoming is not None:
            self._upcoming.callbacks.clear()  # so that the clock does not sleep until then
            self._upcoming = self.clock.at(self.clock.now)
            self._upcoming.callbacks.append(self._go_on)

    def _serve(self) -> Generator[Any, float, None]:
        """Yields the alarm to wake for, takes the time it rang at; None once everything is served."""
        state, clock, backlog = self.state, self.clock, self.backlog
        view, due, idle, watched = state.view, state.due, state.idle, state.watched
        decide, every_arrival = self.policy.decide, bool(getattr(self.policy, "every_arrival", False))
        acts, scales = ACTS, state.scales
        now = clock.now
        while True:
            view.now = now
            while due and due[0][0] <= now:
                time, number, order, event = heappop(due)
                if event is not None:
                    take_in(state, number, time, event, now)
                    continue
                if order < view.gpus:  # DONE alone, or a GPU that has started: the usual case; a call costs 5 %
                    insort(idle, order)
                else:
                    state.fleet.retire(order, now)
                if watched and number != STARTED:
                    tell(state, number)
            view.waiting = backlog.admit(now)
            wake = inf
            while (view.waiting and (idle or every_arrival)) or (scales and backlog.left < backlog.total):
                try:
                    action = decide(view)
                except BaseException as error:
                    blame(error)
                try:
                    until = acts[type(action)](state, action, now)
                except BaseException as error:
                    blame_values(error)
                if until is not None:
                    wake = until
                    break
            if every_arrival or (idle and not view.waiting):
                arrival = backlog.next_arrival()
                wake = arrival if arrival < wake else wake
            if due and due[0][0] < wake:
                wake = due[0][0]
            if wake < inf:
                now = wake if clock.skip(wake) else (yield self._alarm(wake))
            elif (
                (state.elsewhere and not abandoned(state, now))
                or backlog.open
                or (state.memory is not None and state.memory.coming)
            ):
                now = yield clock.silence()
            elif view.waiting:
                raise PolicyError(f"waits for what cannot come: {view.waiting} requests wait and nothing runs")
            else:
                yield None
