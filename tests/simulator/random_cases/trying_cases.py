"""Command line: `python tests/simulator/random_cases` tries random policies on random cases and checks every rule."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

from trials import Trial, record

from simulator.conformance.trying import tried
from traces.shared.command import command_line
from traces.shared.flags import Flags


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
        for broken in tried(partial(found, Path(folder), specs), seeds, options.jobs, "cases"):
            if broken:
                print(broken)
                return 1
    print(f"{options.cases:,} cases keep all rules")
    return 0


def found(folder: Path, specs: list[str], seed: int) -> str:
    """What rule the case of a seed breaks, and the command that repeats it, in a line; empty where it keeps all."""
    trial = Trial(seed, folder, specs[seed % len(specs)] if specs else None)
    try:
        trial.check()
    except AssertionError as error:
        again = f"python tests/simulator/random_cases --cases 1 --seed {seed} --policies {trial.spec!r}"
        return f"{' '.join(str(error).split())}: {again}"
    return ""
