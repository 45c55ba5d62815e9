"""The rows of a plan: what each model and mix needs, which of them wins, and why."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from analysis.plans.candidates import Candidate
from analysis.plans.planner import Planner, Point
from analysis.plans.techniques import Offered
from profiler.table import technique
from traces.shared.html import Bar, bars, table
from traces.shared.text import count, percent


@dataclass(frozen=True)
class Option:
    """A model or mix of a table with its best policy. best: on the fewest GPUs that meet the target, where some do.

    why: of the one that wins, the reason; of one without `best`, what it lacks; else empty.
    """

    table: str
    technique: str
    model: str
    best: Point | None
    wins: bool = False
    why: str = ""


def as_html(rows: Sequence[Option]) -> str:
    """A table of these rows, and bars of the GPUs that they need."""
    cells, drawn = [], []
    for each in rows:
        name, best = f"{each.model} on {each.table}", each.best
        if best is None:
            cells.append([name, each.technique, "-", "-", "-", "-", each.why])
            continue
        on_time = best.attainment
        met = f"{percent(on_time.mean)} ({percent(on_time.low)} to {percent(on_time.high)})"
        cells.append(
            [name, each.technique, best.candidate.policy, str(best.gpus), met, percent(best.accuracy), each.why]
        )
        drawn.append(Bar(name, best.gpus, f"{best.gpus}, accuracy {percent(best.accuracy)}"))
    head = ["model", "technique", "policy", "GPUs", "on time (95 %)", "accuracy", "why"]
    return table(head, cells) + (bars("GPUs that meet the target", drawn) if drawn else "")


def options(
    planner: Planner, offer: Offered, open_: Sequence[Candidate], refused: Mapping[str, str], max_gpus: int
) -> list[Option]:
    """An option per model and mix of a table, the best first. refused: why models cannot meet the target at all."""
    found = []
    for each in offer.deployments:
        own = [candidate for candidate in open_ if candidate.model == each.model]
        best = planner.best(own)
        why = "" if best is not None else refused.get(each.model) or _lacking(planner, own, max_gpus)
        found.append(Option(each.table.name, technique(each.table, each.model, each.task), each.model, best, why=why))
    return ranked(planner, found)


def ranked(planner: Planner, found: Sequence[Option]) -> list[Option]:
    """The best first, see `Planner.rank`, and it wins; those that meet the target with no number of GPUs last."""
    met = sorted(
        ((planner.rank(each.best), each) for each in found if each.best), key=lambda pair: pair[0], reverse=True
    )
    order = [replace(each, wins=False, why="") for _, each in met]
    if order:
        order[0] = replace(order[0], wins=True, why=_reason([rank for rank, _ in met], order))
    return order + [each for each in found if each.best is None]


def _reason(ranks: Sequence[tuple[float, ...]], order: Sequence[Option]) -> str:
    """Why the first is before the second: the first part of their ranks that differs."""
    best, second = order[0].best, order[1].best if len(order) > 1 else None
    if best is None or second is None:
        return "nothing else meets the target"
    differs = next((at for at, pair in enumerate(zip(*ranks[:2], strict=True)) if pair[0] != pair[1]), None)
    others = f"as few GPUs as {order[1].model}"
    if differs == 0:
        return f"the fewest GPUs (the next, {order[1].model}, needs {second.gpus})"
    if differs == 1:
        return f"{others}, and its whole interval meets the target"
    if differs == 2:
        return f"{others}, and more accurate ({percent(best.accuracy)} against {percent(second.accuracy)})"
    if differs == 3:
        on_time = percent(best.attainment.mean), percent(second.attainment.mean)
        return f"{others} and as accurate, and more on time ({on_time[0]} against {on_time[1]})"
    return f"the first of equals ({order[1].model} is as good)"


def _lacking(planner: Planner, own: Sequence[Candidate], max_gpus: int) -> str:
    """What a model lacks on the most GPUs."""
    tried = [planner.point(each, max_gpus) for each in own if each.least <= max_gpus]
    if not tried:
        return f"needs {count(min(each.least for each in own), 'GPU')} or more"
    nearest = min(tried, key=planner.short)
    return f"with {count(max_gpus, 'GPU')} {planner.shortfall(nearest)}"
