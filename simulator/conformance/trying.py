"""Try many seeds: in several processes, with how far it is and how long it will take on standard error."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from multiprocessing import Pool
from time import monotonic
from typing import TypeVar

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

#: Seeds from which it is told how long all will take, and seconds between two lines in a pipe.
FIRST, EVERY_S = 100, 10.0
Result = TypeVar("Result")


def tried(trying: Callable[[int], Result], seeds: range, jobs: int, what: str) -> Iterator[Result]:
    """What comes of each seed, in their order. jobs: processes. what: the seeds are called, in the plural."""
    yield from _told(_results(trying, seeds, jobs), len(seeds), what)


def _results(trying: Callable[[int], Result], seeds: range, jobs: int) -> Iterator[Result]:
    if jobs == 1:
        yield from map(trying, seeds)
        return
    with Pool(jobs, signal.signal, (signal.SIGINT, signal.SIG_IGN)) as pool:
        yield from pool.imap(trying, seeds, chunksize=16)


def _told(results: Iterator[Result], count: int, what: str) -> Iterator[Result]:
    console = Console(stderr=True)
    columns = (TextColumn(what), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    began = told = monotonic()
    with Progress(*columns, console=console, disable=not console.is_terminal) as shown:
        task = shown.add_task("", total=count)
        for done, result in enumerate(results, 1):
            yield result
            shown.update(task, completed=done)
            now = monotonic()
            if done == FIRST < count:
                console.print(f"about {(now - began) * count / done / 60:.1f} minutes for {count:,} {what}")
            elif shown.disable and now - told > EVERY_S:
                told = now
                console.print(f"{done:,} of {count:,} {what}, {(now - began) / done * (count - done):.0f} s left")
