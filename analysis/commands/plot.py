"""python -m analysis plot: a figure of runs, of a sweep or of a plan, and its numbers beside it."""

from __future__ import annotations

import argparse
import ast
import sys
from pathlib import Path
from typing import Any


def add_arguments(parser: argparse.ArgumentParser) -> None:
    from analysis.plots import PLOTS

    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    lines = [f"  {name:17} {plot.of:12} {plot.idea}" for name, plot in PLOTS.items()]
    parser.epilog = "\n".join(["plots, and what each is of:", *lines])
    parser.add_argument("name", metavar="NAME", help="one of the plots below")
    parser.add_argument(
        "inputs", type=Path, nargs="+", metavar="INPUT",
        help="folders of python -m simulator --out (one or several), or one result of another command",
    )  # fmt: skip
    parser.add_argument("--out", type=Path, metavar="FILE", help="PNG, PDF or SVG (default: NAME.png)")
    parser.add_argument("--width-mm", type=float, default=85.0, metavar="MM", help="85 is a column of a page (default)")
    parser.add_argument("--dpi", type=int, default=300, metavar="N", help="of a PNG (default: 300)")
    parser.add_argument(
        "-p", action="append", default=[], metavar="KEY=VALUE", help="an option of the plot, repeatable"
    )


def main(arguments: argparse.Namespace) -> int:
    """Draw it, and write the figure and the CSV of what it shows."""
    from analysis.inputs import read_all
    from analysis.plots import PLOTS, write_drawn
    from analysis.plots.figures import save

    if arguments.name not in PLOTS:
        raise LookupError(f"no plot {arguments.name!r}; there is {', '.join(PLOTS)}")
    if not 40 <= arguments.width_mm <= 1000:
        raise ValueError(f"--width-mm is {arguments.width_mm:g}; it must be 40 to 1000")
    if not 20 <= arguments.dpi <= 2400:
        raise ValueError(f"--dpi is {arguments.dpi}; it must be 20 to 2400")
    plot = PLOTS[arguments.name]
    options = _options(arguments.p, plot.options, arguments.name)
    out = arguments.out or Path(f"{arguments.name}.png")
    if any(path.resolve() == out.with_suffix(".csv").resolve() for path in arguments.inputs):
        raise ValueError(
            f"--out {out}: the numbers would go to {out.with_suffix('.csv')}, which is an input: name another"
        )
    figure = plot.draw(read_all(arguments.inputs, plot.of), arguments.width_mm, **options)
    save(figure, out, dpi=arguments.dpi)
    write_drawn(figure, out.with_suffix(".csv"))
    print(f"written to {out}, its numbers to {out.with_suffix('.csv')}", file=sys.stderr)
    return 0


def _options(given: list[str], known: dict[str, Any], plot: str) -> dict[str, Any]:
    """`-p key=value` as the keyword arguments of a plot. Raises ValueError for what it does not have."""
    options = {}
    for text in given:
        name, equals, value = text.partition("=")
        if not equals or name not in known:
            raise ValueError(f"-p {text}: plot {plot} has {', '.join(f'{key}=' for key in known) or 'no options'}")
        try:
            options[name] = ast.literal_eval(value)
        except (ValueError, SyntaxError):
            options[name] = value
        kind, called = (str, "text") if isinstance(known[name], str) else (int | float, "a number")
        if not isinstance(options[name], kind):
            raise ValueError(f"-p {text}: {name} must be {called}")
    return options
