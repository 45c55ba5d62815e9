"""Whether any online policy is worth more than adaptive, on every kind of traffic, at every load and target.

    python benchmarks/policy_contest.py --jobs 2

runs 150 cells of the grid and 50 at random in about 25 minutes, and writes docs/contest.md. An interrupted contest goes
on where it was: every run is kept in --store by its content, the code that it goes through among it. So after a change
of one policy only its own runs are new; --trust keeps the others' after a change of the simulator, too. More cells, in
the same order, cost only the new ones; `--cells all` is the whole grid (15,360 cells, some days). A cell takes 4 to 30
CPU seconds, of which adaptive has a tenth.

The grid: tables (synthetic, h200-modelled, cpu-epyc-1thread; shipped and steep accuracies) by what is served (students;
students and teacher), traffic (generated, fitted, recorded where ../shared/data is there), loads 0.3 to 8, targets 2x,
5x and 20x, 1 to 8 GPUs, one length and short texts. The rivals: benchmarks/contest/rivals.py. --seed is the first of
all; adaptive's parameters were chosen on seeds below 12000.
"""

from __future__ import annotations

import argparse
import shlex
import sys
from pathlib import Path
from time import process_time

from contest.cells import FITTED, GENERATED, Cell, at_random, grid, present
from contest.page import behind, page, summary
from contest.rivals import missing
from contest.runs import Rounds, Standing, keys, stand, wanted
from contest.tables import Shelf

from analysis.sweeps.backends import Pool
from analysis.sweeps.origin import ROOT
from analysis.sweeps.store import Store
from policies import make
from traces.shared.atomic import write_text
from traces.shared.command import command_line

PAGE = ROOT / "docs" / "contest.md"
#: Options that change how a contest is run, not what it finds.
ASIDE = ("jobs", "store", "page")
#: The least of every number.
LEAST = {"random": 0, "seed": 0, "screening": 1, "seeds": 1, "requests": 1}


def parser(prog: str | None = None) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog, description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cells", default="150", metavar="N", help="so many of the grid, or all (default: 150)")
    parser.add_argument("--random", type=int, default=50, metavar="N", help="cells between those (default: 50)")
    parser.add_argument("--seed", type=int, default=20_000, help="the first of all (default: 20000)")
    parser.add_argument("--screening", type=int, default=1, metavar="N", help="seeds for all policies (default: 1)")
    parser.add_argument("--seeds", type=int, default=3, metavar="N", help="further ones, which count (default: 3)")
    parser.add_argument("--requests", type=int, default=4000, metavar="N", help="at least, of a run (default: 4000)")
    parser.add_argument("--only", default="", metavar="TEXT", help="cells of these whose line has this text")
    parser.add_argument("--policy", default="adaptive", metavar="SPEC", help="the one that is judged (adaptive)")
    parser.add_argument("--trust", action="store_true", help="take kept runs of others whatever code they are of")
    parser.add_argument("--jobs", type=int, default=1, metavar="N", help="worker processes (default: 1)")
    parser.add_argument("--store", type=Path, default=ROOT / "runs" / "contest", help="keeps what was run")
    parser.add_argument("--page", type=Path, default=PAGE, metavar="FILE", help="where to write (default: docs)")
    return parser


def command(options: argparse.Namespace) -> str:
    """What finds the same again: the options that are not the defaults."""
    said = ["python", "benchmarks/policy_contest.py"]
    for name, value in vars(options).items():
        if name not in ASIDE and value != parser().get_default(name):
            said += [f"--{name}"] if value is True else [f"--{name}", str(value)]
    return shlex.join(said)


def chosen(options: argparse.Namespace, shelf: Shelf) -> list[Cell]:
    """The cells that were asked for, each once. Raises ValueError for options beyond what they can be."""
    for name, least in LEAST.items():
        if (value := getattr(options, name)) < least:
            raise ValueError(f"--{name} is {value}; it must be at least {least}")
    if not (options.cells == "all" or options.cells.isdecimal()):
        raise ValueError(f"--cells is {options.cells}; it must be a whole number, or all")
    traces = [*GENERATED, *FITTED, *present()]
    every = grid(shelf, traces)
    cells = every if options.cells == "all" else every[: int(options.cells)]
    cells = list(dict.fromkeys([*cells, *at_random(shelf, options.random, options.seed, traces)]))
    if not (found := [cell for cell in cells if options.only in str(cell)]):
        raise ValueError(
            f"none of {len(cells)} cells has {options.only!r} in its line: ask for more, or leave out --only"
        )
    return found


@command_line("python benchmarks/policy_contest.py")
def main(arguments: list[str], prog: str) -> int:
    """Run the contest and write its page."""
    options, shelf = parser(prog).parse_args(arguments), Shelf()
    make(options.policy)  # a mistake in it is found before the runs, not after
    first, second = options.seed, options.seed + options.screening
    rounds = Rounds(
        tuple(range(first, second)),
        tuple(range(second, second + options.seeds)),
        options.requests,
        judged=options.policy,
        trust=options.trust,
    )
    cells, store = chosen(options, shelf), Store(options.store)
    looked_for = [
        [wanted(key, entry, rounds) for (entry, _), key in keys(cell, shelf, rounds).items()] for cell in cells
    ]
    found = {key: float(row["value"]) for key, row in store.find(key for own in looked_for for key in own).items()}
    tasks = [
        (cell, shelf, rounds, {key: found[key] for key in own if key in found}, store.adding)
        for cell, own in zip(cells, looked_for, strict=True)
    ]
    print(f"# {len(cells)} cells; {len(found):,} runs are there", flush=True)
    standings: dict[int, Standing] = {}
    try:
        with Pool(options.jobs) as pool:
            for number, standing in pool.each(stand, tasks):
                standings[number] = standing
                print(line(standing), flush=True)
    finally:
        store.flush()
    ordered = [standings[number] for number in range(len(cells))]
    write_text(options.page, page(ordered, rounds, command(options), missing()))
    print(f"# {summary(ordered)}\n# {process_time():.0f} CPU s here; written to {options.page}")
    return 0


def line(standing: Standing) -> str:
    best, mean = standing.best(), 100 * standing.mean(standing.judged)
    if best is None:
        return f"{mean:6.2f}                {standing.cell}"
    return f"{mean:6.2f} {behind(standing):+7.2f}  {standing.cell}: {best.name(standing.cell)}"


if __name__ == "__main__":
    sys.exit(main())
