"""How the subcommands print: rich on a terminal, the same text without folding in a pipe."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console


def console() -> Console:
    """Standard output; in a pipe wide enough that no row is folded."""
    from rich.console import Console

    return Console() if sys.stdout.isatty() else Console(width=200)


def progress_bar(stack: ExitStack) -> Callable[[float, str], None]:
    """A bar with the time left on stderr where that is a terminal, else nothing; call it with a share and a word."""
    if not sys.stderr.isatty():
        return lambda share, what: None
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
