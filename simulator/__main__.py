"""The command line: `python -m simulator --policy adaptive`."""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import sys
import textwrap
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import fields
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from policies import POLICIES, make
from profiler.table import LatencyTable, shipped
from simulator.output import read_run, refuse_foreign, save, to_json
from simulator.printing import heading, shortfall, table
from simulator.report import Report
from simulator.settings import CLOCKS, Prepared, Settings, prepare, unchanged
from simulator.simulate import SERVICE_NOISE_CHOICES
from traces import FORMATS, GENERATORS, NAMED

EPILOG = """examples:
  python -m simulator --policy adaptive
  python -m simulator --policy "timeout(max_batch=8)" --trace requests.csv --load 0.75
  python -m simulator --policy "admission(adaptive)" --trace poisson:rate=200,duration=60 --gpus 2 --slo-ms 500
  python -m simulator --policy my_policy:MyPolicy -p limit=12 --out runs/mine
  python -m simulator --rerun runs/mine"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit status: 0 done, 1 attainment below what was required, 2 bad input."""
    options = _parser().parse_args(arguments)
    try:
        return _run(options)
    except KeyboardInterrupt:
        print("interrupted: nothing was written", file=sys.stderr)
        return 128 + signal.SIGINT
    except (ValueError, LookupError, OSError, MemoryError) as error:
        if options.debug:
            raise
        message = repr(error) if isinstance(error, KeyError) else str(error)
        print(f"error: {message or 'not enough memory: fewer requests or GPUs are needed'}", file=sys.stderr)
        return 2


def _run(options: argparse.Namespace) -> int:
    if options.list:
        _say(_listing())
        return 0
    required = options.require_attainment
    if required is not None and not 0 <= required <= 1:
        raise ValueError(f"--require-attainment is {required}; it must lie in 0 to 1")
    if options.rerun is not None:
        _refuse_settings(options)
        recorded = read_run(options.rerun)
        settings = Settings.read(recorded["settings"])
        unchanged(settings)
        prepared = prepare(settings)
        if prepared.table.digest != recorded["table"].get("digest"):
            raise ValueError(f"table {prepared.table.name} has changed since the recorded run: rerun needs the old one")
    else:
        names = {each.name for each in fields(Settings)}
        prepared = prepare(
            Settings(**{name: value for name, value in vars(options).items() if name in names}), _parameters(options.p)
        )
    if options.reference != "none":
        make(options.reference)  # a mistake in it is found before the run, not after
    out = options.out or options.rerun or Path("runs") / _folder(prepared.settings.policy)
    refuse_foreign(out)
    with _progress(len(prepared.trace), options.json) as advance:
        report = prepared.run(on_progress=advance)
    text = to_json(report.summary) if options.json else _account(prepared, report, options.reference)
    save(report, out)
    if not options.json:
        text += f"\n\nwritten to {out}/: requests.parquet, batches.parquet, summary.json, run.json"
    _say(text.rstrip("\n"))
    return 1 if required is not None and report.summary["attainment"] < required else 0


def _say(text: str) -> None:
    """Print a text now: a reader that has gone (`| head`) is no error, a full disk is."""
    try:
        print(text, flush=True)
    except OSError as error:
        # What is left in the buffer goes nowhere, or Python would complain of it at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if not isinstance(error, BrokenPipeError):
            raise


def _refuse_settings(options: argparse.Namespace) -> None:
    """Raise ValueError where a rerun is asked for with settings of its own, which it would not heed."""
    default = _parser().parse_args([])
    names = ["p", *(each.name for each in fields(Settings) if each.name in vars(default))]
    given = [name for name in names if getattr(options, name) != getattr(default, name)]
    if given:
        flags = ", ".join("-p" if name == "p" else f"--{name.replace('_', '-')}" for name in given)
        raise ValueError(f"--rerun repeats a run as it was recorded: leave out {flags}")


def _account(prepared: Prepared, report: Report, reference: str) -> str:
    """Everything that is printed of a run but for where it lies."""
    policy = prepared.settings.policy
    lines: list[tuple[str, Report]] = [(policy, report)]
    if reference not in ("none", policy) and prepared.settings.clock == "virtual":
        lines.append((reference, prepared.run(reference)))
    missed = [f"{name}: {shortfall(each)}" for name, each in lines if shortfall(each)]
    return "\n".join([heading(report), "", table(lines), *([""] if missed else []), *missed])


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m simulator",
        description="Serve a trace of requests with a batching and pruning policy, on devices that take what a "
        "measured table says, and print latency, attainment, goodput and accuracy.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    default = Settings()
    what = parser.add_argument_group("what is served, how")
    what.add_argument(
        "--policy",
        default=default.policy,
        metavar="SPEC",
        help=f"{', '.join(POLICIES)}, or package.module:Class; parameters in parentheses (default: adaptive)",
    )
    what.add_argument(
        "-p", action="append", default=[], metavar="KEY=VALUE", help="a parameter of the policy; repeatable"
    )
    what.add_argument("--gpus", type=int, default=default.gpus, metavar="N", help="GPUs behind one queue (default: 1)")
    what.add_argument(
        "--slo-ms",
        type=float,
        metavar="MS",
        help="latency target (default: 5 x the model's batch-1 time at the median length)",
    )
    traffic = parser.add_argument_group("traffic")
    traffic.add_argument(
        "--trace",
        metavar="FILE|SPEC|NAME",
        help="a file, a generator such as poisson:rate=200,duration=60, or a shipped name "
        "(default: level traffic at half load with one burst of 4 times that)",
    )
    traffic.add_argument(
        "--trace-format",
        default=default.trace_format,
        choices=["auto", *FORMATS],
        metavar="FORMAT",
        help=f"of a file: auto, {', '.join(FORMATS)}",
    )
    rate = traffic.add_mutually_exclusive_group()
    rate.add_argument("--rate", type=float, metavar="R", help="mean requests per second")
    rate.add_argument(
        "--load", type=float, metavar="X", help="mean rate as a share of what all GPUs serve at full accuracy"
    )
    traffic.add_argument(
        "--rate-mode",
        default=default.rate_mode,
        choices=["superpose", "thin", "compress"],
        help="how a file is rescaled (default: superpose, which keeps the length of bursts)",
    )
    traffic.add_argument("--duration", type=float, metavar="S", help="only so many seconds")
    traffic.add_argument(
        "--lengths",
        metavar="FILE|SPEC",
        help="draw token counts from here (default: the trace's own, else short texts)",
    )
    device = parser.add_argument_group("device")
    device.add_argument("--table", metavar="NAME|DIR|CSV", help="measured latencies (default: the first of --list)")
    device.add_argument("--model", metavar="NAME", help="model of the table (default: its first students-*)")
    device.add_argument("--task", metavar="NAME", help="whose accuracies count (default: the table's first)")
    device.add_argument(
        "--service-noise",
        default=default.service_noise,
        choices=SERVICE_NOISE_CHOICES,
        help="none: batches take the measured median; profiled: drawn from what was measured",
    )
    device.add_argument("--clock", default=default.clock, choices=CLOCKS, help="wall paces the run in real time")
    run = parser.add_argument_group("run")
    run.add_argument("--seed", type=int, default=default.seed, help="of all random numbers (default: 0)")
    run.add_argument("--out", type=Path, metavar="DIR", help="where the run is written (default: runs/POLICY)")
    run.add_argument("--reference", default="greedy", metavar="SPEC", help="a policy to compare with; none for none")
    run.add_argument(
        "--rerun", type=Path, metavar="DIR", help="repeat a written run, byte for byte, in place or into --out"
    )
    run.add_argument("--json", action="store_true", help="print the summary as JSON, and nothing else")
    run.add_argument("--require-attainment", type=float, metavar="X", help="exit with status 1 where fewer are on time")
    run.add_argument("--list", action="store_true", help="list policies, tables and traces, and stop")
    run.add_argument("--debug", action="store_true", help="show the traceback of an error")
    return parser


def _parameters(pairs: Sequence[str]) -> dict[str, str]:
    parameters = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not equals:
            raise ValueError(f"-p {pair}: write key=value")
        parameters[key.strip()] = value.strip()
    return parameters


def _folder(policy: str) -> str:
    return "".join(letter if letter.isalnum() or letter in "-_." else "-" for letter in policy).strip("-")


def _listing() -> str:
    """Policies, tables and traces, one line each; wrapped on a terminal."""
    columns = shutil.get_terminal_size((10_000, 1)).columns

    def first_line(thing: Any) -> str:
        return (thing.__doc__ or "").strip().splitlines()[0]

    def line(name: str, text: str, width: int) -> str:
        return textwrap.fill(text, columns, initial_indent=f"  {name:{width}}  ", subsequent_indent=" " * (width + 4))

    tables = {name: LatencyTable.load(name) for name in shipped()}
    sections = {
        "policies (--policy)": {name: first_line(cls) for name, cls in POLICIES.items()},
        "tables (--table)": {name: f"{each.device}: {', '.join(each.models)}" for name, each in tables.items()},
        "traces (--trace)": {**NAMED, **{f"{name}:": first_line(each) for name, each in GENERATORS.items()}},
    }
    return "\n\n".join(
        "\n".join([title, *(line(name, text, max(map(len, section))) for name, text in section.items())])
        for title, section in sections.items()
    )


@contextmanager
def _progress(total: int, quiet: bool) -> Iterator[Any]:
    """A bar on a terminal's standard error; nothing in a pipe."""
    console = Console(stderr=True)
    columns = (TextColumn("simulating"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True, disable=quiet or not console.is_terminal) as progress:
        task = progress.add_task("", total=total)
        yield None if progress.disable else lambda done: progress.update(task, completed=done)


if __name__ == "__main__":
    sys.exit(main())
