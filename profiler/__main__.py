"""The command line: python -m profiler COMMAND."""

from __future__ import annotations

import sys

from traces.shared.command import command_line, subcommand, subcommands
from traces.shared.flags import Flags

DESCRIPTION = "Measure what a device takes to answer, and look at the tables."
#: Subcommands by name: the module that has `add_arguments` and `main`, and a line of help. Only the chosen is loaded.
COMMANDS = {
    "run": ("profiler.commands.run", "measure a device and write a table"),
    "import": ("profiler.commands.importing", "make a table of what perf_analyzer measured of a server"),
    "plan": ("profiler.commands.plan", "list the keys of a run and predict how long it takes"),
    "show": ("profiler.commands.show", "print a table and plot it"),
    "validate": ("profiler.commands.validate", "check a table"),
    "compare": ("profiler.commands.compare", "put two tables or models side by side"),
    "campaign": ("profiler.commands.campaign", "measure everything there is on a GPU, part by part"),
    "firstrun": ("profiler.commands.firstrun", "the first run on a GPU: two short commands, then a report"),
    "distill": ("profiler.commands.distill", "train students that answer together like a teacher"),
    "ramps": ("profiler.commands.ramps", "train a classifier after every layer of a teacher, and record answers"),
    "record": ("profiler.commands.record", "record what a teacher with ramps answers to any texts"),
    "stream": ("profiler.commands.stream", "choose recorded texts for a trace: even, in blocks, drifting, in jumps"),
    "report": ("profiler.commands.report", "what studies found, one or several seeds, against what serving it costs"),
    "adopt": ("profiler.commands.adopt", "give a table the accuracies of a study"),
    "adapters": ("profiler.commands.adapters", "train adapters of real tenants; what skipped lower layers cost"),
    "store": ("profiler.commands.store", "write the trained adapters of a study into a folder that serves them"),
    "host": ("profiler.commands.host", "measure what the endpoint takes beside the devices, for a table"),
    "tenants": ("profiler.commands.tenants", "measure what tenants' adapters and looked-up layers take, for a table"),
    "synth": ("profiler.commands.synth", "compute a modelled table for a device nobody has measured"),
}


@command_line("python -m profiler")
def main(arguments: list[str], prog: str) -> int:
    """Run a subcommand. Exit status: 0 done, 1 unfinished or not valid, 2 bad usage, 130 interrupted."""
    return subcommand(arguments, prog, DESCRIPTION, COMMANDS)


def parser(prog: str) -> Flags:
    """The parser of all subcommands with all their flags."""
    return subcommands(prog, DESCRIPTION, COMMANDS, COMMANDS)


if __name__ == "__main__":
    sys.exit(main())
