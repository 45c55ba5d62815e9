"""What was asked of tenants and what was found: the criteria of reference/tenants.md, section 6.6.

    python -m profiler run --device cpu --threads 1 --models teacher-6x384 --batches 1,4,16 --tokens 16 --out mine
    python -m profiler tenants mine --layers 6 --budget-s 300
    python benchmarks/tenants_fidelity.py mine > fidelity.txt
    python benchmarks/tenants_study.py mine --fidelity fidelity.txt

writes docs/tenants.md and its figures, in some CPU minutes. Without the fidelity what live runs show is missed: they
need the machine alone. Lines of its file that begin with # are notes for the page.
"""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from exits.judged import Verdict
from pandas import DataFrame, concat
from tenancy import answers, hits, judged, runs
from tenancy.capacities import capacities
from tenancy.page import draw, page, setup_of
from tenancy.tables import CARDS, MODEL, assumed

from analysis.outputs import file_for
from analysis.sweeps.frames import read_parquet, write
from analysis.sweeps.origin import ROOT
from profiler.table import LatencyTable
from traces.shared.atomic import write_text
from traces.shared.command import command_line

#: Cells of the study: tenants, and requests of each part.
TENANTS, SLOTS = 10_000, 200


def parser(prog: str | None = None) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog, description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("table", type=Path, help="a measured table with adapters.csv")
    parser.add_argument("--fidelity", type=Path, metavar="FILE", help="what tenants_fidelity.py printed for that table")
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "data", metavar="DIR", help="real traces")
    parser.add_argument("--share", type=float, default=1.0, help="of the requests of every part, for a trial")
    parser.add_argument("--rows", type=Path, metavar="DIR", help="keep each part here, and go on from those that are")
    parser.add_argument("--page", type=Path, default=ROOT / "docs" / "tenants.md", metavar="FILE")
    return parser


@command_line("python benchmarks/tenants_study.py")
def main(arguments: list[str], prog: str) -> int:
    """Run everything and write the page."""
    options = parser(prog).parse_args(arguments)
    file_for(options.page, (".md",))
    table = LatencyTable.load(options.table)
    if table.adapters is None:
        raise LookupError(f"{options.table} has no adapters.csv: python -m profiler tenants measures it")
    torch.set_num_threads(1)
    live = None if options.fidelity is None else judged.read_fidelity(options.fidelity)
    with TemporaryDirectory(prefix="cohort-study-") as scratch:
        found = {name: _kept(options.rows, name, make) for name, make in _parts(options, table, Path(scratch))}
    verdicts = _verdicts(found, live)
    if live is not None:
        found["fidelity"] = live.cells
    command = shlex.join(["python", "benchmarks/tenants_study.py", *arguments])
    write_text(options.page, page(command, setup_of(table, live.notes if live else ()), verdicts, found))
    draw(found, options.page.parent / "images")
    missed = [each.name for its in verdicts.values() for each in its if not each.met]
    print(f"{options.page}: missed: {'; '.join(missed) or 'nothing'}")
    return 0


def _kept(folder: Path | None, name: str, make: Callable[[], DataFrame]) -> DataFrame:
    """A part from its file; made, and written, where there is none."""
    if folder is None:
        return make()
    path = folder / f"{name.replace(' ', '-')}.parquet"
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        write(make(), path)
    return read_parquet(path)


def _parts(
    options: argparse.Namespace, table: LatencyTable, scratch: Path
) -> Iterator[tuple[str, Callable[[], DataFrame]]]:
    """Every part of the study by name, and what makes it."""
    assert table.adapters is not None
    cards = {name: assumed(scratch, name) for name in CARDS}
    h200, model = cards["h200"], table.adapters.rows[0][0]
    served = [(table, model, options.table), *((cards[name], MODEL, scratch / f"{name}-assumed") for name in CARDS)]

    def many(requests: int) -> int:
        return max(400, round(options.share * requests))

    def each(part: Any, *about: Any) -> DataFrame:
        return concat([part(own, its, *about) for own, its, _ in served], ignore_index=True)

    def capacity(requests: int) -> DataFrame:
        return concat([capacities(path, its, requests) for _, its, path in served], ignore_index=True)

    yield "mixed", partial(answers.mixed, model)
    yield "looked up", partial(answers.looked_up, many(10_000))
    yield "mixing", partial(runs.mixing, table)
    yield "single batch", partial(runs.single_batch, h200, MODEL)
    yield "pipelining", partial(each, runs.pipelining, many(1_000), (None, *runs.RATIOS))
    yield "parity", partial(runs.parity, options.table, model, scratch, many(400), 100)
    yield "ordering", partial(hits.ordering, h200, many(8_000))
    yield "exactness", partial(hits.exactness, h200, options.data, many(16_093))
    yield "real", partial(hits.real, h200, options.data)
    yield "invariants", partial(runs.invariants, max(len(runs.TRIED), round(100 * options.share)))
    yield "crossing", partial(each, runs.crossing, SLOTS, many(4_000))
    yield "anchors", partial(hits.anchors, h200, many(40_000))
    yield "queueing", partial(runs.queueing, h200, MODEL, many(300_000))
    yield "published", partial(hits.published, many(100_000))
    yield "speed", partial(runs.speed, h200, many(1_000_000), TENANTS, "lru(greedy)")
    yield "capacity", partial(capacity, many(4_000))


def _verdicts(found: dict[str, DataFrame], live: judged.Fidelity | None) -> dict[str, list[Verdict]]:
    """What is asked of each part."""

    def of(*names: str) -> list[Verdict]:
        return [one for name in names for one in judged.CRITERIA[name](found[name])]

    return {
        "Answers": of("mixed", "looked up"),
        "The simulation": of("invariants", "queueing", "single batch", "anchors", "published", "speed"),
        "Policies": of("exactness", "ordering", "real"),
        "Throughput": of("pipelining", "crossing", "mixing"),
        "Simulated and live": of("parity") + list(judged.fidelity(live)),
        "Capacity": of("capacity") + [judged.without_gpu(torch.cuda.is_available())],
    }


if __name__ == "__main__":
    sys.exit(main())
