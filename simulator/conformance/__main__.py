"""Command line: `python -m simulator.conformance` tries the serving loop in fault worlds."""

from __future__ import annotations

import sys
from collections import Counter
from functools import partial

from simulator.conformance.faults import ENDS, FAULTS
from simulator.conformance.judging import Ending, judged
from simulator.conformance.trying import tried
from traces.shared.command import command_line
from traces.shared.flags import Flags, Several

NOTHING = "nothing"


@command_line("python -m simulator.conformance")
def main(arguments: list[str], prog: str) -> int:
    """Try the worlds; 1 where one breaks a rule, after a line with the command that repeats it."""
    flags = Flags(
        prog=prog,
        description="The real loop, clock, queue, memory and journal in worlds where clocks step, devices stall, "
        "events get lost, disks fill and policies go wrong: every run keeps all rules, or says in one line why not.",
    )
    flags.add_argument("--worlds", type=int, default=1000, metavar="N", help="how many (default %(default)s)")
    flags.add_argument(
        "--policy", "--policies", dest="policies", action=Several, metavar="SPEC",
        help="these in turn instead of random ones; repeatable, or semicolons between them",
    )  # fmt: skip
    flags.add_argument(
        "--seed", type=int, default=0, metavar="N", help="of the first world; the next has the next (default: 0)"
    )
    flags.add_argument("--jobs", type=int, default=1, metavar="N", help="processes (default: 1)")
    options = flags.parse_args(arguments)
    if min(options.worlds, options.jobs) < 1 or options.seed < 0:
        raise ValueError("--worlds and --jobs must be at least 1, and --seed at least 0")
    specs = [each.strip() for each in (options.policies or "").split(";") if each.strip()]
    seeds = range(options.seed, options.seed + options.worlds)
    endings: list[Ending] = []
    for ending in tried(partial(found, specs), seeds, options.jobs, "worlds"):
        if isinstance(ending, str):
            print(ending)
            return 1
        endings.append(ending)
    print(f"{table(endings)}\n\n{len(endings):,} worlds keep all rules, or say why not")
    return 0


def found(specs: list[str], seed: int) -> Ending | str:
    """How the world of a seed ended, or the rule that it breaks and the command that repeats it, in a line."""
    spec = specs[seed % len(specs)] if specs else ""
    try:
        return judged(seed, spec)
    except AssertionError as error:
        again = f"python -m simulator.conformance --worlds 1 --seed {seed}" + (f" --policy {spec!r}" if spec else "")
        return f"{' '.join(str(error).split())}: {again}"


def table(endings: list[Ending]) -> str:
    """How many runs ended how, by what struck; a run in which two faults struck is in both rows."""
    counts = Counter((name, each.end) for each in endings for name in each.struck or (NOTHING,))
    all_of = Counter(each.end for each in endings)
    rows: list[tuple[str, ...]] = [("what struck", *ENDS, "worlds")]
    for name in (NOTHING, *FAULTS):
        row = [counts[name, end] for end in ENDS]
        rows.append((name, *(f"{each:,}" if each else "" for each in row), f"{sum(row):,}"))
    rows.append(("in all", *(f"{all_of[end]:,}" for end in ENDS), f"{len(endings):,}"))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = []
    for name, *cells in rows:
        right = [f"{cell:>{width}}" for cell, width in zip(cells, widths[1:], strict=True)]
        lines.append("  ".join([f"{name:{widths[0]}}", *right]))
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
