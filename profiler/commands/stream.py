"""python -m profiler stream: which recorded text each request meets, even or drifting."""

from __future__ import annotations

import argparse
from pathlib import Path

from profiler.answers.streams import PERIOD, STREAMS


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("answers", type=Path, nargs="+", metavar="FILE", help="recorded answers; several are tasks")
    parser.add_argument("--axis", choices=["layers", "students"], default="layers", help="of them (default: layers)")
    parser.add_argument("--kind", required=True, metavar="NAME", help=", ".join(STREAMS))
    parser.add_argument("--requests", type=int, required=True, metavar="N", help="how many requests the trace has")
    parser.add_argument(
        "--period", type=int, default=PERIOD, metavar="N", help=f"requests between changes (default: {PERIOD})"
    )
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="of all random numbers (default: 0)")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder for items.csv and answers")


def main(arguments: argparse.Namespace) -> int:
    """Write items.csv, a row for each request, and answers.parquet, which its items are rows of."""
    from profiler.answers.recorded import Answers
    from profiler.answers.streams import stream
    from profiler.answers.together import concatenated
    from profiler.table.writing import as_csv
    from traces.shared.atomic import make_folder, write_text

    items = concatenated([Answers.read(path, arguments.axis) for path in arguments.answers])
    rows = stream(items, arguments.kind, arguments.requests, period=arguments.period, seed=arguments.seed)
    make_folder(arguments.out)
    items.write(arguments.out / "answers.parquet")
    columns = zip(rows.tolist(), items.tokens[rows].tolist(), strict=True)
    write_text(arguments.out / "items.csv", as_csv([{"item": item, "tokens": tokens} for item, tokens in columns]))
    halves = ", artificial: the easier half of the texts against the harder" if arguments.kind == "hardness" else ""
    print(f"{arguments.out}: {len(rows):,} requests of {len(items.served):,} texts ({arguments.kind}{halves})")
    print(
        f"give them times: python -m traces convert {arguments.out / 'items.csv'} --columns item=item,tokens=tokens "
        f"--arrivals poisson:rate=100,duration={len(rows) / 100:g} -o trace.parquet"
    )
    return 0
