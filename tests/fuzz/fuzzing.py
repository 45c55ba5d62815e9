"""Command line: `python tests/fuzz` spoils command lines, their files and requests over HTTP, and looks how it ends."""

from __future__ import annotations

import shutil
import signal
from collections.abc import Iterator
from functools import partial
from multiprocessing import Pool
from pathlib import Path
from tempfile import mkdtemp
from time import monotonic

from attempts import attempt, run
from folders import build
from lines import commands
from sessions import session

from traces.shared.command import command_line
from traces.shared.flags import Flags

#: What the folder gets from our own commands: a run, a sweep, a plan, a fitted generator.
OWN = (
    """
simulator --trace trace.csv --table table --policy timeout --slo-ms 20 --out run
traces fit counts.csv -o fit.json
analysis sweep grid.toml JOB --out sweep
analysis compare --table table --policies greedy;none --replications 2 --trace poisson:duration=1 --out comparison.csv
analysis capacity --table table --policy greedy --requests 300 --seeds 0-1 --tolerance 0.2 JOB --out capacity.csv
analysis plan --tables table --trace trace.csv --slo-ms 50 --policies greedy --max-gpus 2 --simulated 200 JOB --out plan
""".replace("JOB", "--jobs 1 --store store")
    .strip()
    .splitlines()
)


@command_line("python tests/fuzz")
def main(arguments: list[str], prog: str) -> int:
    """Try the cases; 1 where one ends as it must not, after a line for each."""
    flags = Flags(prog=prog, description="Spoiled command lines and files: one line of error, no traceback, no hang.")
    flags.add_argument("--cases", type=int, default=1000, metavar="N", help="how many (default %(default)s)")
    flags.add_argument("--seconds", type=float, metavar="S", help="stop after so long")
    flags.add_argument("--seed", type=int, default=0, help="of all cases (default 0)")
    flags.add_argument("--first", type=int, default=0, metavar="N", help="number of the first case (default 0)")
    flags.add_argument("--jobs", type=int, default=1, help="processes (default %(default)s)")
    flags.add_argument("--slow", action="store_true", help="command lines that take seconds")
    flags.add_argument("--http", action="store_true", help="bytes on connections to the endpoint instead")
    options = flags.parse_args(arguments)
    if min(options.cases, options.jobs) < 1 or min(options.seed, options.first) < 0:
        raise ValueError("--cases and --jobs must be at least 1, --seed and --first at least 0")
    numbers = range(options.first, options.first + options.cases)
    until = monotonic() + (options.seconds or float("inf"))
    tried = wrong = 0
    if options.http:
        from streams import findings as of_streams

        results = of_streams(options.seed, numbers)
    else:
        results = findings(options.seed, numbers, options.jobs, options.slow)
    for found in results:
        tried += 1
        if found:
            wrong += 1
            print(found, flush=True)
        if monotonic() > until:
            break
    print(f"{tried:,} cases of seed {options.seed}: {wrong} end as they must not")
    return int(wrong > 0)


def findings(seed: int, numbers: range, jobs: int = 1, slow: bool = False) -> Iterator[str]:
    """What is wrong with each case, empty where nothing is."""
    commands()
    folder = Path(mkdtemp())  # a TemporaryDirectory would be removed by the exit of each fork
    try:
        template, work = folder / "template", folder / "work"
        template.mkdir()
        work.mkdir()
        build(template)
        for line in OWN:
            ended = run(line.split(" "), template)
            if ended.status not in (0, 1):
                raise RuntimeError(f"{line}: {ended.complained}")
        session(template / "run", template / "session")
        trying = partial(_tried, seed, template=template, work=work, slow=slow)
        if jobs == 1:
            yield from map(trying, numbers)
            return
        with Pool(jobs, signal.signal, (signal.SIGINT, signal.SIG_IGN)) as pool:
            yield from pool.imap(trying, numbers, chunksize=4)
    finally:
        shutil.rmtree(folder)


def _tried(seed: int, number: int, template: Path, work: Path, slow: bool) -> str:
    return attempt(seed, number, template, work, slow)
