"""A plan in words: what to take, how sure that is, what it costs, and what would have to change for less."""

from __future__ import annotations

from analysis.plans.planner import Closest, Point
from analysis.plans.planning import Choice, Plan
from analysis.words import accuracies
from traces.shared.text import aligned, count, number, percent


def printed(plan: Plan) -> str:
    """The whole answer: the question, a line per table, and the words to each."""
    asked, traffic = plan.asked, plan.traffic
    floor = "" if asked["min_accuracy"] is None else f", accuracy at least {percent(asked['min_accuracy'])}"
    grown = "" if asked["growth"] == 1 else f", times {asked['growth']:g}"
    lines = [
        f"traffic  {traffic['source']}: {traffic['requests']:,} requests in {number(traffic['seconds'])} s, "
        f"{number(traffic['rate'])}/s{grown}",
        *(f"         {note}" for note in traffic["notes"]),
        f"target   {percent(asked['attainment'])} within {asked['slo_ms']:g} ms{floor}",
        *accuracies(asked.get("tasks", {}).values(), "         accuracies: {}"),
        *(f"         {note}" for note in asked.get("left_out", ())),
        f"based on {traffic['simulated']}",
        "",
    ]
    if plan.choices:
        lines += [aligned([_HEADING, *map(_line, plan.choices)], text=3), ""]
    lines += [line for each in plan.choices for line in (*_words(each, plan), "")]
    lines += [line for each in plan.closest for line in (*_out_of_reach(each, plan), "")]
    return "\n".join(lines).rstrip()


_HEADING = ["table", "policy", "model", "GPUs", "on time", "95 % interval", "accuracy", "students", "busy", "margin",
            "GPU-h/million"]  # fmt: skip


def _line(choice: Choice) -> list[str]:
    best = choice.best
    its, on_time = best.candidate, best.attainment
    return [its.table, its.policy, its.model, str(best.gpus), percent(on_time.mean),
            f"{percent(on_time.low)} to {percent(on_time.high)}", percent(best.accuracy), number(best.students),
            percent(best.utilisation), f"{choice.most / best.growth - 1:+.0%}", f"{choice.gpu_hours:.3g}"]  # fmt: skip


def _words(choice: Choice, plan: Plan) -> list[str]:
    best, target = choice.best, plan.asked["attainment"]
    its = best.candidate
    lines = [f"{its.table} ({its.device}): {count(best.gpus, 'GPU')} with {its.policy} and {its.model}"]
    lines.append(f"  {_sureness(choice, plan)}")
    lines.append(f"  headroom: {choice.most / best.growth - 1:.0%} ({choice.most:.3g} times the trace)")
    if choice.cost is not None:
        lines.append(f"  costs {choice.cost:.3g} per million requests at the table's price")
    if choice.kwh is not None:
        lines.append(f"  takes {choice.kwh:.3g} kWh per million requests at the table's power")
    less = choice.less
    if less is None:
        return [*lines, "  there is no less than one GPU"]
    lines.append(f"  {count(less.gpus, 'GPU')} would do, the rest unchanged, with one of:")
    if less.attainment < target:
        lines.append(f"    a target of {percent(less.attainment)} on time")
        lines.append(f"    {less.slo_ms:.4g} ms instead of {best.slo_ms:g}" if less.slo_ms else
                     f"    no latency target up to {64 * best.slo_ms:g} ms")  # fmt: skip
    floor = plan.asked["min_accuracy"]
    if floor is not None and less.accuracy is not None and less.accuracy < floor:
        lines.append(f"    an accuracy of {percent(less.accuracy)}")
    traffic = f"{less.growth / best.growth - 1:+.0%} traffic" if less.growth else "no traffic worth the name"
    return [*lines, f"    {traffic}"]


def _sureness(choice: Choice, plan: Plan) -> str:
    best = choice.best
    if plan.traffic["exact"]:
        return "exact for this trace: all of it was simulated"
    if plan.traffic.get("replications") == 1:
        return "from one seed: how far others differ is not known"
    over = "the windows that were not simulated" if "windows" in plan.traffic["simulated"] else "other seeds"
    if choice.clear == best.gpus:
        return f"the 95 % interval, for {over}, lies above the target"
    reaches = f"the 95 % interval, for {over}, reaches down to {percent(best.attainment.low)}, below the target"
    more = f"with {count(choice.clear, 'GPU')} it does not" if choice.clear else "two more GPUs do not help"
    return f"{reaches}; {more}"


def _out_of_reach(closest: Closest, plan: Plan) -> list[str]:
    asked, best = plan.asked, closest.best
    lines = [f"{closest.table}: out of reach with up to {count(asked['max_gpus'], 'GPU')}"]
    if best is not None:
        its = best.candidate
        lines.append(f"  closest: {count(best.gpus, 'GPU')} with {its.policy} and {its.model}: {_short(best, plan)}")
        if closest.slo_ms is not None:
            lines.append(f"  that would meet {closest.slo_ms:.4g} ms instead of {asked['slo_ms']:g}")
        elif best.attainment.mean < asked["attainment"]:
            lines.append("  and no other latency target changes that")
    return lines + [f"  {model} {why}" for model, why in closest.refused.items()]


def _short(best: Point, plan: Plan) -> str:
    """By how much a point misses what was asked."""
    target, floor, parts = plan.asked["attainment"], plan.asked["min_accuracy"], []
    if best.attainment.mean < target:
        gap = 100 * (target - best.attainment.mean)
        parts.append(f"{percent(best.attainment.mean)} on time, {gap:.3g} points short")
    if floor is not None and best.accuracy is not None and best.accuracy < floor:
        parts.append(f"accuracy {percent(best.accuracy)}, {100 * (floor - best.accuracy):.3g} points short")
    return ", ".join(parts)
