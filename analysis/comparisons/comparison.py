"""Policies against each other on the same arrivals, and against what no policy can exceed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from html import escape
from typing import Any, NamedTuple, cast

import numpy as np
from pandas import DataFrame

from analysis.comparisons import steady
from analysis.comparisons.optimum import EXACT_REQUESTS, Ceiling
from analysis.comparisons.replications import Replication, inputs, named, recorded, replicate, resolved
from analysis.comparisons.rivalry import rivals as standing
from analysis.comparisons.rivalry import summed
from analysis.comparisons.statistics import mean_intervals, verdict
from analysis.sweeps.backends import Pool
from analysis.sweeps.frames import each_of, frame
from analysis.sweeps.grid import target_ms
from policies import POLICIES, make
from policies.registry import needs
from simulator.settings import KINDS, WITHIN, Prepared, Settings, refuse_beyond
from traces.shared.html import Bar, bars, table
from traces.shared.text import milliseconds, percent

#: Replications that are more than anybody means.
MOST_REPLICATIONS = 100_000
#: What a policy may need and still not exceed the ceiling: batches of some layers and more GPUs could.
UNDER_THE_CEILING = frozenset({"future", "preempt"})


class Comparison(NamedTuple):
    """Policies, the best first; those that do not run in this setting, with the reason; and what all have in common.

    standings: a row per policy, means over replications, times in seconds, NaN where no request was served. agreement:
    the share of answers that are the whole model's, where some leave at ramps.
    accuracy_weighted_goodput (the attainment where the table has no accuracies) and difference (of that to the
    reference's, paired by replication) have their intervals of 95 % (or as asked for) in _low and _high; those of the
    differences hold together. Both ends are equal where all replications are, which then is no interval, infinite for
    one replication, and NaN where windows of a recorded file lack a backlog (`CARRIED`). reached: the share of the
    ceiling, regret: by how much it is missed; NaN where that does not bound this policy. verdict: whether 99 % of all
    requests are on time, at 99 % confidence (`analysis.comparisons.statistics.verdict`). The settings are at the end.

    per_seed: the accuracy-weighted goodput of each replication in their order, semicolons between them.

    settings: resolved. left_out: levels that others dominate. replicated: what the replications are. ceiling: the mean,
    of kind "exact", "bound" or, where some replications have the one and some the other, "exact or bound"; None for
    drawn service times. values: the accuracy-weighted goodput by replication (row) and policy (column).
    """

    standings: DataFrame
    refused: dict[str, str]
    reference: str
    settings: Settings
    replicated: str
    ceiling: Ceiling | None
    left_out: tuple[str, ...]
    values: DataFrame
    rivals: DataFrame
    right: str

    def _repr_html_(self) -> str:
        """What a notebook shows: a row per policy, and bars of their accuracy-weighted goodput with its intervals."""
        its, rows, drawn = self.settings, [], []
        for row in self.standings.itertuples():
            mean, low, high = (getattr(row, f"accuracy_weighted_goodput{end}") for end in ENDS)
            interval = f"{100 * low:.2f} to {100 * high:.2f}" if np.isfinite([low, high]).all() else "-"
            rows.append([row.policy, percent(row.attainment), row.verdict, percent(row.accuracy), percent(mean),
                         interval, milliseconds(row.p99_s), f"{100 * row.difference:+.2f}"])  # fmt: skip
            ends = (low, high) if np.isfinite([low, high]).all() else (None, None)
            drawn.append(Bar(row.policy, mean, percent(mean), *ends))
        head = ["policy", "on time", "99 %?", "accuracy", "weighted", "95 %", "p99 ms", f"from {self.reference}"]
        about = f"{its.model} on {its.table}, {its.trace}, target {its.slo_ms:.4g} ms, {self.replicated}"
        most = None if self.ceiling is None else (self.ceiling.accuracy_weighted_goodput, self.ceiling.kind)
        return (
            f"<p>{escape(about)}</p>{table(head, rows)}{bars('Accuracy-weighted goodput, 95 % intervals', drawn, most)}"
        )


#: A window of a recorded file begins with an empty queue. Where its p99 is more than this share of it, the trace would
#: have brought a backlog along: ten windows then had 2.8 % on time, of which the whole trace had 0.7 %.
CARRIED = 0.1
#: The columns of an interval, by what their names end with.
ENDS = {"": "mean", "_low": "low", "_high": "high"}
#: What all policies have in common: all settings but those of a single run, and of live ones.
SETTINGS = [each for each in KINDS if each not in ("policy", "clock", "device", "weights")]
_SHOWN = ("trace", "rate", "start", "duration", "lengths", "max_tokens", "tenants", "table", "model", "task", "levels",
          "slo_ms", "gpus", "adapter_budget", "host_budget", "service_noise", "host_time", "seed")  # fmt: skip


def compare(
    policies: str | Sequence[str],
    *,
    reference: str | None = None,
    replications: int = 10,
    confidence: float = 0.95,
    exact_requests: int = EXACT_REQUESTS,
    warm_up: bool = False,
    jobs: int = 1,
    rivals: bool = False,
    on_progress: Callable[[int, int], None] | None = None,
    **settings: Any,
) -> Comparison:
    """Run policies on common random numbers: each replication has the same arrivals and lengths for all of them.

    policies: specs, in a list or with semicolons between them; "all" for every online policy that there is. reference:
    whose difference is taken, by default the first named, or adaptive for all. settings: as of
    `simulator.settings.Settings`, and slo_s in place of slo_ms. Replication r of a generator has seed + r; those of a
    recorded file are consecutive windows of it, equally long, each counting the same. exact_requests: the exact
    optimum is found for replications of up to so many requests. warm_up: leave out the first requests of each
    replication, until the latencies of all policies are in a steady state (MSER-5); who reaches none is refused. jobs:
    processes. rivals: run the standing rivals (`simulator.rivals`) on the same requests, too. on_progress: told (done,
    all) replications.

    Raises ValueError or LookupError for bad input, as for warm_up on traffic that is not steady, and where the
    reference does not run.
    """
    if not 1 <= replications <= MOST_REPLICATIONS:
        raise ValueError(f"replications is {replications}; it must lie in 1 to {MOST_REPLICATIONS:,}")
    if "slo_s" in settings:
        settings |= {"slo_ms": target_ms(settings.get("slo_ms"), settings.pop("slo_s"))}
    for name in WITHIN.keys() & settings:
        refuse_beyond(name, settings[name])
    specs = _specs(policies)
    first = reference or ("adaptive" if policies == "all" else specs[0])
    specs = list(dict.fromkeys([*specs, first]))
    make(first)  # a mistake in it is found before the runs, not after
    whole = resolved(_settings(settings))
    if warm_up:
        steady.refuse_others(whole.settings)
    beside = tuple(standing(whole, specs, first)) if rivals else ()
    tasks = [(each, tuple(specs), exact_requests, warm_up, beside) for each in inputs(whole, replications)]
    done: dict[int, Replication] = {}
    with Pool(jobs) as pool:
        for number, result in pool.each(replicate, tasks):
            done[number] = result
            if on_progress is not None:
                on_progress(len(done), replications)
    ordered = [done[number] for number in range(replications)]
    compared = _summed(ordered, specs, first, whole, confidence)
    if not rivals:
        return compared
    found, line = summed(ordered, whole, list(compared.values), beside)
    return compared._replace(rivals=found, right=line)


def _summed(
    done: Sequence[Replication], specs: Sequence[str], reference: str, whole: Prepared, confidence: float
) -> Comparison:
    """The comparison of all replications."""
    refused = {spec: said for spec in specs for each in done[::-1] if isinstance(said := each.summaries[spec], str)}
    if reference in refused:
        raise ValueError(f"the reference {reference} does not run here: {refused[reference]}")
    ran = [spec for spec in specs if spec not in refused]
    summaries = {spec: frame([cast(dict[str, Any], each.summaries[spec]) for each in done]) for spec in ran}
    weighted = "accuracy_weighted_goodput"
    values = DataFrame({spec: each[weighted].fillna(each["attainment"]) for spec, each in summaries.items()})
    own = _within(mean_intervals(values, confidence=confidence), 0.0)
    differences = values.sub(values[reference], axis=0)
    differences = _within(mean_intervals(differences, confidence=confidence, family=True), -1.0)
    carried = _carried(summaries, whole, len(done))
    for each, without in ((own, carried), (differences, ran if reference in carried else carried)):
        each.loc[without, ["low", "high"]] = np.nan
    differences.loc[reference] = 0.0
    intervals = {weighted: own, "difference": differences}
    top = _mean_ceiling([each.ceiling for each in done])
    most, kind = (None, None) if top is None else (top.accuracy_weighted_goodput, top.kind)
    base, dominated = whole.settings, tuple(map(str, whole.deployment.left_out))
    said = named(base, len(done)) + _left_out([each.left_out for each in done])
    said += f"; no interval where requests wait for {CARRIED:.0%} of a window: {', '.join(carried)}" if carried else ""
    shown = {name: getattr(base, name) for name in _SHOWN}
    rows = []
    for spec in ran:
        mean, bounds = own["mean"][spec], most is not None and not needs(make(spec)) - UNDER_THE_CEILING
        its, offered = summaries[spec], int(summaries[spec]["requests"].sum())
        rows.append({
            "policy": spec,
            "attainment": its["attainment"].mean(),
            "verdict": verdict(offered - int(its["ok"].sum()), offered),  # one that was not served is as good as late
            "accuracy": its["accuracy"].mean(),
            "agreement": its["agreement"].mean() if "agreement" in its else None,
            "p99_s": its["p99_s"].mean(),
            "reached": mean / most if bounds and most else None,
            "regret": most - mean if bounds else None,
            **{f"{name}{suffix}": of.at[spec, end] for name, of in intervals.items() for suffix, end in ENDS.items()},
            "per_seed": each_of(values[spec]),
            "reference": reference, "ceiling": most, "ceiling_kind": kind, "replications": said, **shown,
        })  # fmt: skip
    standings = frame(sorted(rows, key=lambda row: -row[weighted]))
    return Comparison(standings, refused, reference, base, said, top, dominated, values, DataFrame(), "")


def _carried(summaries: dict[str, DataFrame], whole: Prepared, windows: int) -> list[str]:
    """The policies that would bring a backlog from one window of a recorded file into the next."""
    if windows == 1 or not recorded(whole.settings):
        return []
    start, end = whole.trace.window
    longest = CARRIED * (end - start) / windows
    return [policy for policy, its in summaries.items() if (its["p99_s"] > longest).any()]


def _within(intervals: DataFrame, least: float) -> DataFrame:
    """The intervals within what the quantity can be, up to 1; ends that are not known stay infinite."""
    return intervals.clip(least, 1.0).where(np.isfinite(intervals), intervals)


def _left_out(counts: Sequence[int]) -> str:
    """How many of the first requests do not count, in words."""
    if not any(counts):
        return ""
    least, most = min(counts), max(counts)
    return f", without the first {least:,}{'' if least == most else f' to {most:,}'} requests (warm-up by MSER-5)"


def _specs(policies: str | Sequence[str]) -> list[str]:
    """The specs that were asked for; wrappers by their bare name go around adaptive."""
    if policies != "all":
        given = policies.split(";") if isinstance(policies, str) else list(policies)
        specs = [each.strip() for each in given if each.strip()]
        if not specs:
            raise ValueError('no policies are named: give specs with semicolons between them, or "all"')
        for spec in specs:
            make(spec)
        return specs
    specs = []
    for name in POLICIES:
        try:
            policy = make(name)
        except ValueError:
            name, policy = f"{name}(adaptive)", make(f"{name}(adaptive)")
        if not needs(policy) & {"future", "memory"}:  # those are the ceiling, and for traces with tenants
            specs.append(name)
    return specs


def _settings(values: dict[str, Any]) -> Settings:
    unknown = sorted(set(values) - set(SETTINGS))
    if unknown:
        raise ValueError(f"compare has no setting {', '.join(unknown)}; it has {', '.join(SETTINGS)}")
    return Settings(**values)


def _mean_ceiling(ceilings: Sequence[Ceiling | None]) -> Ceiling | None:
    known = [each for each in ceilings if each is not None]
    if not known:
        return None
    kinds = {"exact": 0, "bound": 0} | {each.kind: 1 for each in known}
    kind = " or ".join(kind for kind, there in kinds.items() if there)
    return Ceiling(float(np.mean([each.accuracy_weighted_goodput for each in known])), kind)
