"""The subcommands of `python -m analysis`: each module has `add_arguments` and `main`."""

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
