"""The console script: `cohort COMMAND`, the commands of every package under one name."""

from __future__ import annotations

import argparse
import importlib
import os
import sys
from pathlib import Path
from typing import Any

from analysis.commands import COMMANDS
from traces.shared.command import command_line, subcommand, subcommands
from traces.shared.flags import Flags

DESCRIPTION = "Plan, simulate and serve BERT-like models."
#: What it has beside those of this package: the modules with `main` and `parser`, and a line of help.
OTHERS = {
    "simulate": ("simulator.__main__", "serve a trace with a policy on a measured table"),
    "serve": ("simulator.endpoint.command", "a policy and a device behind the Open Inference Protocol"),
    "profile": ("profiler.__main__", "measure a device, look at tables, train students"),
    "traces": ("traces.__main__", "make, convert and describe traffic"),
    "completion": ("analysis.console", "what a shell runs to complete these commands: cohort completion bash"),
}
SHELLS = ("bash", "zsh")


@command_line("cohort")
def cohort(arguments: list[str], prog: str) -> int:
    """Run a command. The current folder comes last where modules are looked for, such as policies of the user's."""
    if (here := os.getcwd()) not in sys.path:
        sys.path.append(here)
    name = next((word for word in arguments if not word.startswith("-")), "")
    if name not in OTHERS:
        return subcommand(arguments, prog, DESCRIPTION, OTHERS | COMMANDS)
    at = arguments.index(name)
    main = importlib.import_module(OTHERS[name][0]).main
    return int(main(arguments[:at] + arguments[at + 1 :], f"{prog} {name}"))


def whole(prog: str = "cohort") -> Flags:
    """The parser of all commands with all their flags: what completion and the tests go through."""
    flags = subcommands(prog, DESCRIPTION, OTHERS | COMMANDS, COMMANDS)
    known = next(each.choices for each in flags._actions if each.dest == "command")
    assert isinstance(known, dict)
    for name, (module, line) in OTHERS.items():
        known[name] = importlib.import_module(module).parser(f"{prog} {name}")
        known[name].description = known[name].description or line
    return flags


def parser(prog: str = "cohort completion") -> Flags:
    flags = Flags(
        prog=prog,
        description="Print a script by which a shell completes commands, flags and their values. For bash: "
        'eval "$(cohort completion bash)" in ~/.bashrc; for zsh: cohort completion zsh > a file _cohort in $fpath.',
    )
    flags.add_argument("shell", choices=SHELLS, metavar="SHELL", help=" or ".join(SHELLS))
    return flags


def main(arguments: list[str], prog: str = "cohort completion") -> int:
    """Print the script. Raises ModuleNotFoundError without shtab."""
    shell = parser(prog).parse_args(arguments).shell
    import shtab

    flags = whole()
    _complete(flags, shtab)
    print(shtab.complete(flags, shell))
    return 0


def _complete(flags: Any, shtab: Any) -> None:
    """Say which values are files, and which names policies and tables have, in a parser that only completes."""
    from policies import POLICIES
    from profiler.table import shipped

    policies, tables = list(POLICIES), shipped()
    names = {"policy": policies, "policies": policies, "table": tables, "tables": tables}
    for each in flags._actions:
        if isinstance(each, argparse._SubParsersAction):
            for own in each.choices.values():
                _complete(own, shtab)
        elif each.dest in names and each.choices is None:
            each.choices = names[each.dest]
        elif each.type is Path:
            each.complete = shtab.DIRECTORY if each.metavar == "DIR" else shtab.FILE
