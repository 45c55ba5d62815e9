"""python -m analysis compare: policies on the same arrivals, with intervals, and how near each is to the optimum."""

from __future__ import annotations

import argparse
import sys
from math import isfinite, isnan
from pathlib import Path
from typing import TYPE_CHECKING

from analysis.words import accuracies
from traces.shared.text import aligned, count, milliseconds, number, percent

if TYPE_CHECKING:
    from pandas import Series

    from analysis.comparisons.comparison import Comparison

EXAMPLE = """examples:
  python -m analysis compare --policies "greedy;timeout;adaptive;nexus" --trace poisson:duration=5 --load 0.9
  python -m analysis compare --policies all --table synthetic --lengths constant:tokens=64 --trace mmpp:duration=3
"""
_MEANING = {
    "exact": "the exact optimum of one who knows the future",
    "bound": "a bound, which no policy exceeds, and which perhaps none can reach",
    "exact or bound": "the exact optimum, or a bound for replications of many requests",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    from analysis.comparisons.comparison import SETTINGS
    from analysis.comparisons.optimum import EXACT_REQUESTS
    from simulator.arguments import settings_flags

    parser.formatter_class, parser.epilog = argparse.RawDescriptionHelpFormatter, EXAMPLE
    parser.add_argument(
        "--policies", default="slackfit;nexus;adaptive", metavar="SPECS",
        help='specs with semicolons between them, or all (default: "slackfit;nexus;adaptive")',
    )  # fmt: skip
    parser.add_argument(
        "--reference",
        metavar="SPEC",
        help="whose difference is shown (default: adaptive with all, else the first); "
        "none: the default, without the standing rivals (teacher, single model, students, mixes of them)",
    )
    parser.add_argument(
        "--replications", type=int, default=10, metavar="N",
        help="seeds from --seed on, or windows of a recorded file (default: 10)",
    )  # fmt: skip
    parser.add_argument(
        "--exact-requests", type=int, default=EXACT_REQUESTS, metavar="N",
        help=f"replications of more requests get a bound, not the exact optimum (default: {EXACT_REQUESTS})",
    )  # fmt: skip
    parser.add_argument(
        "--warm-up", action="store_true", help="leave out the warm-up of steady traffic, by MSER-5 on latencies"
    )
    parser.add_argument("--jobs", type=int, default=1, metavar="N", help="worker processes (default: 1)")
    parser.add_argument("--csv", action="store_true", help="print the rows as CSV, and nothing else")
    parser.add_argument("--out", type=Path, metavar="FILE", help="write the rows to a .csv or .parquet file, too")
    settings_flags(parser.add_argument_group("what is served, as in python -m simulator"), *SETTINGS)


def main(options: argparse.Namespace) -> int:
    """Run the comparison and print one line per policy, the best first."""
    from analysis.comparisons.comparison import SETTINGS, compare
    from analysis.outputs import file_for
    from analysis.progress import progress
    from analysis.sweeps.frames import write

    file_for(options.out, (".csv", ".parquet"))
    named = ("replications", "exact_requests", "warm_up", "jobs", *SETTINGS)
    alone = options.reference == "none"
    with progress("replications") as told:
        compared = compare(
            options.policies,
            reference=None if alone else options.reference,
            rivals=not (alone or options.csv),
            on_progress=told,
            **{name: getattr(options, name) for name in named},
        )
    if options.out is not None:
        write(compared.standings, options.out)
    if options.csv:
        print(compared.standings.to_csv(index=False), end="")
        return 0
    print(text(compared))
    if options.out is not None:
        print(f"\nwritten to {options.out}", file=sys.stderr)
    return 0


def text(compared: Comparison) -> str:
    """The account of a comparison: what was served, a line per policy, what was refused.

    The column "99 %?" says whether 99 % of all requests are on time, at 99 % confidence; "regret" is how many points a
    policy stays below the ceiling, "from" how many it is above the reference. Replications that are all equal have no
    interval: they say nothing of rarer ones.
    """
    from profiler.table import left_out_notes

    its = compared.settings
    top = compared.ceiling
    rate = "" if its.rate is None else f" at {its.rate:,.6g}/s"
    lines = [
        f"trace   {its.trace}{rate}, lengths {its.lengths or 'its own, else short texts'}",
        f"table   {its.table}: {its.model}, {count(its.gpus, 'device')}, target {its.slo_ms:.4g} ms",
        *(f"        {note}" for note in left_out_notes(compared.left_out)),
        *accuracies([its.task], "        accuracies: {}"),
        f"runs    {compared.replicated}",
        *([] if top is None else [f"ceiling {top.accuracy_weighted_goodput:.2%} weighted: {_MEANING[top.kind]}"]),
        "",
    ]
    kind = top.kind if top else "ceiling"
    rows = [_line(row, compared.reference, kind) for _, row in compared.standings.iterrows()]
    if compared.standings["agreement"].isna().all():
        rows = [{name: text for name, text in row.items() if name != "agreement"} for row in rows]
    lines += aligned([list(rows[0]), *(list(row.values()) for row in rows)]).splitlines()
    if compared.right:
        lines += ["", *_rivals(compared), compared.right]
    if compared.refused:
        lines += ["", "not run here:", *(f"  {policy}: {said}" for policy, said in compared.refused.items())]
    return "\n".join(line.rstrip() for line in lines)


def _line(row: Series, reference: str, ceiling: str) -> dict[str, str]:
    own = row.policy == reference
    return {
        "policy": row.policy,
        "on time": percent(row.attainment),
        "99 %?": row.verdict,
        "accuracy": percent(row.accuracy),
        "agreement": percent(row.agreement),
        "weighted": percent(row.accuracy_weighted_goodput),
        "95 %": _ends(row, "accuracy_weighted_goodput", ".2f"),
        "p99 ms": milliseconds(row.p99_s),
        f"of {ceiling}": percent(row.reached),
        "regret": "-" if isnan(row.regret) else f"{100 * row.regret:.2f}",
        f"from {reference}": "-" if own else f"{100 * row.difference:+.2f}",
        "95 %, together": "-" if own else _ends(row, "difference", "+.2f"),
    }


def _rivals(compared: Comparison) -> list[str]:
    """The standing rivals, a line each, and an empty one."""
    if compared.rivals.empty:
        return []
    head = ["rival", "on time", "accuracy", "weighted", "p99 ms", "GPU s"]
    rows = [
        [
            row.policy,
            *map(percent, (row.attainment, row.accuracy, row.accuracy_weighted_goodput)),
            milliseconds(row.p99_s),
            number(row.busy_s),
        ]
        for row in compared.rivals.itertuples()
    ]
    lines = aligned([head, *rows]).splitlines()
    return [*(f"{line}  {what}" for line, what in zip(lines, ["serves", *compared.rivals["serves"]], strict=True)), ""]


def _ends(row: Series, name: str, form: str) -> str:
    low, high = 100 * row[f"{name}_low"], 100 * row[f"{name}_high"]
    if not isfinite(high):
        return "unknown"
    return "all equal" if low == high else f"{low:{form}} to {high:{form}}"
