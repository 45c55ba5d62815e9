"""python -m profiler firstrun: the first run on a GPU in two short commands, and what to make of what comes back."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("command", choices=("A", "B", "report"), help="A: checks; B: tables; report: of an archive")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder to work in")
    parser.add_argument("--archive", type=Path, required=True, metavar="FILE", help="A, B: to write; report: to read")
    parser.add_argument("--resume", type=Path, metavar="FILE", help="an earlier archive to go on from")
    parser.add_argument("--device", choices=["cuda", "cpu"], default="cuda", help="cpu: the dry run (default: cuda)")
    parser.add_argument("--limit-s", type=float, metavar="S", help="seconds in all (default: 170 for A, 500 for B)")
    parser.add_argument("--commit", metavar="HASH", help="of this source, on a machine without its repository")
    parser.add_argument("--rank", type=int, default=1, metavar="N", help="of the table that report writes (default: 1)")


def main(arguments: argparse.Namespace) -> int:
    """Run A or B, or report; 0 with all done, 1 with something missing, 130 interrupted."""
    if arguments.command == "report":
        return _report(arguments.archive, arguments.out, arguments.rank)
    from profiler.campaign.firstrun import LIMITS_S, run, steps, unpack

    limit_s = arguments.limit_s or LIMITS_S[arguments.command]
    if not 60 <= limit_s <= 86_400:
        raise ValueError(f"--limit-s is {limit_s:g}: a run needs at least 60 seconds, and a day at most")
    out, archive = arguments.out.resolve(), arguments.archive.resolve()
    if archive.is_relative_to(out):
        raise ValueError(f"{archive} lies in {out}, which it holds: name another --archive")
    if arguments.resume is not None:
        unpack(arguments.resume, out)
    own = steps(arguments.command, out, limit_s, on_gpu=arguments.device == "cuda", commit=arguments.commit)
    return 0 if run(out, archive, own, limit_s, said=_say) else 1


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _report(archive: Path, out: Path, rank: int) -> int:
    from profiler.campaign.firstrun import CAMPAIGN, unpack
    from profiler.campaign.page import left, page, ship
    from profiler.campaign.plan import PLANS
    from profiler.campaign.report import FILE, conclude, load_state, report_lines
    from profiler.modelled import illustrative
    from traces.shared.atomic import write_text
    from traces.shared.documents import json_text

    unpack(archive, out)
    campaign = out / CAMPAIGN
    state = load_state(campaign)
    conclude(campaign, state)
    write_text(campaign / FILE, json_text(state, indent=1) + "\n")
    plan = PLANS[state["settings"]["plan"]]()
    accuracy = illustrative.accuracy_rows(grid for grids in plan.tables.values() for grid in grids)
    table = ship(campaign, out, rank, accuracy, {illustrative.TASK: illustrative.NOTE})
    write_text(out / "page.md", page(state, plan, table))
    print("\n".join(report_lines(state)))
    rest = list(left(state, plan))
    print("\n".join(["", f"page: {out / 'page.md'}", f"table: {out / table.name if table else 'none'}"]))
    if rest:
        print("\n".join(["left to measure:", *(f"  {each}" for each in rest)]))
        print(f"go on: python -m profiler firstrun B --resume {archive} --out DIR --archive FILE")
    return 1 if rest else 0
