"""The page of the study of early exits, and its figures."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from pandas import DataFrame

from analysis.plots import PLOTS
from analysis.plots.figures import save
from analysis.runs import Run
from exits.cells import PLAIN, POLICIES, Cell, read, simulated
from exits.judged import LIGHT, Verdict, against_plain, by_cell
from traces.shared.text import count

#: The figures: plots of runs of these policies on the stream with most drift.
FIGURES = {
    "exits": ("static", "certain", "apparate"),
    "ramps": ("certain", "apparate"),
    "latency-cdf": (PLAIN, "certain, result", "certain"),
}
INTRODUCTION = """Answers may leave a deep model at a ramp that is sure of them ([policies.md](policies.md#exits)). How
often are they still the whole model's, and what does it save? With `result`, and in both controllers of Apparate, a
batch runs on after answers have left: its ramps cost the queue time and never save it any. With `truncate` it ends at
the last ramp. Else it goes on with those that are left, where the table says that this takes less time; `certain` does
so only while others wait, since it learns from whole batches."""
WORDS = {
    "agreement": "share of answers that are the whole model's; the mean over seeds",
    "worst": "the least agreement of 2,000 requests in a row, over all seeds",
    "saving": "mean share of a whole batch's time, without ramps, by which an answer came earlier; service alone",
    "mean, p50, p99": "how much lower the latency of answers is than with the plain policy, same requests",
}


def page(
    command: str,
    name: str,
    setup: Sequence[str],
    verdicts: dict[str, Sequence[Verdict]],
    grid: DataFrame,
    further: DataFrame,
) -> str:
    """Markdown of the page of this name: what was asked and found, then every figure behind it."""
    lines = ["# Early exits", "", f"Written by `{command}`; not edited by hand.", "", INTRODUCTION, "", *setup, ""]
    lines += ["## Asked and found", ""]
    for title, own in verdicts.items():
        rows = [(each.name, each.asked, each.found, "met" if each.met else "**missed**") for each in own]
        lines += [f"### {title}", "", *grid_of(("", "asked", "found", ""), rows), ""]
    lines += ["## Every policy", "", *(f"- {word}: {words}" for word, words in WORDS.items()), ""]
    for each in FIGURES:
        lines += [f"![{each}](images/{name}-{each}.png)", ""]
    compared = by_cell(against_plain(grid))
    for (model, texts, kind), own in compared.groupby(["model", "texts", "kind"], sort=False):
        lines += [f"### {model}, {kind}", "", f"Texts: {texts}.", "", *_policies(own), ""]
    lines += ["## What the settings do", "", *_further(further)]
    return "\n".join(lines).rstrip() + "\n"


def _policies(own: DataFrame) -> list[str]:
    """A row per policy: agreement, worst window, saving; and the cuts of latency at each load."""
    loads = sorted(own["load"].unique())
    head = ["policy", "agreement", "worst", "saving", "layer"]
    head += [f"mean, p50, p99 at {load:g}" for load in loads]
    rows = []
    for policy in POLICIES:
        its = own[own["policy"] == policy].set_index("load")
        if policy == PLAIN or its.empty:
            continue
        light = its.loc[LIGHT] if LIGHT in its.index else its.iloc[0]
        row = [policy, f"{its['agreement'].mean():.2%}", f"{its['worst'].min():.1%}", f"{its['saving'].mean():.1%}",
               f"{light['exit_layer']:.1f}"]  # fmt: skip
        row += [", ".join(_cut(its.at[load, f"{name}_cut"]) for name in ("mean_s", "p50_s", "p99_s")) for load in loads]
        rows.append(row)
    return grid_of(head, rows)


def _cut(share: float) -> str:
    return f"{-100 * share:+.0f}%"


def _further(rows: DataFrame) -> Iterator[str]:
    """Trends, accountings and bursts: means over seeds."""
    for model, own in rows.groupby("model", sort=False):
        light = own[own["burst"].isna() & ~own["legacy"]]
        plain = light[light["policy"] == PLAIN]["mean_s"].mean()
        told = light[light["policy"] != PLAIN].groupby(["policy", "more"], sort=False).mean(numeric_only=True)
        yield from (f"### {model}: targets, budgets, number of ramps (load {LIGHT:g}, even)", "")
        yield from grid_of(
            ("policy", "setting", "agreement", "saving", "mean latency"),
            [(policy, more.lstrip(", "), f"{row.agreement:.2%}", f"{row.saving:.1%}", _cut(1 - row.mean_s / plain))
             for (policy, more), row in told.iterrows()],
        )  # fmt: skip
        yield from ("", f"### {model}: counted as the paper does, with the queue of the plain run", "")
        counted = own[own["legacy"]].groupby("policy", sort=False).mean(numeric_only=True)
        before, counted_by = counted.loc[PLAIN], ("p25_s", "p50_s", "mean_s")
        yield from grid_of(
            ("policy", "agreement", "25th percentile", "median", "mean"),
            [(policy, f"{row.agreement:.2%}", *(_cut(1 - row[name] / before[name]) for name in counted_by))
             for policy, row in counted.iterrows() if policy != PLAIN],
        )  # fmt: skip
        yield from ("", f"### {model}: a burst beyond capacity, a third of the run", "")
        burst = own[own["burst"].notna()].groupby("policy", sort=False).mean(numeric_only=True)
        yield from grid_of(
            ("policy", "on time in the burst", "agreement in it", "on time", "agreement"),
            [(policy, *(f"{row[name]:.2%}" for name in ("on_time_burst", "agreement_burst", "attainment", "agreement")))
             for policy, row in burst.iterrows()],
        )  # fmt: skip
        yield ""


def setup_of(cells: Sequence[Cell], device: str) -> list[str]:
    """What was served: the device, and after which layer how many answers are the final ones."""
    first = cells[0]
    seeds, loads = sorted({each.seed for each in cells}), sorted({each.load for each in cells})
    lines = [
        f"Table `{Path(first.table).name}` ({device}); {first.requests:,} requests a run, {count(len(seeds), 'seed')}, "
        f"Poisson arrivals at loads {', '.join(f'{load:g}' for load in loads)}; 1 is what plain batches serve of a "
        f"queue that never ends. `{first.around}` forms the batches.",
        "",
    ]
    rows = []
    for answers in dict.fromkeys(each.answers for each in cells):
        items = read(answers)
        same = (items.answer[:, items.served] == items.teacher_answer[items.served]).mean(1)
        known = items.label[items.served] >= 0
        right = items.teacher_correct[items.served][known].mean()
        rows.append((items.about["model"], items.about.get("task", ""), f"{len(items.served):,}", f"{right:.2%}",
                     " ".join(f"{100 * share:.0f}" for share in same)))  # fmt: skip
    return [*lines, *grid_of(("model", "task", "texts", "right", "% as the end, by layer"), rows)]


def draw(cell: Cell, page: Path) -> None:
    """The figures of a page, of runs of one cell."""
    (out := page.parent / "images").mkdir(parents=True, exist_ok=True)
    for name, policies in FIGURES.items():
        runs = [Run.of(simulated(replace(cell, policy=policy)))._replace(name=policy) for policy in policies]
        save(PLOTS[name].draw(runs, 130.0), out / f"{page.stem}-{name}.png", dpi=160)


def grid_of(head: Sequence[str], rows: Iterable[Sequence[Any]]) -> list[str]:
    """A Markdown table."""
    lines = [head, ["---"] * len(head), *rows]
    return [f"| {' | '.join(map(str, line))} |" for line in lines]
