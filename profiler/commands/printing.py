"""How the subcommands print: rich on a terminal, the same text without folding in a pipe."""

from __future__ import annotations

import sys
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import ExitStack
from typing import Any

from traces.shared.progress import Lines


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
    """A bar with the time left on stderr, in a pipe a line every ten seconds; call it with a share and a word."""
    if not sys.stderr.isatty():
        return Lines()
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (BarColumn(), TimeRemainingColumn(), TextColumn("{task.description}"))
    bar = stack.enter_context(Progress(*columns, console=Console(stderr=True), transient=True))
    task = bar.add_task("", total=1.0)
    return lambda share, what: bar.update(task, completed=share, description=what)


def noise_words(meta: Mapping[str, Any]) -> str:
    """The verdict about noise, with its reasons."""
    noise = meta.get("noise") or {"verdict": "not watched"}
    return "; ".join([noise["verdict"], *noise.get("reasons", ())])
