"""Whether any online policy is worth more than adaptive, on every kind of traffic, at every load and target.

    python benchmarks/policy_contest.py [--quick] [--tables synthetic,h200-modelled] [--traces poisson,mmpp]
        [--loads 0.3,0.9] [--slos 2,5,20] [--policies "smdp;nexus"] [--requests 4000] [--replications 5] [--ceiling]

All policies meet the same arrivals and lengths. Who turns requests away is compared with adaptive(drop='hopeless'), who
serves everybody with adaptive. SLOs are multiples of the batch-1 time of the highest level at the median length. An
hour or a day of real-looking traffic is thinned to --requests and compressed to the load, so that its whole shape,
bursts and all, is met at the pace of batches. `synthetic` serves one length (128 tokens), the other tables the built-in
mix. A policy beats adaptive in a cell where the interval of its lead, which holds for all policies of the cell together
with 95 %, lies above --margin.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from time import process_time
from typing import NamedTuple

import numpy as np

from analysis.optimum import ceiling
from analysis.statistics import mean_intervals
from profiler.table import LatencyTable
from simulator import simulate
from simulator.defaults import default_slo_s, saturation
from simulator.error import PolicyError
from simulator.view import Predictions
from traces import Trace, load
from traces.lengths import SHORT_TEXT

#: Everybody is served.
SERVING = (
    "greedy;timeout;triton;aimd;fixed(students=1);slackfit;slackfit(choice='batch');slackfit(choice='accuracy');"
    "smdp;mpc;switching;cocktail;lengths"
)
#: Some are turned away.
DROPPING = (
    "nexus;clockwork;symphony;slackfit(drop=True);slackfit(choice='batch', drop=True);clipper;bentoml;accscale;"
    "shepherd;admission(smdp);admission(mpc);admission(switching);predicted(smdp);predicted(mpc);codel(smdp)"
)
QUICK = (
    "greedy;fixed(students=1);slackfit;smdp;mpc;switching;nexus;symphony;slackfit(drop=True);shepherd;"
    "admission(smdp);admission(mpc)"
)
#: Traffic by name: a spec with its own clock, in full batches of the highest level, or the seconds of one that is
#: compressed from hours.
PROCESSES = {
    "poisson": "poisson:",
    "mmpp": "mmpp:levels=1/5,stays={long:.6g}/{short:.6g},",
    "diurnal": "diurnal:period={period:.6g},",
}
COMPRESSED = {"azure-conversation-like": 3500.0, "azure-code-like": 3500.0, "twitter-like": 86400.0}
LOADS, SLOS = (0.3, 0.6, 0.9, 1.2, 1.5), (2.0, 5.0, 10.0, 20.0)


class Setting(NamedTuple):
    """A table with what is served on it. tokens: the one length, None for the built-in mix."""

    table: LatencyTable
    predictions: Predictions
    tokens: int | None

    @classmethod
    def load(cls, name: str) -> Setting:
        table = LatencyTable.load(name)
        model = table.default_model()
        plan = table.plan(model)
        return cls(
            table,
            Predictions(table, table.levels(model, table.default_task()), plan),
            plan.max_tokens if name == "synthetic" else None,
        )

    def traffic(self, name: str, offered: float, requests: int, seed: int) -> Trace:
        """About so many requests of this kind at this load."""
        rng = np.random.default_rng(seed)
        tokens = np.full(4096, self.tokens) if self.tokens else SHORT_TEXT(rng, np.linspace(0, 1, 4096))
        tokens = np.minimum(tokens, self.predictions.plan.max_tokens).astype(np.int32)
        full = saturation(self.predictions, self.predictions.plan.buckets(tokens))
        rate = offered * full
        if name in COMPRESSED:
            seconds = COMPRESSED[name]
            arrival_s = load(name, rate=requests / seconds, duration=seconds, seed=seed).arrival_s
            arrival_s = arrival_s * (requests / rate / seconds)
        else:
            batch_s, seconds = self.predictions.plan.max_batch / full, requests / rate
            spec = PROCESSES[name].format(long=60 * batch_s, short=20 * batch_s, period=seconds / 2)
            arrival_s = load(f"{spec}rate={rate:.6g},duration={seconds:.6g}", seed=seed).arrival_s
        return Trace(arrival_s, tokens[np.arange(len(arrival_s)) % len(tokens)], source=name)


class Result(NamedTuple):
    """One policy in one cell: its lead over adaptive, low, mean and high; and its own accuracy-weighted goodput."""

    policy: str
    low: float
    lead: float
    high: float
    value: float


def contest(
    setting: Setting, traces: list[Trace], slo_s: float, policies: list[str], adaptives: tuple[str, str]
) -> tuple[dict[str, float], list[Result]]:
    """The means of both adaptives, and how the others stand to theirs. One policy that does not run is left out."""
    values: dict[str, np.ndarray[tuple[int], np.dtype[np.float64]]] = {}
    for policy in dict.fromkeys([*adaptives, *policies]):
        try:
            reports = [simulate(trace, policy, setting.table, slo_s=slo_s) for trace in traces]
        except (ValueError, PolicyError) as error:
            print(f"# {policy} does not run: {error}", file=sys.stderr)
            continue
        values[policy] = np.array([report.summary["accuracy_weighted_goodput"] for report in reports])
    dropping = {name for name in policies if name in DROPPING.split(";")}
    rivals = [name for name in values if name not in adaptives]
    leads = np.stack([values[name] - values[adaptives[name in dropping]] for name in rivals], 1)
    intervals = mean_intervals(leads, family=True)
    results = [
        Result(name, interval.low, interval.mean, interval.high, float(values[name].mean()))
        for name, interval in zip(rivals, intervals, strict=True)
    ]
    return {name: float(values[name].mean()) for name in adaptives}, results


def cells(arguments: argparse.Namespace) -> Iterator[tuple[str, str, float, float]]:
    for table in arguments.tables.split(","):
        for trace in arguments.traces.split(","):
            for offered in arguments.loads:
                for slo in arguments.slos:
                    yield table, trace, offered, slo


def numbers(text: str) -> list[float]:
    return [float(each) for each in text.split(",")]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="fewer cells, policies and requests: under 3 minutes")
    parser.add_argument("--tables", default="synthetic")
    parser.add_argument("--traces", default=",".join([*PROCESSES, *COMPRESSED]))
    parser.add_argument("--loads", type=numbers, default=None)
    parser.add_argument("--slos", type=numbers, default=None)
    parser.add_argument("--policies", default=None, metavar="A;B")
    parser.add_argument("--requests", type=int, default=None, help="per run (default: 4000; quick: 1500)")
    parser.add_argument("--replications", type=int, default=None, help="default: 5; quick: 3")
    parser.add_argument("--margin", type=float, default=0.005)
    parser.add_argument("--adaptive", default="adaptive", help="a spec without drop, such as adaptive(reluctance=0)")
    parser.add_argument("--ceiling", action="store_true", help="also the exact optimum or the bound; takes long")
    arguments = parser.parse_args()
    quick = arguments.quick
    arguments.loads = arguments.loads or ([0.6, 1.2] if quick else LOADS)
    arguments.slos = arguments.slos or ([2.0, 20.0] if quick else SLOS)
    policies = (arguments.policies or (QUICK if quick else f"{SERVING};{DROPPING}")).split(";")
    requests = arguments.requests or (1500 if quick else 4000)
    replications = arguments.replications or (3 if quick else 5)
    spec = arguments.adaptive
    dropping = f"{spec[:-1]}, drop='hopeless')" if spec.endswith(")") else f"{spec}(drop='hopeless')"
    settings = {name: Setting.load(name) for name in arguments.tables.split(",")}
    started, beaten, count = process_time(), [], 0
    heading = f"{'table':18}{'trace':24}{'load':>5}{'SLO':>5}{'none':>8}{'drop':>8}{'ceiling':>8}"
    print(f"{heading}  best rival, its lead and interval")
    for table, trace, offered, slo in cells(arguments):
        setting = settings[table]
        traces = [setting.traffic(trace, offered, requests, seed) for seed in range(replications)]
        slo_s = slo / 5 * default_slo_s(setting.predictions, traces[0].tokens)
        own, results = contest(setting, traces, slo_s, policies, (spec, dropping))
        best = max(results, key=lambda each: each.lead)
        top = "-"
        if arguments.ceiling:
            tops = [ceiling(each, setting.predictions, slo_s=slo_s) for each in traces]
            top = f"{np.mean([each.accuracy_weighted_goodput for each in tops]):.4f}"
        print(
            f"{table:18}{trace:24}{offered:5g}{slo:5g}{own[spec]:8.4f}{own[dropping]:8.4f}{top:>8}  {best.policy} "
            f"{100 * best.lead:+.2f} ({100 * best.low:+.2f} to {100 * best.high:+.2f})",
            flush=True,
        )
        count += 1
        beaten += [(table, trace, offered, slo, each) for each in results if each.low > arguments.margin]
    print(
        f"{count} cells, {len(policies)} policies, {replications} replications of {requests} requests, "
        f"{process_time() - started:.0f} CPU s"
    )
    print(f"beaten by more than {100 * arguments.margin:g} points: {len(beaten) or 'nowhere'}")
    for table, trace, offered, slo, each in beaten:
        print(
            f"  {table} {trace} load {offered:g} SLO {slo:g}: {each.policy} leads by {100 * each.lead:.2f} "
            f"({100 * each.low:.2f} to {100 * each.high:.2f}) points, at {each.value:.4f}"
        )


if __name__ == "__main__":
    main()
