"""Events of batches: answers leave, GPUs are free, requests wait again, and the policy observes it."""

from __future__ import annotations

from bisect import insort
from collections.abc import Callable, Sequence
from heapq import heappush
from math import inf

from policies.interface import Completion, Final, Heard, Release
from profiler.events import Event, Kind
from simulator.core import ExecutorError
from simulator.serving.fleet import LOADED
from simulator.serving.state import State, blame

#: Batches between two reports of progress.
PROGRESS = 256
#: The order of what a policy learns of a batch that is done among the events of one moment: it is the last.
FEEDBACK = 1 << 30
#: The event of a load that is done.
AN_END = Event(0.0, Kind.LOADED)
#: The columns of an answer that a policy may observe: never whether it was right.
HEARD = ("students", "exit", "answer", "confidence", "margin")


def post(state: State, number: int, event: Event) -> bool:
    """Take an event of a batch that runs elsewhere from the inbox into the heap, at the time that it says.

    The end of a load comes in the same way, and its time from the link.

    Returns whether the loop has to wake for it; a release that nobody watches is only noted.

    Raises ExecutorError for an event of a batch that does not run elsewhere, and for one that is out of order.
    """
    if event.kind is Kind.LOADED:
        ring(state, LOADED - number)
        return True
    if (there := state.elsewhere.get(number)) is None:
        raise ExecutorError(f"the executor says {event.kind.value} of batch {number}, which it does not run (any more)")
    start, _, gpu, level, bucket, requests = state.batches[number]
    time, (last, began) = start + event.after, there
    if not last <= time < inf:
        raise ExecutorError(
            f"the executor says {event.kind.value} of batch {number} {event.after} s after its start, which is before "
            f"what it said last, or no time"
        )
    if event.kind is Kind.DONE:
        state.batches[number] = (start, time, gpu, level, bucket, requests)
        del state.elsewhere[number]
    else:
        state.elsewhere[number] = time, began
    if event.kind is Kind.RELEASE and state.unwatched:
        release(state, number, time, event)
        return False
    state.posted += 1
    heappush(state.due, (time, number, state.posted, event))
    return True


def abandoned(state: State, now: float) -> bool:
    """End the batches that run elsewhere where no request is left, and all of theirs were given to other devices.

    Returns whether that is so. Without it a run would wait for a device that never comes back.
    """
    backlog = state.backlog
    if backlog.open or backlog.left < backlog.total:
        return False
    if not state.elsewhere.keys() <= state.away:
        return False
    for number in list(state.elsewhere):
        start, _, gpu, level, bucket, requests = state.batches[number]
        state.batches[number] = (start, now, gpu, level, bucket, requests)
        del state.elsewhere[number]
        state.given_up.add(number)
        take_in(state, number, now, Event(now - start, Kind.DONE), now)
    return True


def take_in(state: State, number: int, time: float, event: Event, now: float) -> None:
    """Handle an event of a batch."""
    HAPPENS[event.kind](state, number, time, event, now)
    if event.kind is not Kind.DONE:
        return
    state.away.discard(number)
    if number in state.accepted:
        state.accepted.remove(number)
    else:
        free(state, state.batches[number][2], now)
    if state.watched:
        tell(state, number)
    state.left.pop(number, None)


def free(state: State, gpu: int, now: float) -> None:
    """Let a GPU take the next batch, unless it was scaled away."""
    if gpu < state.view.gpus:
        insort(state.idle, gpu)
    else:
        state.fleet.retire(gpu, now)


def tell(state: State, number: int) -> None:
    """Let the policy and others observe that a batch is done."""
    if state.memory is not None:
        state.memory.unpin(number)
    if state.records.ended is not None:
        state.records.ended(number)
    if state.host is not None:
        _, finish, _, _, _, requests = state.batches[number]
        left = state.left.get(number, ())
        state.host.done(finish, [each for row, each in enumerate(requests) if row not in left] if left else requests)
    if state.observe is not None:
        start, finish, gpu, level, _, requests = state.batches[number]
        returned = state.returned.pop(number, ()) if state.returned else ()
        _say(state, Completion(gpu, level, requests, start, finish, returned))
    if state.on_progress is not None and number % PROGRESS == 0:
        state.on_progress(state.backlog.left)


def release(state: State, number: int, time: float, event: Event) -> None:
    """Note that answers leave at this time."""
    _once(state, number, event)
    state.records.events.append((number, time, event))
    if state.host is not None:
        requests = state.batches[number][5]
        state.host.answer(time, requests if event.rows is None else [requests[row] for row in event.rows])


def _release(state: State, number: int, time: float, event: Event, now: float) -> None:
    """Let answers leave."""
    release(state, number, time, event)
    if "releases" in state.hears:
        _heard(state, Release, number, time, event, HEARD)


def _accept(state: State, number: int, time: float, event: Event, now: float) -> None:
    """Let the GPU take the next batch before this one is done."""
    if number in state.accepted:
        raise ExecutorError(f"the executor says accept of batch {number} twice")
    state.records.events.append((number, time, event))
    state.accepted.add(number)
    free(state, state.batches[number][2], now)


def _return(state: State, number: int, time: float, event: Event, now: float) -> None:
    """Let requests wait again."""
    _once(state, number, event)
    state.records.events.append((number, time, event))
    requests = state.batches[number][5]
    again = requests if event.rows is None else [requests[row] for row in event.rows]
    if event.rows is None and number in state.elsewhere:
        state.away.add(number)
    state.backlog.give_back(again)
    if state.observe is not None:
        state.returned.setdefault(number, []).extend(again)


def _once(state: State, number: int, event: Event) -> None:
    """Note which rows leave before the end. Raises ExecutorError for a row that left, and for one that is none."""
    size = len(state.batches[number][5])
    rows, left = range(size) if event.rows is None else event.rows, state.left.setdefault(number, set())
    many = len(left) + len(rows)
    left.update(rows)
    if len(left) != many or (many and not (min(left) >= 0 and max(left) < size)):
        raise ExecutorError(
            f"the executor says {event.kind.value} of rows {list(rows)} of batch {number}, which has {size}: "
            f"each may leave once"
        )


def _finals(state: State, number: int, time: float, event: Event, now: float) -> None:
    """Note what the end of a batch says of answers that left before it."""
    if event.columns:
        state.records.events.append((number, time, event if event.ramps is None else event._replace(ramps=None)))
    if "finals" not in state.hears or not (event.columns or event.ramps):
        return
    if event.ramps is None:
        _heard(state, Final, number, time, event, ("agrees",))
    else:
        heappush(state.due, (time + event.ramps.delay_s, number, FEEDBACK, event._replace(kind=Kind.FINAL)))


def _final(state: State, number: int, time: float, event: Event, now: float) -> None:
    """Let the policy observe what the ramps of a batch that is done answered, and what the whole model did."""
    _, _, gpu, level, _, requests = state.batches[number]
    _say(state, Final(gpu, level, requests, event.rows or range(len(requests)), time, {}, event.ramps))


def _loaded(state: State, number: int, time: float, event: Event, now: float) -> None:
    """Note that an adapter is there."""
    assert state.memory is not None
    gpu = LOADED - number
    if (loaded := state.memory.loaded(gpu, time)) is None:
        return
    ring(state, gpu)
    if "loads" in state.hears:
        _say(state, loaded)


def ring(state: State, gpu: int) -> None:
    """Put the next end of a load on a GPU's link into the heap, where it is another than before."""
    assert state.memory is not None
    if (time := state.memory.rings(gpu)) is not None:
        heappush(state.due, (time, LOADED - gpu, 0, AN_END))


def _heard(
    state: State, kind: type[Release] | type[Final], number: int, time: float, event: Event, names: Sequence[str]
) -> None:
    """Let the policy observe answers: what a real server knows of them."""
    _, _, gpu, level, _, requests = state.batches[number]
    rows = range(len(requests)) if event.rows is None else event.rows
    columns = event.columns or {}
    heard = kind(gpu, level, requests, rows, time, {name: columns[name] for name in names if name in columns})
    _say(state, heard)


def _say(state: State, event: Heard) -> None:
    assert state.observe is not None
    try:
        state.observe(event)
    except BaseException as error:
        blame(error)


#: The handler of each kind of event: (state, number of the batch, time, event, now).
HAPPENS: dict[Kind, Callable[[State, int, float, Event, float], None]] = {
    Kind.RELEASE: _release,
    Kind.ACCEPT: _accept,
    Kind.RETURN: _return,
    Kind.DONE: _finals,
    Kind.FINAL: _final,
    Kind.LOADED: _loaded,
}
