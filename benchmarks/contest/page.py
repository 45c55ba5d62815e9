"""The page of a contest: how often the judged policy is the best, and every cell where it is not."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from contest.cells import Cell
from contest.runs import Rounds, Standing
from contest.tables import STEEP
from traces.shared.text import count

#: Points by which it may be behind the best other: in nearly all cells, and in any.
NEAR, MOST = 0.3, 1.5
#: Points below which a lead is none.
LEAST = 0.05
GROUPS: dict[str, Callable[[Cell], object]] = {
    "table": lambda cell: cell.table.removesuffix(STEEP),
    "accuracies": lambda cell: "steep" if cell.table.endswith(STEEP) else "shipped",
    "served": lambda cell: cell.served,
    "trace": lambda cell: cell.trace.partition(":")[0],
    "load": lambda cell: "up to 0.9" if cell.load <= 0.9 else "0.9 to 2" if cell.load <= 2 else "beyond 2",
    "SLO": lambda cell: "up to 2x" if cell.slo <= 2 else "2x to 5x" if cell.slo <= 5 else "beyond 5x",
    "GPUs": lambda cell: cell.gpus,
    "lengths": lambda cell: "one" if cell.lengths == "one" or "constant" in cell.lengths else "mixed",
}


def behind(standing: Standing, kind: str = "rival") -> float:
    """By how many points the judged policy is behind the best of a kind; negative where it is ahead."""
    best = standing.best(kind)
    return -100.0 if best is None else 100 * float(standing.leads(best).mean())


def page(standings: Sequence[Standing], rounds: Rounds, command: str, missing: Sequence[str]) -> str:
    """Markdown: what was run, the counts, then a row for each cell that another wins."""
    lost, own, recorded = (
        _ahead(standings, kind, least) for kind, least in (("rival", LEAST), ("own", NEAR), ("recorded", NEAR))
    )
    refused = sorted({each.policy for standing in standings for each in standing.refused})
    return "\n".join([
        "# The contest", "",
        f"Written by `{command}`; not edited by hand.", "",
        f"Every policy meets `{rounds.judged}` on the same requests, in cells of table, traffic, load, target, GPUs "
        "and lengths. All figures are accuracy-weighted goodput: the accuracy of the answers that were on time, "
        "summed, over all that was offered, in per cent. `all` serves the students and their teacher, `students` the "
        "students alone. `-steep` tables have accuracies four times as far from the best. A load is a multiple of what "
        "the GPUs serve at the highest level of students; an SLO is a multiple of the time of one such request. "
        "`h200-modelled` and `synthetic` are modelled, and their accuracies illustrative, not measured.", "",
        f"{count(len(rounds.screening), 'seed')} for all policies rule out those that are more than "
        f"{100 * rounds.near:g} points behind the best, but for the best {rounds.least}; the others meet on "
        f"{count(len(rounds.seeds), 'seed')} from {rounds.seeds[0]} on, and only these count. The best of many rivals "
        "is partly the luckiest, which no figure here corrects. "
        f"Each run has {rounds.requests:,} requests, or as many as come in 20 targets.",
        *(["", "The runs of the others may be of earlier code (`--trust`)."] if rounds.trust else []), "",
        *_counts(standings), "",
        "## Where another is better", "",
        f"Cells where the best other is ahead by {LEAST} points or more; the least and the greatest lead of a seed "
        "stand beside the mean.", "",
        *_rows(lost, "rival"), "",
        "## Where a variant of itself is better", "",
        f"The same rule with another parameter, inside a wrapper, or on fewer levels, {NEAR} points or more ahead.", "",
        *_rows(own, "own"), "",
        "## Where recorded answers help", "",
        "Cascades see how sure a prefix is of each request, which the others do not; so they are no rivals. They run "
        "where the table's accuracies are those of recorded answers. An answer is right or wrong there, which adds "
        f"chance of about 0.2 points. {NEAR} points or more ahead:", "",
        *_rows(recorded, "recorded"), "",
        f"Not in the contest: {_code(missing)}.", *([f"Not run in some cells: {_code(refused)}."] if refused else []),
        "",
    ])  # fmt: skip


def _ahead(standings: Sequence[Standing], kind: str, least: float) -> list[Standing]:
    """Where the best of a kind is ahead by so many points, the farthest first."""
    found = [each for each in standings if behind(each, kind) >= least]
    return sorted(found, key=lambda each: -behind(each, kind))


def summary(standings: Sequence[Standing]) -> str:
    """One line: how often it is near the best other, and where it is farthest behind."""
    gaps = [behind(each) for each in standings]
    near, most = (sum(gap <= limit for gap in gaps) for limit in (NEAR, MOST))
    worst = max(standings, key=behind)
    return (
        f"{len(gaps)} cells: within {NEAR} points of the best other in {near} ({near / len(gaps):.1%}), within {MOST} "
        f"in {most}; the farthest is {max(gaps):+.2f}: {worst.cell}"
    )


def _counts(standings: Sequence[Standing]) -> list[str]:
    lines = [f"**{summary(standings)}.**", ""]
    lines += ["| | cells | it is best | within 0.3 points | within 1.5 | farthest | its mean | best others' |",
              "|---|---|---|---|---|---|---|---|"]  # fmt: skip
    parts: dict[str, list[Standing]] = {"all": list(standings)}
    for name, group in GROUPS.items():
        named = [(f"{name}: {group(each.cell)}", each) for each in standings]
        for part, each in sorted(named, key=lambda its: its[0]):
            parts.setdefault(part, []).append(each)
    for name, its in parts.items():
        gaps = [behind(each) for each in its]
        best, near, most = (sum(gap < LEAST if limit == LEAST else gap <= limit for gap in gaps)
                            for limit in (LEAST, NEAR, MOST))  # fmt: skip
        mean = sum(each.mean(each.judged) for each in its) / len(its)
        others = sum(each.mean(best_) for each in its if (best_ := each.best()) is not None) / len(its)
        lines.append(
            f"| {name} | {len(its)} | {best} | {near} | {most} | {max(0.0, *gaps):.2f} | {100 * mean:.2f} | "
            f"{100 * others:.2f} |"
        )
    return lines


def _rows(standings: Sequence[Standing], kind: str) -> list[str]:
    if not standings:
        return ["None."]
    lines = ["| table | served | trace | load | SLO | GPUs | lengths | it | the best | its | ahead by | seeds |",
             "|---|---|---|---|---|---|---|---|---|---|---|---|"]  # fmt: skip
    for each in standings:
        best, cell = each.best(kind), each.cell
        if best is not None:
            leads = 100 * each.leads(best)
            lines.append(
                f"| {cell.table} | {cell.served} | `{cell.trace}` | {cell.load:g} | {cell.slo:g}x | {cell.gpus} | "
                f"`{cell.lengths}` | {100 * each.mean(each.judged):.2f} | {_code([best.name(cell)])} | "
                f"{100 * each.mean(best):.2f} | {leads.mean():.2f} | {leads.min():+.2f} to {leads.max():+.2f} |"
            )
    return lines


def _code(names: Sequence[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)
