"""Judge a fault world: it keeps all rules, or ends with one line that says why, and loses nothing on its way."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

import numpy as np

from policies.machinery.raised import one_line
from profiler.events import Kind
from simulator.conformance.check import hold, keep
from simulator.conformance.faults import FATAL, FAULTS
from simulator.conformance.invariants import RULES, idles_on_a_wait, no_starvation
from simulator.conformance.world import World, drawn
from simulator.core import ExecutorError, PolicyError, Records, place
from simulator.reporting.journal import Journal
from simulator.reporting.report import Report

#: Errors that may end a run, each of which the command line shows as one line.
ERRORS = (PolicyError, ExecutorError, OSError, KeyboardInterrupt)


class Ending(NamedTuple):
    """How a world ended: one of `faults.ENDS`, the line that says why, the faults that struck, and what was written."""

    end: str
    line: str
    struck: frozenset[str]
    written: bytes


def judged(seed: int, spec: str = "") -> Ending:
    """Serve the world of a seed, with this policy or one that is drawn, and judge how that ended.

    The end must be one that the faults that struck explain. Every request is served or turned away exactly once (I1),
    or, where an error ends the run, at most once in the journal. What ended without an error keeps I2, I3, I8 and I10,
    and where nothing but the loop moves the clock, I6. Raises AssertionError otherwise; also `host.Hang`, where the run
    does not end.
    """
    spec = spec or drawn(seed)
    with TemporaryDirectory() as folder:
        journal = Journal(Path(folder) / "journal", {})
        world = World(seed, spec, journal)
        end, line = _ended(world)
        read = journal.read(world.records, world.known.levels)
        written = b"".join(path.read_bytes() for path in sorted(journal.folder.glob("*.csv")))
        journal.remove()
    struck = frozenset(world.faults.struck)
    cut = world.backlog.total < len(world.case.trace) or any(row[2] == "interrupted" for row in read.drops)
    if end == "served" and "shutdown" in struck and cut:
        end = "shut down"
    _explained(end, line, struck)
    _at_most_once(read, len(world.case.trace))
    if end in ("served", "shut down") and world.backlog.total:
        _keeps_rules(world, read)
    return Ending(end, line, struck, written)


def _ended(world: World) -> tuple[str, str]:
    """How the run ended, and in what words."""
    try:
        world.serve()
    except ERRORS as error:
        ours = next(each for each in ERRORS if isinstance(error, each))
        return ours.__name__, str(error)
    except AssertionError:
        raise
    except BaseException as error:
        raise AssertionError(f"ended with a traceback: {one_line(error)}{place(error)}") from error
    return "served", ""


def _explained(end: str, line: str, struck: frozenset[str]) -> None:
    """Raise AssertionError for an end that no fault explains or that should not be, and for more than a line."""
    expected = {"served", *(FAULTS[name] for name in struck)}
    said = f"{end}: {line}" if line else end
    hold(end in expected, f"ended with {said}, though what struck is {', '.join(sorted(struck)) or 'nothing'}")
    hold("\n" not in line, f"an error of more than a line: {line!r}")
    hold(bool(line) == (end in ("PolicyError", "ExecutorError", "OSError")), f"ended with {end} without a word")
    survived = struck.intersection(FATAL) if end in ("served", "shut down") else ()
    hold(not survived, f"I1: goes on after {', '.join(survived)}")


def _at_most_once(records: Records, requests: int) -> None:
    """Raise AssertionError where the journal has a request twice, or a batch that ends before it starts."""
    left = np.zeros(requests, int)
    for start, finish, _, _, _, batch in records.batches:
        hold(start <= finish, f"I2: a batch starts at {start} and ends at {finish}")
        left[list(batch)] += 1
    for number, _, event in records.events:
        if event.kind is Kind.RETURN:
            batch = records.batches[number][5]
            left[list(batch) if event.rows is None else [batch[row] for row in event.rows]] -= 1
    for _, dropped, _ in records.drops:
        left[list(dropped)] += 1
    hold(bool((left <= 1).all()), f"I1: requests {np.flatnonzero(left > 1).tolist()} left more than once")


def _keeps_rules(world: World, records: Records) -> None:
    """Raise AssertionError where the report breaks a rule."""
    case, total, known = world.case, world.backlog.total, world.known
    trace = replace(case.trace.take(slice(0, total)), duration_s=None)
    if world.open:
        trace = replace(trace, arrival_s=np.array(world.backlog.arrivals[0:total], float))
    case = replace(case, trace=trace)
    log = [*world.watched.log]
    log += [(time, ("Drop", tuple(them), reason)) for time, them, reason in records.drops if reason == "interrupted"]
    log.sort(key=lambda entry: entry[0])
    report = Report(trace, known.levels, known.plan, case.gpus, case.slo_s, 1.0, records)
    moved = world.open or world.devices != "known"  # the clock, by others
    for rule in RULES:
        if rule is not no_starvation and not (moved and rule is idles_on_a_wait):
            keep(rule, report, log, case)
