"""Flags of every command: --debug and --version, the nearest of what is mistyped, flags that may be repeated."""

from __future__ import annotations

import argparse
import sys
from itertools import takewhile
from typing import Any, NoReturn

from traces.shared.origin import version
from traces.shared.text import did_you_mean


class Flags(argparse.ArgumentParser):
    """A parser with --debug and --version; an unknown flag is an error that names the nearest. So are subparsers."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        shown: Any = {"action": "store_true", "default": argparse.SUPPRESS}
        self.add_argument("--debug", **shown, help="show the traceback of an error")
        self.add_argument("--version", action="version", version=f"cohort-serving {version() or '(not installed)'}")

    def error(self, message: str) -> NoReturn:
        """End with the usage and the error, in one line whatever was typed."""
        super().error(" ".join(message.split("\n")))

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """Refuse unknown flags first, those before a subcommand only where there are subcommands."""
        words = list(sys.argv[1:] if args is None else args)
        last = (lambda word: word.startswith("-")) if self._subparsers else (lambda word: word != "--")
        known = list(self._option_string_actions)
        for word in takewhile(last, words):
            name = word.partition("=")[0]
            if name.startswith("--") and " " not in name and not any(each.startswith(name) for each in known):
                self.error(f"unknown flag {name}{did_you_mean(name, known)}")
        return super().parse_known_args(words, namespace)

    def _get_option_tuples(self, option_string: str) -> Any:
        """What an abbreviation may stand for: two names of one flag are one."""
        found: list[Any] = super()._get_option_tuples(option_string)
        return list({id(each[0]): each for each in reversed(found)}.values())

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        """Refuse what is none of the choices, a subcommand's name among them, with the nearest."""
        if action.choices is not None and value not in action.choices:
            known = [str(each) for each in action.choices]
            near = did_you_mean(str(value), known)
            raise argparse.ArgumentError(action, f"{value!r} is none of {', '.join(known)}{near}")


class Several(argparse.Action):
    """A flag that may be repeated: its values become one text, with `const` between them (default: semicolons)."""

    def __call__(self, parser: Any, namespace: Any, values: Any, option: str | None = None) -> None:
        earlier = getattr(namespace, self.dest)
        setattr(namespace, self.dest, values if earlier is None else f"{earlier}{self.const or ';'}{values}")
