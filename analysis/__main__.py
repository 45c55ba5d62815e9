"""The command line: python -m analysis COMMAND."""

from __future__ import annotations

import sys

from analysis.commands import COMMANDS
from traces.shared.command import command_line, subcommand


@command_line("python -m analysis")
def main(arguments: list[str], prog: str) -> int:
    """Run a subcommand. Exit status: 0 done, 1 a target was missed, 2 bad input, 130 interrupted."""
    return subcommand(arguments, prog, "Comparisons, plans and plots of runs.", COMMANDS)


if __name__ == "__main__":
    sys.exit(main())
