"""Packed batches against padded ones on a CPU: times, predictions, capacities, all from one run on one thread.

    python benchmarks/packed.py --out /tmp/packed                       (everything; about half an hour)
    python benchmarks/packed.py --out /tmp/packed --parts times --seconds 0.3
    python benchmarks/packed.py --out /tmp/packed --quick               (a small model: shows that it works, no more)

Parts, in this order:
times       the same texts, in the same process, interleaved: packed (and in bfloat16 where the processor has it) over
            padding to the sizes of 3157bd8 (today), to those of the plan `cpu` (fine), to the batch itself (exact), and
            over Hugging Face with SDPA, padded to the longest. Milliseconds and ratios; the denominator is in the
            heading.
table       OUT/table: one model by the fine plan and packed, all keys of both in one measurement; today's plan has the
            rows of the fine one that it needs. An unfinished table is gone on with by the same command.
predict     random mixes of SST-2, BANKING77 and uniform lengths against the packed rows: at most 3 % off in the median,
            8 % at p95.
capacity    requests per second at 99 % on time by greedy, tokenbudget, fixed(students=1) and adaptive on the three
            plans: recorded arrivals of a chat service, lengths of SST-2, 124.5 ms.

Exit status 1 where a wanted figure is missed. Measure on a quiet machine: see docs/profiler.md.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from packing import capacities, prediction
from packing.tables import grids, measured, suffixed
from packing.texts import SOURCES, texts
from packing.times import Ways, side_by_side

from profiler.commands.keys import whole_numbers
from profiler.commands.printing import progress_bar
from profiler.device.seam import Unavailable
from profiler.executors.cpu import DTYPES, CpuExecutor, number_format
from profiler.measuring.grid import Grid, read_plan
from profiler.models import weights
from profiler.table import Deployment, LatencyTable

PARTS = ("times", "table", "predict", "capacity")
DATA = Path("../shared/data")
#: With --quick: sizes that are measured in seconds.
QUICK = {"padded": ((1, 2, 4, 8), (16, 32, 64, 128)), "packed": ((1, 4, 8), (16, 64, 256, 1024))}


def main(words: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="where the table is, or is written to")
    parser.add_argument("--parts", default=",".join(PARTS), help=f"default: {','.join(PARTS)}")
    parser.add_argument("--model", default="students-2x384", help="of the plan (default: students-2x384)")
    parser.add_argument("--students", type=whole_numbers, default=(1, 2, 3, 4, 6, 8), help="default: 1,2,3,4,6,8")
    parser.add_argument("--dtype", default="float32", choices=list(DTYPES), help="of the table (default: float32)")
    parser.add_argument("--sizes", type=whole_numbers, default=(1, 4, 8, 16, 32), help="texts, of times")
    parser.add_argument("--seconds", type=float, default=3.0, help="per line of times (default: 3)")
    parser.add_argument("--budget-s", type=float, default=900.0, help="for the table (default: 900)")
    parser.add_argument("--mixes", type=int, default=60, help="per source and level, of predict (default: 60)")
    parser.add_argument("--policies", default=";".join(capacities.POLICIES), metavar="A;B", help="of capacity")
    parser.add_argument("--slo-ms", type=float, default=124.5, help="of capacity (default: 124.5)")
    parser.add_argument("--seeds", type=int, default=3, help="of capacity (default: 3)")
    parser.add_argument("--jobs", type=int, default=1, help="of capacity (default: 1)")
    parser.add_argument("--accuracies", type=Path, default=Path("tests/data/tables/cpu-epyc-1thread"), metavar="TABLE")
    parser.add_argument("--data", type=Path, default=DATA, metavar="DIR", help=f"of texts (default: {DATA})")
    parser.add_argument("--tokenizer", type=Path, metavar="DIR", help="default: encoder_12x384 of the data")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--quick", action="store_true", help="few sizes, two students")
    given = parser.parse_args(words)
    if unknown := [part for part in given.parts.split(",") if part not in PARTS]:
        parser.error(f"unknown part {', '.join(unknown)}: use {', '.join(PARTS)}")
    torch.set_num_threads(1)
    given.tokenizer = given.tokenizer or given.data / "encoder_12x384"
    padded, packed = _plans(given)
    good = True
    for part in given.parts.split(","):
        print(f"\n== {part}", flush=True)
        good = {"times": _times, "table": _table, "predict": _predict, "capacity": _capacity}[part](
            given, padded, packed
        ) and good
    return int(not good)


def _plans(given: argparse.Namespace) -> tuple[Grid, Grid]:
    """The fine padded plan and the packed one."""
    if given.quick:
        given.students = given.students[:2]
        (batches, tokens), (few, totals) = QUICK["padded"], QUICK["packed"]
        return (Grid(given.model, given.students, batches, tokens),
                Grid(given.model, given.students, few, (), totals))  # fmt: skip
    both = [next(grid for grid in read_plan(name) if grid.model == given.model) for name in ("cpu", "cpu-packed")]
    return grids(*both, given.students)


def _times(given: argparse.Namespace, padded: Grid, packed: Grid) -> bool:
    dtypes = [name for name in DTYPES if _has(name)]
    for students in dict.fromkeys((given.students[0], given.students[-1])):
        own = weights.random(replace(padded.spec, students=students), given.seed)
        ways = Ways(own, padded.plan, packed.plan, dtypes)
        others = [name for name in ways.names if "packed" not in name]
        print(f"{given.model}/{students}: CPU ms per batch, then packed over each other way")
        print(f"{'':10}{'texts':>6}" + "".join(f"{name:>14}" for name in (*ways.names, *others)))
        for source in SOURCES:
            pool = texts(source, given.data, given.tokenizer, own.spec.vocab, packed.plan.max_tokens, 1024)
            rng = np.random.default_rng(given.seed)
            for size in [each for each in given.sizes if each <= packed.plan.max_batch]:
                batches = [[pool[row] for row in rng.integers(0, len(pool), size)] for _ in range(4)]
                took = side_by_side(ways.of(batches), given.seconds)
                ratios = [took["packed"] / took[name] for name in others]
                cells = [f"{1e3 * took[name]:14.2f}" for name in ways.names] + [f"{each:14.2f}" for each in ratios]
                print(f"{source:10}{size:6}" + "".join(cells), flush=True)
    return True


def _has(dtype: str) -> bool:
    try:
        return bool(number_format(dtype))
    except Unavailable as error:
        print(error)
        return False


def _table(given: argparse.Namespace, padded: Grid, packed: Grid) -> bool:
    given.out.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        table = measured(
            given.out / "table", padded, packed, given.accuracies, budget_s=given.budget_s, dtype=given.dtype,
            seed=given.seed, progress=progress_bar(stack),
        )  # fmt: skip
    print(f"{given.out / 'table'}: {len(table.records())} rows on {table.device}; noise: {table.meta['noise']}")
    return True


def _predict(given: argparse.Namespace, padded: Grid, packed: Grid) -> bool:
    table = LatencyTable.load(given.out / "table")
    known = Deployment.of(table, suffixed(given.model, "packed")).predictions
    own = weights.random(packed.spec, given.seed)
    executor = CpuExecutor(own, known.plan, packed.students, dtype=str(table.meta["dtype"]))
    executor.warm()
    rng, found = np.random.default_rng(given.seed + 1), {}
    for level in (known.levels[0], known.levels[-1]):
        for source in SOURCES:
            pool = texts(source, given.data, given.tokenizer, own.spec.vocab, known.plan.max_tokens, 1024, 1)
            found[f"{source}, {level.students} students"] = prediction.errors(
                executor, level, known, pool, given.mixes, rng
            )
    lines, good = prediction.judged(found)
    print("\n".join(lines))
    return good


def _capacity(given: argparse.Namespace, padded: Grid, packed: Grid) -> bool:
    found = capacities.capacities(
        given.out / "table", given.model, given.data, given.tokenizer, slo_ms=given.slo_ms,
        policies=given.policies.split(";"), seeds=given.seeds, jobs=given.jobs,
    )  # fmt: skip
    lines, good = capacities.printed(found)
    print("\n".join(lines))
    return good


if __name__ == "__main__":
    sys.exit(main())
