"""Actions of policies: each is checked, then done; a mistake is a PolicyError that says what was wrong."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Sequence
from heapq import heapify, heappush
from math import inf
from operator import index
from typing import Any, NoReturn

from policies.interface import Dispatch, Drop, Evict, Load, Preempt, Scale, Wait
from profiler.events import BatchPlan, Event, Kind
from simulator.core import ExecutorError, PolicyError
from simulator.serving.events import free, release, ring
from simulator.serving.link import slowed
from simulator.serving.memory import Memory
from simulator.serving.state import State

#: A policy that returns this many Waits in a row, while nothing comes or goes, is stopped: where a GPU is idle beside
#: waiting requests and nothing runs, or where each of them is over in no time.
IDLE_WAITS = 1000
SHORTEST_WAIT_S = 1e-6
#: A policy is stopped after this many Scale and Preempt at one moment, or this many Load and Evict, beyond those that
#: can be of use, while no request arrives or leaves.
RESTLESS = 1000


def _dispatch(state: State, action: Dispatch, now: float) -> None:
    requests, level, gpu = action.requests, action.level, action.gpu
    view, backlog, batches, idle = state.view, state.backlog, state.batches, state.idle
    gpu = idle.pop(0) if gpu is None and idle else _taken(idle, gpu)
    if type(requests) is not range or requests.step != 1 or requests.stop - requests.start > state.largest:
        requests = _own(requests, state.largest, "the table's largest batch is")
    if level is not state.last_level:  # mostly it is, which is quicker to see
        if id(level) not in state.levels:
            raise PolicyError(f"dispatched at {level!r}, which is not one of view.levels")
        state.last_level = level
    if (plan := action.plan) is not state.last_plan:
        if plan is not None and not isinstance(plan, BatchPlan):
            raise PolicyError(f"dispatched with {plan!r:.100}, which is no BatchPlan")
        state.last_plan = plan
        state.records.plans.append((len(batches), plan))
    bucket = backlog.take(requests)
    view.waiting = backlog.arrived - backlog.left
    number = len(batches)
    if state.memory is not None:
        state.memory.pin(number, gpu, requests, now)
        ring(state, gpu)
    execution = state.begin(number, gpu, level, bucket, requests, plan, now)
    if execution is None:
        batches.append((now, inf, gpu, level, bucket, requests))
        state.elsewhere[number] = now, state.clock.wall
        return
    seconds, events = execution
    finish = now + seconds
    if not now <= finish < inf:
        raise ExecutorError(f"the executor says that batch {number} takes {seconds} s")
    batches.append((now, finish, gpu, level, bucket, requests))
    if not events:
        heappush(state.due, (finish, number, gpu, None))
        return
    _expect(state, number, now, finish, events)


def _taken(idle: list[int], gpu: Any) -> int:
    """Take a GPU off the idle ones."""
    try:
        return idle.pop(idle.index(gpu))
    except (TypeError, ValueError):
        why = f"dispatched to GPU {gpu}, but {idle} are idle" if idle else "dispatched to busy GPUs"
        raise PolicyError(why) from None


def _expect(state: State, number: int, now: float, finish: float, events: Sequence[Event]) -> None:
    """Put the events of a batch into the heap. Raises ExecutorError unless they come in order, DONE last and once."""
    last, final = now, len(events) - 1
    for order, event in enumerate(events):
        done = event.kind is Kind.DONE
        time = finish if done else now + event.after
        if done != (order == final) or not last <= time <= finish:
            raise ExecutorError(f"the events of batch {number} are not in order, or the last is not DONE: {events}")
        last = time
        if event.kind is Kind.RELEASE and state.unwatched:
            release(state, number, time, event)
        else:
            heappush(state.due, (time, number, order, event))


def _load(state: State, action: Load, now: float) -> None:
    memory = _bound(state)
    until = memory.slow_until(action.gpu, now)
    memory.load(action, now)
    ring(state, action.gpu)
    if memory.slower > 1:
        _slow_down(state, action.gpu, until, memory.slow_until(action.gpu, now), memory)


def _slow_down(state: State, gpu: int, begin: float, until: float, memory: Memory) -> None:
    """Let the batch of a GPU end later: from one time until another a load runs beside it that it did not know of."""
    due, batches = state.due, state.batches
    running = next((entry for entry in due if entry[1] >= 0 and batches[entry[1]][2] == gpu), None)
    if running is None or running[0] <= begin:
        return
    end, number, order, event = running
    later = slowed(begin, end - begin, until, memory.slower)
    due.remove(running)
    heapify(due)
    heappush(due, (later, number, order, event))
    start, _, _, level, bucket, requests = batches[number]
    batches[number] = (start, later, gpu, level, bucket, requests)
    memory.waits(requests, later - end)


def _evict(state: State, action: Evict, now: float) -> None:
    _bound(state).evict(action)


def _bound(state: State) -> Memory:
    """The memory that a Load or Evict is about."""
    if state.memory is None:
        raise PolicyError('loads and evicts, which not every run offers: declare needs = frozenset({"memory"})')
    _settle(state, (state.backlog.arrived, state.backlog.left), RESTLESS + state.memory.most_loads)
    return state.memory


def drop(state: State, action: Drop, now: float) -> None:
    """Let requests leave unanswered."""
    requests = _own(action.requests, state.backlog.waiting, "so many wait:")
    if not (isinstance(action.reason, str) and action.reason.isprintable() and "," not in action.reason):
        raise PolicyError(f"drops for the reason {action.reason!r}: it must be a few words without a comma")
    state.backlog.take(requests)
    state.view.waiting = state.backlog.waiting
    state.records.drops.append((now, requests, action.reason))
    if state.host is not None:
        state.host.answer(now, requests)


def _scale(state: State, action: Scale, now: float) -> None:
    _settle(state, now)
    state.fleet.scale(action, now)


def _preempt(state: State, action: Preempt, now: float) -> None:
    """End the batch of a GPU now; its requests wait again."""
    due, batches = state.due, state.batches
    _settle(state, now)
    if "preempt" not in state.executor.offers:
        raise PolicyError("preempts, which this executor cannot do")
    running = [entry for entry in due if entry[1] >= 0 and batches[entry[1]][2] == action.gpu]
    if len(running) != 1 or running[0][3] is not None:
        raise PolicyError(f"preempts GPU {action.gpu}, which runs nothing that can be stopped")
    due.remove(running[0])
    heapify(due)
    number = running[0][1]
    start, _, gpu, level, bucket, requests = batches[number]
    batches[number] = (start, now, gpu, level, bucket, requests)
    state.records.events.append((number, now, Event(now - start, Kind.RETURN)))
    state.backlog.give_back(requests)
    state.view.waiting = state.backlog.waiting
    if state.memory is not None:
        state.memory.unpin(number)
    free(state, gpu, now)
    if state.records.ended is not None:
        state.records.ended(number)


def _settle(state: State, when: object, most: int = RESTLESS) -> None:
    """Raise PolicyError where a policy acts more than so many times while this stays the same."""
    state.restless = (when, state.restless[1] + 1 if state.restless[0] == when else 1)
    if state.restless[1] > most:
        raise PolicyError(f"scaled, preempted, loaded or evicted {most} times in a row, and does not settle")


def _wait(state: State, wait: Wait, now: float) -> float:
    """When a Wait is over: its time, or the arrival that makes as many wait as it asks for."""
    until, backlog = wait.until, state.backlog
    try:
        wake = backlog.next_arrival() if wait.waiting is None and wait.bucket is None else backlog.reaches(wait)
        passed = not until > now  # so that NaN counts as passed
        until = float(until)
    except (TypeError, ValueError, OverflowError) as error:
        if isinstance(error, PolicyError):
            raise
        raise PolicyError(f"answered {wait!r}, which makes no sense: {error}") from None
    if passed:
        raise PolicyError(f"waits until {until}, which has come: test `now >= until` first, and act")
    wake = until if until < wake else wake
    runs = len(state.due) + len(state.elsewhere) + (state.memory is not None and state.memory.coming)
    there = (backlog.arrived, backlog.left, runs)
    idle, short = state.view.waiting and not runs, until - now < SHORTEST_WAIT_S
    count = state.waits[1] + 1 if (idle or short) and there == state.waits[0] else 1
    state.waits = (there, count)
    if count > IDLE_WAITS:
        what = f"while {state.view.waiting} requests and a GPU stood idle" if idle else "for less than a microsecond"
        raise PolicyError(f"waited {IDLE_WAITS} times in a row {what}")
    return wake


def _own(requests: Sequence[int], most: int, why: str) -> Sequence[int]:
    """Copy the requests that a policy names, since it may reuse its list. A range stays one."""
    try:
        if len(requests) > most:
            raise PolicyError(f"named {len(requests)} requests; {why} {most}")
        if type(requests) is range:
            return requests
        if type(requests) is array and requests.typecode == "q":
            return requests[:]
        return tuple(map(index, requests))
    except PolicyError:
        raise
    except (TypeError, ValueError, OverflowError):
        raise PolicyError(f"named {requests!r:.100}: requests must be a sequence of whole numbers") from None


class Handlers(dict[type, Callable[[State, Any, float], float | None]]):
    """The handler of each type of action; it returns the time to wait until, or None to ask again."""

    def __missing__(self, kind: type) -> NoReturn:
        raise PolicyError(f"answered a {kind.__name__}; it must be one of {', '.join(each.__name__ for each in self)}")


ACTS = Handlers(
    {
        Dispatch: _dispatch,
        Wait: _wait,
        Drop: drop,
        Scale: _scale,
        Preempt: _preempt,
        Load: _load,
        Evict: _evict,
    }
)
