"""The command line: python -m analysis COMMAND."""

from __future__ import annotations

import importlib
import sys

from traces.shared.command import command_line, subcommand

#: Subcommands by name: the module that has `add_arguments` and `main`, and a line of help. Only the chosen is loaded.
COMMANDS = {
    "compare": ("analysis.commands.compare", "policies on the same arrivals, with intervals, against the optimum"),
    "validate": ("analysis.commands.validate", "live runs against simulations of the same arrivals: is it right?"),
    "capacity": ("analysis.commands.capacity", "the highest rate at which a target is met"),
    "tenants": ("analysis.commands.tenants", "how many tenants fit on a GPU within a target, and with which budget"),
    "plan": ("analysis.commands.plan", "how many GPUs, which policy and which model meet a target on your traffic"),
    "crossover": ("analysis.commands.crossover", "which technique is best, by load and latency target"),
    "sweep": ("analysis.commands.sweep", "every combination of policies, loads, targets, GPUs, traces and seeds"),
    "plot": ("analysis.commands.plot", "a figure of runs, a sweep or a plan, with its numbers beside it"),
    "sensitivity": ("analysis.commands.sensitivity", "what the number of GPUs of a plan depends on"),
    "report": ("analysis.commands.report", "runs, sweeps and comparisons as one HTML file"),
    "gallery": ("analysis.commands.gallery", "every plot from real simulations, on a page with its commands"),
}
#: What `cohort` has besides: other packages' `main`, and a line of help.
OTHERS = {
    "simulate": ("simulator.__main__", "serve a trace with a policy on a measured table"),
    "serve": ("simulator.endpoint.command", "a policy and a device behind the Open Inference Protocol"),
    "profile": ("profiler.__main__", "measure a device, look at tables, train students"),
    "traces": ("traces.__main__", "make, convert and describe traffic"),
}


@command_line("python -m analysis")
def main(arguments: list[str], prog: str) -> int:
    """Run a subcommand. Exit status: 0 done, 1 a target was missed, 2 bad input, 130 interrupted."""
    return subcommand(arguments, prog, "Comparisons, plans and plots of runs.", COMMANDS)


@command_line("cohort")
def cohort(arguments: list[str], prog: str) -> int:
    """Run the console script: the commands of every package under one name."""
    name = next((word for word in arguments if not word.startswith("-")), "")
    if name not in OTHERS:
        return subcommand(arguments, prog, "Plan, simulate and serve BERT-like models.", OTHERS | COMMANDS)
    at = arguments.index(name)
    main = importlib.import_module(OTHERS[name][0]).main
    return int(main(arguments[:at] + arguments[at + 1 :], f"{prog} {name}"))


if __name__ == "__main__":
    sys.exit(main())
