"""The command line: python -m analysis COMMAND."""

from __future__ import annotations

import argparse
import importlib
import os
import sys
from collections.abc import Sequence

#: Subcommands by name: the module that has `add_arguments` and `main`, and a line of help. Only the chosen is loaded.
COMMANDS = {
    "compare": ("analysis.commands.compare", "policies on the same arrivals, with intervals, against the optimum"),
    "validate": ("analysis.commands.validate", "live runs against simulations of the same arrivals: is it right?"),
    "capacity": ("analysis.commands.capacity", "the highest rate at which a target is met"),
    "plan": ("analysis.commands.plan", "how many GPUs, which policy and which model meet a target on your traffic"),
    "sweep": ("analysis.commands.sweep", "every combination of policies, loads, targets, GPUs, traces and seeds"),
    "plot": ("analysis.commands.plot", "a figure of runs, a sweep or a plan, with its numbers beside it"),
    "sensitivity": ("analysis.commands.sensitivity", "what the number of GPUs of a plan depends on"),
    "report": ("analysis.commands.report", "runs, sweeps and comparisons as one HTML file"),
    "gallery": ("analysis.commands.gallery", "every plot from real simulations, on a page with its commands"),
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run a subcommand. Exit status: 0 done, 1 a target was missed, 2 bad input, 130 interrupted."""
    arguments = sys.argv[1:] if argv is None else list(argv)
    parser = argparse.ArgumentParser(prog="python -m analysis", description="Comparisons, plans and plots of runs.")
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    chosen = next((word for word in arguments if word in COMMANDS), None)
    for name, (module, line) in COMMANDS.items():
        command = commands.add_parser(name, help=line, description=line)
        if name == chosen:
            implementation = importlib.import_module(module)
            implementation.add_arguments(command)
            command.set_defaults(main=implementation.main)
    parsed = parser.parse_args(arguments)
    try:
        status = int(parsed.main(parsed))
        sys.stdout.flush()
        return status
    except BrokenPipeError:  # the reader has gone (`| head`), and what is left in the buffer goes nowhere
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    except (ValueError, LookupError, OSError, MemoryError, ImportError) as error:
        if parsed.debug:
            raise
        message = str(error.args[0]) if isinstance(error, LookupError) and error.args else str(error)
        print(f"error: {message or type(error).__name__}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
