"""python -m analysis compare: policies on the same arrivals, with intervals, and how near each is to the optimum."""

from __future__ import annotations

import argparse
from math import isfinite, isnan
from typing import TYPE_CHECKING

from analysis.commands.flags import add_delivery, add_several, deliver, refuse_delivery
from analysis.sweeps.grid import seeds_of
from analysis.words import accuracies
from traces.shared.flags import Several
from traces.shared.text import aligned, count, milliseconds, number, percent

if TYPE_CHECKING:
    from pandas import Series

    from analysis.comparisons.comparison import Comparison

EXAMPLE = """examples:
  python -m analysis compare --policy "greedy;timeout;adaptive;nexus" --trace poisson:duration=5 --load 0.9
  python -m analysis compare --policy all --table synthetic --lengths constant:tokens=64 --trace mmpp:duration=3
"""
POLICIES = "slackfit;nexus;adaptive"
_SEVERAL = ("trace", "rate", "load")
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
    add_several(parser, "policy", "policies", f'specs, or all (default: "{POLICIES}")')
    parser.add_argument(
        "--reference",
        metavar="SPEC",
        help="whose difference is shown (default: adaptive with all, else the first); "
        "none: the default, without the standing rivals (teacher, single model, students, mixes of them)",
    )
    parser.add_argument(
        "--seeds", "--replications", default="10", metavar="SEEDS",
        help="seeds that follow each other, as 0-9, or how many from --seed on; of a recorded file, how many windows "
        "(default: 10)",
    )  # fmt: skip
    parser.add_argument(
        "--exact-requests", type=int, default=EXACT_REQUESTS, metavar="N",
        help=f"replications of more requests get a bound, not the exact optimum (default: {EXACT_REQUESTS})",
    )  # fmt: skip
    parser.add_argument(
        "--warm-up", action="store_true", help="leave out the warm-up of steady traffic, by MSER-5 on latencies"
    )
    parser.add_argument("--jobs", type=int, default=1, metavar="N", help="worker processes (default: 1)")
    add_delivery(parser)
    several = parser.add_argument_group("traffic, one comparison for each")
    add_several(several, "trace", "trace", "as in python -m simulator", metavar="FILE|SPEC|NAME")
    for name, words in (("rate", "mean requests per second"), ("load", "of what all GPUs serve at full accuracy")):
        several.add_argument(f"--{name}", action=Several, const=",", metavar="VALUES", help=f"{words}: 0.5,0.9")
    rest = [each for each in SETTINGS if each not in _SEVERAL]
    settings_flags(parser.add_argument_group("what is served, as in python -m simulator"), *rest)


def main(options: argparse.Namespace) -> int:
    """Run the comparison and print one line per policy, the best first."""
    from analysis.comparisons.comparison import SETTINGS
    from analysis.comparisons.several import compare_each, together
    from analysis.progress import progress

    refuse_delivery(options)
    named = ("exact_requests", "warm_up", "jobs", *SETTINGS)
    alone = options.reference == "none"
    with progress("replications") as told:
        found = compare_each(
            options.policies or POLICIES,
            reference=None if alone else options.reference,
            rivals=not (alone or options.csv or options.json),
            on_progress=told,
            **{name: getattr(options, name) for name in named} | _seeds(options),
        )
    deliver(together(found), lambda: "\n\n".join(text(each.comparison) for each in found), options)
    return 0


def _seeds(options: argparse.Namespace) -> dict[str, int]:
    """The first seed and how many follow. Raises ValueError for seeds that do not follow each other."""
    found = seeds_of(options.seeds)
    if options.seeds.strip().isdecimal():
        return {"seed": options.seed, "replications": len(found)}
    if found != list(range(found[0], found[0] + len(found))):
        raise ValueError(f"--seeds {options.seeds}: those of a comparison follow each other, as 0-9")
    if options.seed:
        raise ValueError("--seed and --seeds both say which seeds: give one of them")
    return {"seed": found[0], "replications": len(found)}


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
