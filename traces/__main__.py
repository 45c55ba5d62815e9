"""The command line: make, convert, stats, compare, fit and list traces."""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import shutil
import sys
import tempfile
from pathlib import Path

from rich.console import Console

from traces import printing
from traces.load import load
from traces.processes.fit import fit as fitting
from traces.readers.formats import FORMATS
from traces.readers.times import UNITS
from traces.scaling import MODES, join, spread_ticks
from traces.shared.command import command_line
from traces.shared.documents import json_text
from traces.shared.flags import Flags
from traces.statistics import statistics
from traces.trace import Trace
from traces.writing import write

#: The flags of `_source_flags`, which are arguments of `load` by the same names.
_LOADING = (
    *("format", "rate", "rate_mode", "start", "duration", "lengths", "tenants", "max_tokens", "seed"),
    *("bin_s", "sort", "columns", "time_unit", "tokenizer", "arrivals"),
)


def parser(prog: str) -> argparse.ArgumentParser:
    main = Flags(prog=prog, description="Any real traffic in, any plausible traffic out.")
    commands = main.add_subparsers(dest="command", required=True, metavar="COMMAND")

    make = commands.add_parser("make", help="generate a trace from a spec such as poisson:rate=2000,duration=60")
    make.add_argument("source", metavar="SPEC", help="a generator's spec or a shipped name (see list)")
    convert = commands.add_parser("convert", help="read any known format, or any table by its columns; write ours")
    convert.add_argument("sources", metavar="FILE", nargs="+", help="several are joined end to end")
    convert.add_argument("--spread-ticks", action="store_true", help="spread arrivals within coarse clock ticks")
    for command in (make, convert):
        command.add_argument(
            "-o", "--out", type=Path, metavar="FILE", help=".csv, .csv.gz or .parquet (default: CSV on stdout)"
        )

    stats = commands.add_parser("stats", help="rate, peaks, burstiness by time scale, lengths")
    stats.add_argument("source", metavar="FILE|SPEC", help="what is described")
    compare = commands.add_parser("compare", help="the same of two traces, side by side")
    compare.add_argument("sources", metavar="FILE|SPEC", nargs=2, help="the two that are compared")
    for command in (stats, compare):
        command.add_argument("--json", action="store_true", help="print JSON")
        command.add_argument("--plot", type=Path, metavar="FILE", help="also draw it: .png, .pdf or .svg")

    fit = commands.add_parser("fit", help="fit a generator to a trace and save its parameters, for fit:PARAMETERS.json")
    fit.add_argument("source", metavar="FILE|SPEC", help="what is fitted")
    fit.add_argument("-o", "--out", type=Path, required=True, metavar="FILE", help="where the parameters go (.json)")
    commands.add_parser("list", help="formats, generators, shipped traces, length models, scaling modes")

    for command in (make, convert, stats, compare, fit):
        _source_flags(command)
    return main


def _source_flags(command: argparse.ArgumentParser) -> None:
    flags = command.add_argument_group("source")
    flags.add_argument("--rate", type=float, metavar="R", help="mean rate in requests/s")
    flags.add_argument(
        "--rate-mode",
        default="superpose",
        choices=list(MODES),
        help="how a file is rescaled, see list (default: superpose)",
    )
    flags.add_argument("--start", type=float, metavar="S", help="leave out so many seconds at the beginning")
    flags.add_argument("--duration", type=float, metavar="S", help="only so many seconds")
    flags.add_argument("--lengths", metavar="FILE|SPEC", help="draw lengths, such as lognormal:median=20,sigma=0.6")
    flags.add_argument("--tenants", metavar="SPEC", help="draw tenants, such as zipf:count=10000,exponent=0.9")
    flags.add_argument("--max-tokens", type=int, metavar="N", help="clip every length to this")
    flags.add_argument("--seed", type=int, default=0, metavar="N", help="of all random numbers (default: 0)")
    flags = command.add_argument_group("reading a file")
    formats = ["auto", *FORMATS]
    flags.add_argument(
        *("--trace-format", "--format"),
        dest="format",
        default="auto",
        choices=formats,
        metavar="FORMAT",
        help=f"of a file: {', '.join(formats)} (default: auto)",
    )
    bins = "seconds per row of counts (default: 1, or as far apart as most bins are)"
    flags.add_argument("--bin-s", type=float, metavar="S", help=bins)
    flags.add_argument("--sort", action="store_true", help="allow rows that are out of order")
    flags.add_argument(
        "--columns",
        type=_mapping,
        metavar="OURS=THEIRS,...",
        help="of any table: arrival=ts,tokens=n,tenant=user,text=query",
    )
    flags.add_argument("--time-unit", choices=UNITS, help="of the arrival column (default: the format's, else s)")
    flags.add_argument("--tokenizer", type=Path, metavar="DIR", help="count the tokens of the text column")
    flags.add_argument("--arrivals", metavar="SPEC", help="arrival times for a file that has none")


@command_line("python -m traces")
def main(arguments: list[str], prog: str) -> int:
    """Run the command line; returns the exit status."""
    run(parser(prog).parse_args(arguments))
    return 0


def run(arguments: argparse.Namespace) -> None:
    command = arguments.command
    if command == "list":
        print(printing.listing())
    elif command == "fit":
        if arguments.out.suffix != ".json":
            raise ValueError(f"{arguments.out}: parameters are written as .json, by which fit: knows them")
        trace = _load(arguments.source, arguments)
        with _waiting(f"fitting {arguments.source}"):
            model = fitting(trace)
            model.save(arguments.out)
        print(printing.fitted(model, arguments.out), file=sys.stderr)
    elif command == "make":
        _deliver(_load(arguments.source, arguments), arguments.out)
    elif command == "convert":
        loaded = [_load(source, arguments) for source in arguments.sources]
        trace = loaded[0] if len(loaded) == 1 else join(loaded)
        _deliver(spread_ticks(trace, arguments.seed) if arguments.spread_ticks else trace, arguments.out)
    else:
        _describe([arguments.source] if command == "stats" else arguments.sources, arguments)


def _load(source: str, arguments: argparse.Namespace) -> Trace:
    with _waiting(f"loading {source}"):
        return load(source, **{name: getattr(arguments, name) for name in _LOADING})


def _deliver(trace: Trace, out: Path | None) -> None:
    for note in (*trace.notes, trace.observed):
        print(note, file=sys.stderr)
    if out is not None:
        with _waiting(f"writing {out}"):
            write(trace, out)
        print(f"{len(trace)} requests written to {out}", file=sys.stderr)
        return
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "trace.csv"
        write(trace, path)
        with path.open() as lines:
            shutil.copyfileobj(lines, sys.stdout)


def _describe(sources: list[str], arguments: argparse.Namespace) -> None:
    traces = [_load(source, arguments) for source in sources]
    described = [statistics(trace) for trace in traces]
    if arguments.json:
        values = [dataclasses.asdict(one) for one in described]
        print(json_text(values[0] if len(values) == 1 else values, indent=1))
    else:
        print(printing.table(described))
    if arguments.plot is not None:
        # matplotlib takes a second to start: only who plots waits for it.
        from analysis.plots.figures import save
        from analysis.plots.of_traces import overview

        with _waiting("drawing"):
            save(overview(traces), arguments.plot)
        print(f"plot written to {arguments.plot}", file=sys.stderr)


def _mapping(text: str) -> dict[str, str]:
    pairs = [part.partition("=") for part in text.split(",")]
    if not all(ours and equals and theirs for ours, equals, theirs in pairs):
        raise argparse.ArgumentTypeError(f"{text!r} is not NAME=COLUMN,NAME=COLUMN")
    return {ours.strip(): theirs.strip() for ours, _, theirs in pairs}


def _waiting(what: str) -> contextlib.AbstractContextManager[object]:
    """A spinner on a terminal, nothing in a pipe."""
    console = Console(stderr=True)
    return console.status(what) if console.is_terminal else contextlib.nullcontext()


if __name__ == "__main__":
    sys.exit(main())
