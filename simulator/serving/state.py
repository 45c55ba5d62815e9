"""What the serving loop, the events of batches and the actions of the policy share."""

from __future__ import annotations

from collections.abc import Callable
from traceback import walk_tb
from typing import Any, NoReturn

from policies.interface import Policy
from policies.machinery.raised import heed_interrupt, one_line
from policies.machinery.wrapped import hears, listens
from profiler.events import BatchPlan
from simulator.core import Executor, PolicyError, Records
from simulator.queue.backlog import Backlog
from simulator.queue.hosted import HostQueue
from simulator.queue.view import ServerView
from simulator.serving.clock import Clock
from simulator.serving.fleet import Due, Fleet
from simulator.serving.memory import Memory


class State:
    """The state of a server: what it was made of, and what changes while it serves.

    idle: the GPUs that take a batch, lowest first. due: what will happen, a heap, soonest first. accepted: batches
    whose GPU is free before they are done. left: rows that left or wait again before the end, and returned: requests
    that wait again, both by batch that is not done. elsewhere: the batches that run elsewhere, in the order of their
    starts, each with the time of its last event and when it really began; away: those of them whose requests all wait
    again, given_up: those that ended with the run all the same; posted: how many events came from there.
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
        host: HostQueue | None = None,
    ) -> None:
        self.clock, self.executor, self.policy, self.backlog, self.view = clock, executor, policy, backlog, view
        self.records, self.batches, self.idle = records, records.batches, idle
        self.observe: Callable[[Any], None] | None = listens(policy)
        self.hears = hears(policy) if self.observe is not None else frozenset()
        self.on_progress, self.scales, self.memory, self.host = on_progress, cold_start_s is not None, memory, host
        watched = (self.observe, on_progress, records.ended, memory, host)
        self.watched = any(each is not None for each in watched)
        #: The policy does not observe that answers leave: it is noted at once, which saves an event.
        self.unwatched = "releases" not in self.hears
        self.begin = executor.begin
        self.elsewhere: dict[int, tuple[float, float]] = {}
        self.given_up: set[int] = set()
        self.away: set[int] = set()
        self.posted = 0
        self.largest = view.plan.max_batch
        self.levels = {id(level) for level in view.levels}
        self.last_level = view.levels[-1]
        self.last_plan: BatchPlan | None = None
        self.due: list[Due] = []
        self.fleet = Fleet(idle, self.due, view, records, clock.now, cold_start_s)
        self.accepted: set[int] = set()
        self.left: dict[int, set[int]] = {}
        self.returned: dict[int, list[int]] = {}
        self.waits: tuple[object, int] = (None, 0)  # what there was at the last Wait, how many there were since
        self.restless: tuple[object, int] = (None, 0)  # when the policy last acted without end in sight, how often


def blame(error: BaseException) -> NoReturn:
    """End the run with the error that the policy raised, be it an exit; Ctrl-C is none of its own."""
    heed_interrupt(error)
    if isinstance(error, PolicyError):
        raise error
    raise PolicyError(f"raised {one_line(error)}") from error


def blame_values(error: BaseException) -> NoReturn:
    """As `blame`, where what the policy put into its action raises when it is looked at; other errors stay."""
    *_, (frame, _) = walk_tb(error.__traceback__)
    if frame.f_globals.get("__name__", "").partition(".")[0] in ("simulator", "profiler"):
        raise error
    blame(error)
