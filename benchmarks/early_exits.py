"""What early exits keep and what they save: every policy of policies/exits on recorded answers, with what was asked.

    python benchmarks/early_exits.py profiler/answers/layers/teacher-12x384.sst2.parquet --jobs 2

writes docs/early-exits.md, its figures, and every run as a row (--rows). Files of one model that are named together,
with a + between them, are one stream of several tasks, which drifts between these. A run of 20,000 requests takes 0.2
to 2 CPU seconds; two teachers on five streams, three loads and three seeds are 1,080 runs, 25 minutes on one core.
"""

from __future__ import annotations

import argparse
import shlex
import sys
from pathlib import Path
from typing import Any

from exits.cells import PLAIN, Cell, deployment, figures, grid
from exits.further import listed, overload, rate, throughput, tuner
from exits.judged import controller, latency, promise, rivals
from exits.page import draw, page, setup_of
from pandas import DataFrame, concat

from analysis.outputs import file_for
from analysis.progress import progress
from analysis.sweeps.backends import Pool
from analysis.sweeps.frames import write
from analysis.sweeps.origin import ROOT
from profiler.answers.streams import STREAMS
from profiler.table import shipped
from traces.shared.atomic import write_text
from traces.shared.command import command_line


def parser(prog: str | None = None) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog, description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("answers", nargs="+", metavar="FILE[+FILE]", help="recorded answers by layers, a teacher each")
    parser.add_argument(
        "--table", default=shipped()[0], metavar="NAME|DIR", help="with layers.csv (default: the first)"
    )
    parser.add_argument("--streams", default=",".join(STREAMS), help=f"of {', '.join(STREAMS)} (default: all)")
    parser.add_argument(
        "--loads", default="0.3,0.6,0.9", help="shares of what plain batches serve of a queue that never ends"
    )
    parser.add_argument("--seeds", type=int, default=3, metavar="N")
    parser.add_argument("--requests", type=int, default=20_000, metavar="N", help="of a run (default: 20000)")
    parser.add_argument(
        "--around", default="buckets(greedy)", metavar="SPEC", help="forms the batches (default: buckets(greedy))"
    )
    parser.add_argument("--jobs", type=int, default=1, metavar="N", help="worker processes (default: 1)")
    parser.add_argument("--page", type=Path, default=ROOT / "docs" / "early-exits.md", metavar="FILE")
    parser.add_argument("--rows", type=Path, metavar="FILE", help="write every run to this .csv or .parquet, too")
    return parser


@command_line("python benchmarks/early_exits.py")
def main(arguments: list[str], prog: str) -> int:
    """Run everything and write the page."""
    options = parser(prog).parse_args(arguments)
    file_for(options.rows, (".parquet", ".csv"))
    file_for(options.page, (".md",))
    teachers = [tuple(named.split("+")) for named in options.answers]
    kinds, loads = options.streams.split(","), [float(load) for load in options.loads.split(",")]
    how = (options.seeds, options.requests, options.table, options.around)
    cells = list(grid(teachers, kinds, loads, *how))
    bases = [Cell(own, "even", loads[0], seed, PLAIN, *how[1:]) for own in teachers for seed in range(options.seeds)]
    tasks: list[tuple[Any, tuple[Any, ...]]] = [(figures, (cell,)) for cell in cells] + listed(bases)
    found: dict[int, dict[str, Any]] = {}
    with Pool(options.jobs) as pool, progress("runs") as told:
        for number, row in pool.each(_called, tasks):
            found[number] = row
            told(len(found), len(tasks))
    own = DataFrame([found[at] for at in range(len(cells))])
    rest = [found[at] for at in range(len(cells), len(tasks)) if tasks[at][0] is not rate]
    rates = DataFrame([found[at] for at in range(len(tasks)) if tasks[at][0] is rate])
    further = DataFrame(rest)
    if options.rows is not None:
        write(concat([own, further], ignore_index=True), options.rows)
    deep = max(own["model"], key=lambda name: int(name.split("-")[1].split("x")[0]))
    verdicts = {
        "B1. The promise": list(promise(own)),
        f"B2. Sooner answers ({deep})": list(latency(own, model=deep)),
        f"B2. The same, where batches run on ({deep}, result)": list(latency(own, "certain, result", deep)),
        "B2, B3. Against the others": list(rivals(own)),
        "B4. Throughput": list(throughput(rates)),
        "B5. Overload": list(overload(further[further["burst"].notna()])),
        "B6. The controller": list(controller(own)),
        "R3. The tuner": [tuner(base) for base in bases[:: options.seeds]],
    }
    command = shlex.join(["python", "benchmarks/early_exits.py", *arguments])
    device = deployment(options.table, own["model"][0]).table.device
    write_text(options.page, page(command, options.page.stem, setup_of(cells, device), verdicts, own, further))
    drifting = next(cell for cell in cells if cell.kind == kinds[-1] and cell.load == loads[len(loads) // 2])
    draw(drifting, options.page)
    missed = [each.name for its in verdicts.values() for each in its if not each.met]
    print(f"{options.page}: {len(tasks):,} runs; missed: {'; '.join(missed) or 'nothing'}")
    return 0


def _called(function: Any, given: tuple[Any, ...]) -> dict[str, Any]:
    return dict(function(*given))


if __name__ == "__main__":
    sys.exit(main())
