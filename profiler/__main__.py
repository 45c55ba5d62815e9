"""The command line: python -m profiler COMMAND."""

from __future__ import annotations

import argparse
import importlib
import os
import sys
from collections.abc import Sequence

#: Subcommands by name: the module that has `add_arguments` and `main`, and a line of help. Only the chosen is loaded.
COMMANDS = {
    "run": ("profiler.commands.run", "measure a device and write a table"),
    "plan": ("profiler.commands.plan", "list the keys of a run and predict how long it takes"),
    "show": ("profiler.commands.show", "print a table and plot it"),
    "validate": ("profiler.commands.validate", "check a table"),
    "compare": ("profiler.commands.compare", "put two tables or models side by side"),
    "campaign": ("profiler.commands.campaign", "measure everything there is on a GPU, part by part"),
    "distill": ("profiler.commands.distill", "train students that answer together like a teacher"),
    "seeds": ("profiler.commands.seeds", "put studies of several seeds together"),
    "adopt": ("profiler.commands.adopt", "give a table the accuracies of a study"),
    "synth": ("profiler.commands.synth", "compute a modelled table for a device nobody has measured"),
}

#: What bad input and missing parts raise; everything else is a bug and shows its traceback.
EXPECTED = (ValueError, LookupError, OSError, ArithmeticError, MemoryError, ImportError)


def main(argv: Sequence[str] | None = None) -> int:
    """Run a subcommand. Exit status: 0 done, 1 unfinished or not valid, 2 bad usage, 130 interrupted."""
    arguments = sys.argv[1:] if argv is None else list(argv)
    parser = argparse.ArgumentParser(
        prog="python -m profiler",
        description="Measure what a device takes to answer, and look at the tables.",
    )
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
    except (*EXPECTED, RuntimeError) as error:
        if parsed.debug or not (isinstance(error, EXPECTED) or _lacking(error)):
            raise
        print(f"error: {_words(error)}", file=sys.stderr)
        return 2


def _lacking(error: BaseException) -> bool:
    """Whether a device was missing or too small: torch says the latter by a RuntimeError like any other."""
    return type(error).__name__ == "Unavailable" or "memory" in str(error)


def _words(error: BaseException) -> str:
    if isinstance(error, ModuleNotFoundError):
        return f"{error.name} is not installed: measuring needs the extra cohort-serving[gpu]"
    if isinstance(error, (MemoryError, RuntimeError)) and "memory" in (str(error).lower() or "memory"):
        return f"out of memory: use fewer models, fewer students or a smaller batch ({error})".removesuffix(" ()")
    return str(error.args[0]) if isinstance(error, LookupError) and error.args else str(error)


if __name__ == "__main__":
    sys.exit(main())
