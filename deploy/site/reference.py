"""A hook of mkdocs: the pages of the reference, made from parsers and docstrings."""

from __future__ import annotations

import argparse
import inspect
import os
import re
from collections.abc import Callable, Iterator
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

#: What a Python page is about: the calls that users make, by the module that has them.
CALLS = {
    "traces": ("load", "write", "Trace"),
    "simulator": ("simulate",),
    "simulator.reporting.report": ("Report",),
    "analysis": ("sweep", "compare", "capacity", "plan", "crossover"),
    "policies.interface": ("Policy", "View", "Dispatch", "Wait", "Drop"),
}


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the generated pages."""
    pages: dict[str, Callable[[], Iterator[str]]] = {
        "command-line": command_line, "policies": policies, "python": python,
    }  # fmt: skip
    for name, make in pages.items():
        files.append(File.generated(config, f"reference/{name}.md", content="\n".join(make()) + "\n"))
    return files


def command_line() -> Iterator[str]:
    """The help of every command."""
    from analysis.console import whole

    os.environ["COLUMNS"] = "100"  # of the help, whatever the terminal
    yield from ("# Command line", "", "What `cohort COMMAND --help` prints; `python -m` forms are the same.", "")
    yield from _helps(whole())


def _helps(parser: argparse.ArgumentParser) -> Iterator[str]:
    yield from (f"## {parser.prog}", "", "```text", parser.format_help().rstrip(), "```", "")
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for own in dict.fromkeys(action.choices.values()):
                yield from _helps(own)


def policies() -> Iterator[str]:
    """The docstring and the parameters of every policy."""
    from policies import POLICIES

    yield from (
        "# Every policy in full",
        "",
        "As its docstring has it; [policies.md](../policies.md) compares them.",
        "",
    )
    for name, policy in POLICIES.items():
        yield from (f"## {name}", "", *_described(f"{name}{inspect.signature(policy)}", policy))


def python() -> Iterator[str]:
    """The docstrings of what users call."""
    import importlib

    yield from ("# Python", "", "The calls that a user makes, as their docstrings have them.", "")
    for module, names in CALLS.items():
        for name in names:
            thing = getattr(importlib.import_module(module), name)
            yield from (f"## {module}.{name}", "", *_described(f"{name}{_signature(thing)}", thing))


def _signature(thing: Any) -> str:
    try:
        return str(inspect.signature(thing))
    except (TypeError, ValueError):
        return ""


def _described(signature: str, thing: Any) -> Iterator[str]:
    """A signature, and the docstring as it is: it is written for a terminal."""
    short = re.sub(r"<factory>", "...", signature).replace(" -> None", "")
    yield from ("```python", short, "```", "", "```text", inspect.getdoc(thing) or "", "```", "")
