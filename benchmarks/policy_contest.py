"""Whether any online policy is worth more than adaptive, on every kind of traffic, at every load and target.

    OPENBLAS_NUM_THREADS=1 python benchmarks/policy_contest.py [--quick] [--tables synthetic,h200-modelled]
        [--traces poisson,mmpp] [--loads 0.3,0.9] [--slos 2,5,20] [--policies "smdp;nexus"] [--requests 3000]
        [--seed 4000] [--screening 3] [--replications 12] [--store runs/contest] [--csv contest.csv] [--ceiling]

All policies meet the same arrivals and lengths. Who turns requests away is compared with adaptive(drop='hopeless'), who
serves everybody with adaptive. SLOs are multiples of the batch-1 time of the highest level at the median length. An
hour or a day of real-looking traffic is thinned to --requests and compressed to the load, so that its whole shape,
bursts and all, is met at the pace of batches. `synthetic` serves one length (128 tokens), the other tables the built-in
mix.

Two rounds: in the first, --screening seeds rule out who is clearly not more than --margin ahead; in the second the
others meet adaptive again on --replications new seeds, and only these count. A policy beats adaptive in a cell where
the interval of its lead, which holds for all policies of the cell's second round together with 95 %, lies above
--margin. --seed is the first of all; adaptive's parameters were chosen on seeds below 1000 and on 2000 to 2003, and a
flaw of it was found on 1003 to 1010. With --store what was run is kept, by its content and the code's, and an
interrupted contest goes on where it was.
"""

from __future__ import annotations

import argparse
import csv
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from time import process_time
from typing import NamedTuple

import numpy as np
from contest_runs import COMPRESSED, PROCESSES, Cell, Runs

from analysis.comparisons.statistics import mean_intervals
from policies import POLICIES
from traces.shared.atomic import replacing

#: Everybody is served. SLO in a spec stands for the run's; what follows a load over seconds gets a chance that way.
SERVING = (
    "none;greedy;timeout;timeout(timeout_s=0.25SLO);triton;aimd;fixed(students=1);lazybatching;lengths;slackfit;"
    "slackfit(choice='batch');slackfit(choice='accuracy');smdp;mpc;switching;"
    "switching(window_s=1SLO, period_s=0.25SLO);cocktail;cocktail(interval_s=0.5SLO)"
)
#: Some are turned away.
DROPPING = (
    "nexus;nexus(lazy=True);clockwork;symphony;shepherd;clipper;bentoml;slackfit(drop=True);"
    "slackfit(choice='batch', drop=True);slackfit(choice='accuracy', drop=True);accscale;accscale(period_s=2.5SLO);"
    "predicted(smdp);admission(mpc);admission(switching(window_s=1SLO, period_s=0.25SLO));"
    "codel(slackfit(choice='batch', drop=True));tokenbucket(slackfit(choice='batch', drop=True));"
    "buckets(slackfit(drop=True));predicted(adaptive);admission(adaptive)"
)
#: Policies that one GPU, one class and one target make equal to what they wrap or to greedy; one that stops students by
#: recorded answers, of which these tables have none; and the one that knows the future.
LEFT_OUT = {"router", "autoscale", "hpa", "tail", "strict", "weighted", "edf", "margin", "optimum"}
QUICK = (
    "greedy;fixed(students=1);slackfit;smdp;mpc;switching;nexus;symphony;slackfit(drop=True);shepherd;"
    "predicted(smdp);admission(mpc)"
)
LOADS, SLOS = (0.3, 0.6, 0.9, 1.2, 1.5), (2.0, 5.0, 10.0, 20.0)


class Lead(NamedTuple):
    """How a policy stands to adaptive in a cell: its lead, low, mean and high, and what both are worth."""

    policy: str
    against: str
    low: float
    lead: float
    high: float
    value: float
    adaptive: float


def leads(
    runs: Runs, cell: Cell, policies: Sequence[str], seeds: Sequence[int], adaptives: tuple[str, str]
) -> list[Lead]:
    """How the policies stand on these seeds, the best first; all intervals hold together.

    adaptives: which those are compared with who serve everybody, and those who do not.
    """
    values = runs.values(cell, [*adaptives, *policies], seeds)
    rivals = [name for name in policies if name in values]
    if not rivals:
        return []
    against = [adaptives[name in DROPPING.split(";")] for name in rivals]
    differences = np.stack([values[one] - values[other] for one, other in zip(rivals, against, strict=True)], 1)
    intervals = mean_intervals(differences, family=True).itertuples(index=False)
    found = [
        Lead(one, other, *interval, float(values[one].mean()), float(values[other].mean()))
        for one, other, interval in zip(rivals, against, intervals, strict=True)
    ]
    return sorted(found, key=lambda each: -each.lead)


def cells(arguments: argparse.Namespace) -> Iterator[Cell]:
    for table in arguments.tables:
        for trace in arguments.traces.split(","):
            for offered in arguments.loads:
                for slo in arguments.slos:
                    yield Cell(table, trace, offered, slo)


def numbers(text: str) -> list[float]:
    return [float(each) for each in text.split(",")]


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="fewer cells, policies and requests: some 2 minutes")
    parser.add_argument("--tables", type=lambda text: text.split(","), default=["synthetic"])
    parser.add_argument("--traces", default=",".join([*PROCESSES, *COMPRESSED]))
    parser.add_argument("--loads", type=numbers, default=None)
    parser.add_argument("--slos", type=numbers, default=None)
    parser.add_argument("--policies", default=None, metavar="A;B")
    parser.add_argument("--requests", type=int, default=None, help="per run (default: 3000; quick: 1500)")
    parser.add_argument("--seed", type=int, default=4000, help="the first of all (default: 4000)")
    parser.add_argument("--screening", type=int, default=3, help="seeds of the first round (default: 3)")
    parser.add_argument("--replications", type=int, default=12, help="seeds of the second round (default: 12)")
    parser.add_argument("--margin", type=float, default=0.005)
    parser.add_argument("--adaptive", default="adaptive", help="a spec without drop, such as adaptive(window=4)")
    parser.add_argument("--store", type=Path, default=None, help="a folder that keeps what was run")
    parser.add_argument("--csv", type=Path, default=None, help="the leads of the second round, a row each")
    parser.add_argument("--ceiling", action="store_true", help="also the exact optimum or the bound; takes long")
    arguments = parser.parse_args()
    quick = arguments.quick
    arguments.loads = arguments.loads or ([0.6, 1.2] if quick else LOADS)
    arguments.slos = arguments.slos or ([2.0, 20.0] if quick else SLOS)
    arguments.policies = (arguments.policies or (QUICK if quick else f"{SERVING};{DROPPING}")).split(";")
    arguments.requests = arguments.requests or (1500 if quick else 3000)
    return arguments


def main() -> None:
    arguments = parsed()
    started, margin = process_time(), arguments.margin
    runs, spec = Runs(arguments.tables, arguments.requests, arguments.store), arguments.adaptive
    adaptives = spec, f"{spec[:-1]}, drop='hopeless')" if spec.endswith(")") else f"{spec}(drop='hopeless')"
    first, second = arguments.seed, arguments.seed + arguments.screening
    screening, seeds = range(first, second), range(second, second + arguments.replications)
    missing = set(POLICIES) - LEFT_OUT - set(re.findall(r"[a-z]+", f"{SERVING};{DROPPING}"))
    print(f"# not in the contest: {', '.join(sorted(LEFT_OUT | missing))}")
    print(f"{'table':18}{'trace':24}{'load':>5}{'SLO':>5}{'adaptive':>9}{'ceiling':>9}  the best rival, its lead")
    rows: list[tuple[Cell, Lead]] = []
    for cell in cells(arguments):
        screened = leads(runs, cell, arguments.policies, screening, adaptives)
        near = [each.policy for each in screened if each.high > margin]
        confirmed = leads(runs, cell, near, seeds, adaptives)
        rows += [(cell, each) for each in confirmed]
        top = f"{runs.ceiling(cell, seeds):9.4f}" if arguments.ceiling else f"{'-':>9}"
        best = (confirmed or screened)[0]
        lost = any(each.low > margin for each in confirmed)
        verdict = "BEATEN" if lost else "open" if any(each.high > margin for each in confirmed) else ""
        print(
            f"{cell.table:18}{cell.trace:24}{cell.load:5g}{cell.slo:5g}{best.adaptive:9.4f}{top}  {best.policy} "
            f"{points(best)}{'' if confirmed else ' when screened'} {verdict}",
            flush=True,
        )
    runs.join()
    report(rows, arguments)
    print(f"# {process_time() - started:.0f} CPU s")


def report(rows: Sequence[tuple[Cell, Lead]], arguments: argparse.Namespace) -> None:
    """What all cells say together, and the file of leads."""
    count, margin = sum(1 for _ in cells(arguments)), arguments.margin
    lost = [(cell, each) for cell, each in rows if each.low > margin]
    unclear = {cell for cell, each in rows if each.high > margin} - {cell for cell, _ in lost}
    print(
        f"{count} cells, {len(arguments.policies)} policies, {arguments.replications} replications of "
        f"{arguments.requests} requests from seed {arguments.seed + arguments.screening} on; beaten by more than "
        f"{100 * margin:g} points in {len({cell for cell, _ in lost})} cells, unclear in {len(unclear)}"
    )
    for cell, each in lost:
        print(f"  {cell.table} {cell.trace} load {cell.load:g} SLO {cell.slo:g}: {each.policy} {points(each)}")
    if arguments.csv:
        with replacing(arguments.csv) as part, open(part, "w", newline="") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow([*Cell._fields, *Lead._fields])
            writer.writerows([*cell, *each[:2], *(f"{value:.5f}" for value in each[2:])] for cell, each in rows)


def points(lead: Lead) -> str:
    return f"{100 * lead.lead:+.2f} ({100 * lead.low:+.2f} to {100 * lead.high:+.2f})"


if __name__ == "__main__":
    main()
