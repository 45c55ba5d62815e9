"""The command line: `python -m simulator --policy adaptive`."""

from __future__ import annotations

import argparse
import shutil
import signal
import sys
import textwrap
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext, redirect_stdout
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from policies import POLICIES, make
from profiler.table import LatencyTable, shipped
from simulator.arguments import parameters, parser
from simulator.contenders import right
from simulator.reporting.journal import Journal, left_behind
from simulator.reporting.output import WHOSE, read_run, save, to_json
from simulator.reporting.printing import exits, heading, shortfall, table, verdict
from simulator.reporting.report import Report
from simulator.rivals import standing
from simulator.serving.clock import VirtualClock
from simulator.settings import Prepared, Settings, prepare, unchanged
from traces import GENERATORS, NAMED
from traces.shared.atomic import refuse_foreign
from traces.shared.command import command_line
from traces.shared.modules import refuse_changed
from traces.shared.text import first_line


@command_line("python -m simulator")
def main(arguments: list[str], prog: str) -> int:
    """Run the command line; returns the exit status: 0 done, 1 attainment below what was required, 2 bad input."""
    if arguments[:1] == ["serve"]:
        from simulator.endpoint.command import main as serve

        return serve(arguments[1:], f"{prog} serve")
    return _run(parser(prog).parse_args(arguments))


def _run(options: argparse.Namespace) -> int:
    if options.list:
        print(_listing())
        return 0
    required = options.require_attainment
    if required is not None and not 0 <= required <= 1:
        raise ValueError(f"--require-attainment is {required}; it must lie in 0 to 1")
    with redirect_stdout(sys.stderr) if options.json else nullcontext():  # what a policy prints is no JSON
        prepared = _prepared(options)
        if options.reference not in (None, "none"):
            make(options.reference)  # a mistake in it is found before the run, not after
        out = options.out or options.rerun or Path("runs") / _folder(prepared.settings.policy)
        refuse_foreign(out, *WHOSE)
        report, text = (_simulated if prepared.settings.device is None else _served)(prepared, options, out)
    if not options.json:
        answers = "" if report.logits is None else ", answers.parquet"
        text += f"\n\nwritten to {out}/: requests.parquet, batches.parquet{answers}, summary.json, run.json"
    print(text.rstrip("\n"))
    if report.run.get("interrupted"):
        return 128 + signal.SIGINT
    return 1 if required is not None and report.summary["attainment"] < required else 0


def _prepared(options: argparse.Namespace) -> Prepared:
    """The settings and inputs of the run that was asked for, a recorded one or a new one."""
    if options.rerun is None:
        names = {each.name for each in fields(Settings)}
        asked = {name: value for name, value in vars(options).items() if name in names}
        if options.live:
            from profiler.executors.serving import default_device

            asked["clock"], asked["device"] = "wall", options.device or default_device()
        return prepare(Settings(**asked), parameters(options.p))
    _refuse_settings(options)
    recorded = read_run(options.rerun)
    settings = Settings.read(recorded["settings"])
    if settings.device is not None:
        raise ValueError(
            f"{options.rerun} ran on a real device: it does not reproduce byte for byte; run it live again"
        )
    unchanged(settings)
    try:
        prepared = prepare(settings)
    finally:  # a policy may have extended sys.path by now; and where one cannot be made, the change is why
        refuse_changed(recorded.get("modules", {}))
    loaded = prepared.deployment.table
    if loaded.digest != recorded["table"].get("digest"):
        raise ValueError(f"table {loaded.name} has changed since the recorded run: rerun needs the old one")
    return prepared


def _simulated(prepared: Prepared, options: argparse.Namespace, out: Path) -> tuple[Report, str]:
    """Simulate, write, and say what came out."""
    with _progress("simulating", len(prepared.trace), options.json) as advance:
        report = prepared.run(on_progress=advance)
    text = to_json(report.summary) if options.json else _account(prepared, report, options.reference)
    save(report, out)
    return report, text


def _served(prepared: Prepared, options: argparse.Namespace, out: Path) -> tuple[Report, str]:
    """Run on a real device, write, and say what came out beside what the simulation says."""
    from simulator.live import open_live, with_attempts

    if options.attempts < 1:
        raise ValueError(f"--attempts is {options.attempts}; at least 1 is needed")
    folder = out.with_name(out.name + ".live")
    if found := left_behind(folder):
        print(found, file=sys.stderr)
    with _status(options.json) as say:
        devices = open_live(prepared, say)
    prepared = devices.prepared
    with Journal(folder, asdict(prepared.settings)) as journal:
        with _progress("serving", len(prepared.trace), options.json) as advance:
            attempts = devices.attempts(most=options.attempts, journal=journal, on_progress=advance)
        report = with_attempts(attempts)
        simulated = None if report.run.get("interrupted") else prepared.run(clock=VirtualClock())
        text = to_json(report.summary) if options.json else _live_account(prepared, attempts, simulated)
        save(report, out)
        journal.remove()
    return report, text


def _refuse_settings(options: argparse.Namespace) -> None:
    """Raise ValueError where a rerun is asked for with settings of its own, which it would not heed."""
    default = parser().parse_args([])
    names = ["p", "live", "attempts", *(each.name for each in fields(Settings) if each.name in vars(default))]
    if given := [name for name in names if getattr(options, name) != getattr(default, name)]:
        flags = ", ".join("-p" if name == "p" else f"--{name.replace('_', '-')}" for name in given)
        raise ValueError(f"--rerun repeats a run as it was recorded: leave out {flags}")


def _live_account(prepared: Prepared, attempts: Sequence[Report], simulated: Report | None) -> str:
    """Everything that is printed of a live run: every attempt with its verdict, and the simulation of the same."""
    names = ["live"] if len(attempts) == 1 else [f"live, attempt {number}" for number in range(1, len(attempts) + 1)]
    if attempts[-1].run.get("interrupted"):
        names[-1] += ", interrupted"
    lines = [(f"{prepared.settings.policy} {name}", each) for name, each in zip(names, attempts, strict=True)]
    if simulated is not None:
        lines.append((f"{prepared.settings.policy} simulated", simulated))
    missed = [f"{name}: {shortfall(each)}" for name, each in lines if shortfall(each)]
    verdicts = [f"{name}: {verdict(each)}" for name, each in zip(names, attempts, strict=True)]
    shown = table([(name, each.summary) for name, each in lines])
    return "\n".join([heading(attempts[-1]), "", shown, *([""] if missed else []), *missed, "", *verdicts])


def _account(prepared: Prepared, report: Report, reference: str | None) -> str:
    """Everything that is printed of a run but for where it lies: its line, those of its rivals, and which is right."""
    policy = prepared.settings.policy
    alone = reference == "none" or prepared.settings.clock != "virtual"
    rows, notes = (table([(policy, report.summary)]), []) if alone else _beside(prepared, report, reference)
    if exits(report):
        notes.append(f"{policy}: {exits(report)}")
    if shortfall(report):
        notes.append(f"{policy}: {shortfall(report)}")
    return "\n".join([heading(report), "", rows, *([""] if notes else []), *notes])


def _beside(prepared: Prepared, report: Report, reference: str | None) -> tuple[str, list[str]]:
    """The lines of a run and its rivals, and which of them is right, with the policies whose names are cut short."""
    found = standing(prepared, report, reference)
    contenders = [each.contender for each in found]
    lines = [(each.contender.label, each.summary) for each in found]
    short = [f"{each.label} is {each.policy}" for each in contenders if each.label != each.policy]
    said = [right(contenders, [each.score for each in found]), *short]
    return table(lines, [each.serves for each in contenders]), said


def _folder(policy: str) -> str:
    return "".join(letter if letter.isalnum() or letter in "-_." else "-" for letter in policy).strip("-")


def _listing() -> str:
    """Policies, tables and traces, one line each; wrapped on a terminal."""
    columns = shutil.get_terminal_size((10_000, 1)).columns

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
def _status(quiet: bool) -> Iterator[Callable[[str], None]]:
    """A line on a terminal's standard error that says what is being done; nothing in a pipe."""
    console = Console(stderr=True)
    if quiet or not console.is_terminal:
        yield lambda what: None
        return
    with console.status("") as status:
        yield status.update


@contextmanager
def _progress(what: str, total: int, quiet: bool) -> Iterator[Any]:
    """A bar on a terminal's standard error; nothing in a pipe."""
    console = Console(stderr=True)
    columns = (TextColumn(what), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True, disable=quiet or not console.is_terminal) as progress:
        task = progress.add_task("", total=total)
        yield None if progress.disable else lambda done: progress.update(task, completed=done)


if __name__ == "__main__":
    sys.exit(main())
