"""How the subcommands print: rich on a terminal, the same text without folding in a pipe."""

from __future__ import annotations

import sys
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import ExitStack
from time import monotonic
from typing import Any

#: Seconds between two lines of progress in a pipe.
LINE_S = 10.0


def print_grid(
    title: str,
    names: Sequence[str],
    rows: Iterable[Sequence[str]],
    *,
    words: Collection[str] = ("model", "task"),
    section: int = 0,
) -> None:
    """Print rows below names; in a pipe wide enough that no row is folded.

    words: columns that are aligned to the left. section: a line follows every so many rows.
    """
    from rich.console import Console
    from rich.table import Table

    grid = Table(title=title, title_justify="left")
    for name in names:
        grid.add_column(name, justify="left" if name in words else "right")
    for number, row in enumerate(rows, start=1):
        grid.add_row(*row, end_section=section > 0 and number % section == 0)
    Console(width=None if sys.stdout.isatty() else 200).print(grid)


def progress_bar(stack: ExitStack) -> Callable[[float, str], None]:
    """A bar with the time left on stderr, in a pipe a line every LINE_S seconds; call it with a share and a word."""
    if not sys.stderr.isatty():
        return _Lines()
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (BarColumn(), TimeRemainingColumn(), TextColumn("{task.description}"))
    bar = stack.enter_context(Progress(*columns, console=Console(stderr=True), transient=True))
    task = bar.add_task("", total=1.0)
    return lambda share, what: bar.update(task, completed=share, description=what)


class _Lines:
    """Says how far a command is, now and then."""

    def __init__(self) -> None:
        self._said = self._began = monotonic()
        self._first: float | None = None

    def __call__(self, share: float, what: str) -> None:
        now = monotonic()
        if self._first is None:
            self._first, self._began = share, now  # what an earlier run did took no time now
        if now - self._said < LINE_S:
            return
        self._said, done = now, share - self._first
        left = (now - self._began) / done * (1 - share) if done > 0 else None
        words = (
            "" if left is None else f"; about {left / 60:.0f} min left" if left >= 90 else f"; about {left:.0f} s left"
        )
        print(f"{share:4.0%} {what}{words}", file=sys.stderr, flush=True)


def noise_words(meta: Mapping[str, Any]) -> str:
    """The verdict about noise, with its reasons."""
    noise = meta.get("noise") or {"verdict": "not watched"}
    return "; ".join([noise["verdict"], *noise.get("reasons", ())])
