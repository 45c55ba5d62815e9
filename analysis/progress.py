"""How far a long command is, with the time left: a bar on a terminal, a line now and then in a pipe."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from traces.shared.progress import Lines


@contextmanager
def progress(doing: str) -> Iterator[Callable[[int, int], None]]:
    """Something to tell (done, total) to."""
    console = Console(stderr=True)
    if not console.is_terminal:
        lines = Lines()
        yield lambda done, total: lines(done / max(total, 1), f"{doing} {done:,}/{total:,}")
        return
    columns = (TextColumn(doing), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True) as shown:
        task = shown.add_task(doing, total=None)
        yield lambda done, total: shown.update(task, completed=done, total=total)
