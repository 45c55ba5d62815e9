"""A plan in words: what each model and mix needs, what to take, how sure that is, and what less would need."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from analysis.plans.options import Option
from analysis.plans.planner import Closest, Point, shortfall
from analysis.plans.planning import Choice, Plan
from analysis.plans.sampling import DEEP_OVERLOAD
from analysis.words import accuracies
from traces.shared.text import aligned, count, number, percent


def printed(plan: Plan) -> str:
    """The whole answer: the question, a row per model and mix, and the words to the best of each table."""
    asked, traffic = plan.asked, plan.traffic
    floors = "".join(f", {name} at least {percent(least)}" for name, least in asked["floors"].items())
    grown = "" if asked["growth"] == 1 else f", times {asked['growth']:g}"
    lines = [
        f"traffic  {traffic['source']}: {traffic['requests']:,} requests in {number(traffic['seconds'])} s, "
        f"{number(traffic['rate'])}/s{grown}",
        *(f"         {note}" for note in traffic["notes"]),
        f"target   {percent(asked['attainment'])} within {asked['slo_ms']:g} ms{floors}",
        *accuracies(asked.get("tasks", {}).values(), "         accuracies: {}"),
        *([f"tenants  {asked['adapter_budget']} on each GPU for adapters"] if "adapter_budget" in asked else []),
        *(f"         {note}" for note in asked.get("left_out", ())),
        *(f"warning  {line}" for line in asked.get("warnings", ())),
        f"based on {traffic['simulated']}",
        "",
        *_table(plan),
        "",
    ]
    lines += [line for each in plan.choices for line in (*_words(each, plan), "")]
    lines += [line for each in plan.closest for line in (*_out_of_reach(each, plan), "")]
    return "\n".join(lines).rstrip()


_HEADING = ("", "table", "technique", "model", "policy", "GPUs", "on time", "95 % interval", "p99 ms", "accuracy",
            "agreement", "students", "busy", "GPU-h/million", "cost/million")  # fmt: skip


def _table(plan: Plan) -> Iterator[str]:
    """A line per model and mix, the one that wins marked; below them what a long mix holds, and what others lack."""
    several = len({each.table for each in plan.options}) > 1
    short = {each.model: f"mix {at}" for at, each in enumerate(filter(_long, plan.options), start=1)}
    rows = [list(_HEADING), *(_row(each, plan, short) for each in plan.options)]
    hidden = {"table"} if not several else set()
    if all(each.best is None or each.best.agreement in (None, 1.0) for each in plan.options):
        hidden.add("agreement")  # nothing leaves early
    if not plan.asked.get("prices"):
        hidden.add("cost/million")
    kept = [at for at, name in enumerate(_HEADING) if name not in hidden]
    rows = [[row[at] for at in kept] for row in rows]
    yield from aligned(rows, text=4 + several).splitlines()
    yield from (f"{name}: {model}" for model, name in short.items())
    for each in plan.options:
        if each.wins:
            yield f"* wins: {_shortened(each.why, short)}"
        elif each.best is None:
            table = f"{each.table}, " if several else ""
            yield f"{table}{_shortened(each.model, short)}: {_shortened(each.why, short)}"


def _long(option: Option) -> bool:
    """Whether a mix has more models than a line has room for."""
    return option.model.count(",") > 1


def _shortened(text: str, short: Mapping[str, str]) -> str:
    """With the long mixes by their short names."""
    for model in sorted(short, key=len, reverse=True):
        text = text.replace(model, short[model])
    return text


def _row(option: Option, plan: Plan, short: Mapping[str, str]) -> list[str]:
    best = option.best
    row = ["*" if option.wins else "", option.table, option.technique, _shortened(option.model, short)]
    if best is None:
        return [*row, *["-"] * (len(_HEADING) - len(row))]
    hours = best.gpus / (plan.traffic["rate"] * best.growth) * 1e6 / 3600
    price = plan.asked.get("prices", {}).get(option.table)
    return [*row, best.candidate.policy, str(best.gpus), percent(best.attainment.mean), _interval(best),
            number(best.p99_ms), percent(best.accuracy), percent(best.agreement), number(best.students),
            percent(best.utilisation), f"{hours:.3g}", "-" if price is None else f"{hours * price:.3g}"]  # fmt: skip


def _interval(point: Point) -> str:
    low, _, high = point.attainment
    return "-" if low is None or high is None else f"{percent(low)} to {percent(high)}"


def _words(choice: Choice, plan: Plan) -> list[str]:
    best, target = choice.best, plan.asked["attainment"]
    its = best.candidate
    lines = [f"{its.table} ({its.device}): {count(best.gpus, 'GPU')} with {its.policy} and {its.model}"]
    lines.append(f"  {_sureness(choice, plan)}")
    lines.append(f"  headroom: {choice.most / best.growth - 1:.0%} ({choice.most:.3g} times the trace)")
    if choice.cost is not None:
        lines.append(f"  costs {choice.cost:.3g} per million requests")
    if choice.kwh is not None:
        lines.append(f"  takes {choice.kwh:.3g} kWh per million requests at the table's power")
    less = choice.less
    if less is None:
        return [*lines, "  there is no less than one GPU"]
    lines.append(f"  {count(less.gpus, 'GPU')} would do, the rest unchanged, with one of:")
    if less.attainment < target:
        lines.append(f"    a target of {percent(less.attainment)} on time{_caution(less.attainment, plan)}")
        lines.append(f"    {less.slo_ms:.4g} ms instead of {best.slo_ms:g}" if less.slo_ms else
                     f"    no latency target up to {64 * best.slo_ms:g} ms")  # fmt: skip
    floor = plan.asked["min_accuracy"]
    if floor is not None and less.accuracy is not None and less.accuracy < floor:
        lines.append(f"    an accuracy of {percent(less.accuracy)}")
    traffic = f"{less.growth / best.growth - 1:+.0%} traffic" if less.growth else "no traffic worth the name"
    return [*lines, f"    {traffic}"]


def _sampled(plan: Plan) -> bool:
    return "windows" in plan.traffic["simulated"]


def _caution(attainment: float, plan: Plan) -> str:
    """What to think of a share on time that only windows have said, in deep overload."""
    deep = _sampled(plan) and attainment < DEEP_OVERLOAD
    return ", or less: in deep overload windows say too much" if deep else ""


def _sureness(choice: Choice, plan: Plan) -> str:
    best = choice.best
    low = best.attainment.low
    if plan.traffic["exact"]:
        return "exact for this trace: all of it was simulated"
    if plan.traffic.get("replications") == 1:
        return "from one seed: how far others differ is not known"
    if low is None:
        return "how sure that is cannot be said: in deep overload windows say too much (a greater --simulated helps)"
    over = "the windows that were not simulated" if _sampled(plan) else "other seeds"
    if choice.clear == best.gpus:
        return f"the 95 % interval, for {over}, lies above the target"
    reaches = f"the 95 % interval, for {over}, reaches down to {percent(low)}, below the target"
    more = f"with {count(choice.clear, 'GPU')} it does not" if choice.clear else "two more GPUs do not help"
    return f"{reaches}; {more}"


def _out_of_reach(closest: Closest, plan: Plan) -> list[str]:
    asked, best = plan.asked, closest.best
    lines = [f"{closest.table}: out of reach with up to {count(asked['max_gpus'], 'GPU')}"]
    if best is None:
        return lines
    its = best.candidate
    short = shortfall(best, asked["attainment"], asked["floors"])
    caution = _caution(best.attainment.mean, plan)
    lines.append(f"  closest: {count(best.gpus, 'GPU')} with {its.policy} and {its.model}: {short}{caution}")
    if closest.slo_ms is not None:
        lines.append(f"  that would meet {closest.slo_ms:.4g} ms instead of {asked['slo_ms']:g}")
    elif best.attainment.mean < asked["attainment"]:
        lines.append("  and no other latency target changes that")
    return lines
