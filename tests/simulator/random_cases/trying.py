"""Command line: `python tests/simulator/random_cases` tries random policies on random cases and checks every rule."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from functools import partial
from multiprocessing import Pool
from pathlib import Path
from tempfile import TemporaryDirectory
from time import monotonic

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from trials import Trial, record

from traces.shared.command import Flags, command_line

#: Cases from which it is told how long all will take, and seconds between two lines in a pipe.
FIRST, EVERY_S = 100, 10.0


@command_line("python tests/simulator/random_cases")
def main(arguments: list[str], prog: str) -> int:
    """Try the cases; 1 where one breaks a rule, after a line with the command that repeats it."""
    flags = Flags(prog=prog, description="Random policies on random cases: I1 to I6 and I8 to I10 must hold in each.")
    flags.add_argument("--cases", type=int, default=1000, metavar="N", help="how many (default %(default)s)")
    flags.add_argument("--policies", default="", metavar="A;B", help="these in turn instead of random ones")
    flags.add_argument("--seed", type=int, default=0, help="of the first case; the next has the next (default 0)")
    flags.add_argument("--jobs", type=int, default=1, help="processes (default %(default)s)")
    options = flags.parse_args(arguments)
    if min(options.cases, options.jobs) < 1 or options.seed < 0:
        raise ValueError("--cases and --jobs must be at least 1, and --seed at least 0")
    specs = [each.strip() for each in options.policies.split(";") if each.strip()]
    with TemporaryDirectory() as folder:
        record(Path(folder))
        seeds = range(options.seed, options.seed + options.cases)
        for broken in _told(_results(partial(tried, Path(folder), specs), seeds, options.jobs), options.cases):
            if broken:
                print(broken)
                return 1
    print(f"{options.cases:,} cases keep all rules")
    return 0


def tried(folder: Path, specs: list[str], seed: int) -> str:
    """What rule the case of a seed breaks, and the command that repeats it, in a line; empty where it keeps all."""
    trial = Trial(seed, folder, specs[seed % len(specs)] if specs else None)
    try:
        trial.check()
    except AssertionError as error:
        again = f"python tests/simulator/random_cases --cases 1 --seed {seed} --policies {trial.spec!r}"
        return f"{' '.join(str(error).split())}: {again}"
    return ""


def _results(trying: partial[str], seeds: range, jobs: int) -> Iterator[str]:
    """What `tried` says of each case."""
    if jobs == 1:
        yield from map(trying, seeds)
        return
    with Pool(jobs, signal.signal, (signal.SIGINT, signal.SIG_IGN)) as pool:
        yield from pool.imap(trying, seeds, chunksize=16)


def _told(results: Iterator[str], cases: int) -> Iterator[str]:
    """The results; how long it will take, and how far it is, is told on standard error."""
    console = Console(stderr=True)
    columns = (TextColumn("cases"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    began = told = monotonic()
    with Progress(*columns, console=console, disable=not console.is_terminal) as shown:
        task = shown.add_task("", total=cases)
        for done, result in enumerate(results, 1):
            yield result
            shown.update(task, completed=done)
            now = monotonic()
            if done == FIRST < cases:
                console.print(f"about {(now - began) * cases / done / 60:.1f} minutes for {cases:,} cases")
            elif shown.disable and now - told > EVERY_S:
                told = now
                console.print(f"{done:,} of {cases:,} cases, {(now - began) / done * (cases - done):.0f} s left")
