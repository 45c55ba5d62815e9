"""How the subcommands print: rich on a terminal, the same text without folding in a pipe."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console


def console() -> Console:
    """Standard output; in a pipe wide enough that no row is folded."""
    from rich.console import Console

    return Console() if sys.stdout.isatty() else Console(width=200)


def milliseconds(seconds: float) -> str:
    """Three significant figures, in milliseconds."""
    value = seconds * 1e3
    return f"{value:.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.{2 if value >= 1 else 3}f}"
