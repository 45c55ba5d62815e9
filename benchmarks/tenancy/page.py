"""The page of the study of tenants, and its figures."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from exits.judged import Verdict
from exits.page import grid_of
from pandas import DataFrame

from analysis.plots.axes import style
from analysis.plots.axes.style import grid, log_axis, marked_look, target
from analysis.plots.figures import save
from profiler.table import LatencyTable
from tenancy.capacities import LOAD
from tenancy.runs import CROSSED
from tenancy.tables import CARDS, FIXED_US
from traces.shared.origin import origin

INTRODUCTION = """Thousands of tenants share one encoder; each has adapters and a head of its own, of which a budget
holds some on the GPU ([policies](policies.md#tenants), [live mode](live.md),
[what is measured](profiler.md#what-tenants-take)). Below is what was asked of this (reference/tenants.md, section 6.6,
and the issue) and what was found. The criteria for a GPU (8, 9, 12, 13) are open: [measurements](measurements.md)."""


def page(
    command: str, setup: Sequence[str], verdicts: dict[str, Sequence[Verdict]], found: dict[str, DataFrame]
) -> str:
    """Markdown: what was asked and found, then the figures behind it."""
    lines = ["# Tenants", "", f"Written by `{command}`; not edited by hand.", "", INTRODUCTION, "", *setup, ""]
    lines += ["## Asked and found", ""]
    for title, own in verdicts.items():
        rows = [(each.name, each.asked, each.found, "met" if each.met else "**missed**") for each in own]
        lines += [f"### {title}", "", *grid_of(("", "asked", "found", ""), rows), ""]
    for title, name, rows in _tables(found):
        lines += [f"## {title}", "", *([f"![{title}](images/{name})", ""] if name else []), *rows, ""]
    return "\n".join(lines).rstrip() + "\n"


def setup_of(table: LatencyTable, notes: Sequence[str]) -> list[str]:
    """What was measured, what is modelled. notes: of the live runs."""
    assert table.adapters is not None
    model, kind, *_ = table.adapters.rows[0]
    cards = "; ".join(f"{card.device.split(',')[0]}: {card.request_us:g} us a request, {card.load_us:g} us a load"
                      for card in CARDS.values())  # fmt: skip
    return [
        f"- **Measured**: table `{table.name}` ({table.device}), {model} with adapters {kind}.",
        *(f"- **Live**: {note}" for note in notes),
        f"- **Modelled**: batches of 128 tokens, {FIXED_US:g} us and so much a request ({cards}), after the assumed "
        "rates of the reference page, section 5.3; and every load that takes another time than a table says.",
        f"- **Code**: commit {str(origin()['commit'])[:7]}.",
    ]


def _tables(found: dict[str, DataFrame]) -> Iterator[tuple[str, str, list[str]]]:
    """Title, figure and rows of each part."""
    own = found["real"].pivot(index="policy", columns="share", values="hits").sort_values(0.1, ascending=False)
    rows = [(name, *(f"{value:.3f}" for value in row)) for name, row in zip(own.index, own.to_numpy(), strict=True)]
    yield "Hits on the real trace", "tenants-hits.png", grid_of(("policy", "1 %", "5 %", "10 % slots"), rows)
    own = found["crossing"]
    rows = [(f"{device}, exponent {exponent:g}", *(f"{rate:,.0f}" for rate in part["rate"]))
            for (device, exponent), part in own.groupby(["device", "exponent"], sort=False)]  # fmt: skip
    head = ("answers per second at so many tenants per slot", *(f"{share:g}" for share in CROSSED))
    yield "Throughput as tenants outgrow the budget", "tenants-crossing.png", grid_of(head, rows)
    own = found["pipelining"]
    rows = [
        (row.device, row.batch, f"{row.ratio:.2f}", f"{row.gain:.3f}", f"{row.bound:.3f}") for row in own.itertuples()
    ]
    yield "What pipelining gains", "", grid_of(("device", "batch", "load to compute", "over serial", "bound"), rows)
    own = found["capacity"]
    rows = [(row.device, f"{row.slots:,}", f"{row.exponent:g}", f"{row.link:g}", f"{row.slo_ms:.1f}",
             f"{row.most:,}{' or more' if row.limited else ''} at {row.rate:,.0f}/s", f"{row.capacity:,.0f}/s")
            for row in own.itertuples()]  # fmt: skip
    head = ("device", "slots", "exponent", "loads take", "target ms", "most tenants", "highest rate, 10,000 tenants")
    yield "How much is served within the target", "tenants-capacity.png", grid_of(head, rows)
    if "fidelity" in found:
        own = found["fidelity"]
        rows = [(f"{row.load:g}", f"{row.skew:g}", f"{row.slots:g}", f"{row.goodput:+.1%}", f"{row.p50_s:+.1%}",
                 f"{row.p99_s:+.1%}", f"{row.live_hits:.3f}, {row.hits:.3f}", "" if row.valid else "disturbed")
                for row in own.itertuples()]  # fmt: skip
        head = ("load", "exponent", "slots", "throughput", "p50", "p99", "hits live, simulated", "")
        yield "Live runs over simulations of the same", "", grid_of(head, rows)


def draw(found: dict[str, DataFrame], out: Path) -> None:
    """The figures of the page."""
    out.mkdir(parents=True, exist_ok=True)
    for name, (title, signs, each) in FIGURES.items():
        frame = found[name]
        with style.titled(title, signs(frame), 130.0, 48) as (figure, (axes,)):
            each(frame, axes)
        save(figure, out / f"tenants-{name.replace('real', 'hits')}.png", dpi=160)


def _hits(frame: DataFrame, axes: Any) -> None:
    for index, (policy, own) in enumerate(frame.groupby("policy", sort=False)):
        axes.plot(100 * own["share"], 100 * own["hits"], label=policy, **marked_look(index))
    axes.set(xlabel="slots (% of the tenants)", ylabel="resident (% of requests)", ylim=(60, None))
    grid(axes)


def _crossing(frame: DataFrame, axes: Any) -> None:
    for index, ((device, exponent), own) in enumerate(frame.groupby(["device", "exponent"], sort=False)):
        axes.plot(own["share"], 100 * (1 - own["lost"]), label=f"{device}, exponent {exponent:g}", **marked_look(index))
    target(axes, 90, "at most 10 % lost")
    axes.set(xlabel="tenants per slot", ylabel="throughput (% of all resident)", ylim=(0, 106))
    grid(axes)
    log_axis(axes, "x")


def _capacity(frame: DataFrame, axes: Any) -> None:
    shares = frame.assign(share=100 * frame["capacity"] * LOAD / frame["rate"])
    for index, ((device, exponent), own) in enumerate(shares.groupby(["device", "exponent"], sort=False)):
        for link, part in own.groupby("link"):
            look = marked_look(index) | ({} if link == 1 else {"markerfacecolor": "none", "linestyle": ":"})
            name = f"{device}, exponent {exponent:g}"
            axes.plot(
                part["slots"], part["share"], label=name if link == 1 else f"_{name}, loads take {link:g}", **look
            )
    axes.set(xlabel="slots for 10,000 tenants", ylabel="capacity (% of full batches)", ylim=(0, None))
    grid(axes)
    log_axis(axes, "x")


def _devices(frame: DataFrame) -> Iterable[str]:
    return dict.fromkeys(frame["device"])


#: Title, small print and drawing of each figure, by the frame that it shows.
FIGURES: dict[str, Any] = {
    "real": (
        "Hits on gentd26: locality rules",
        lambda frame: ["the order of 16,093 real requests, one at a time"],
        _hits,
    ),
    "crossing": ("No cliff where tenants outgrow the slots", _devices, _crossing),
    "capacity": ("Capacity within the target; hollow: loads take 4 times as long", _devices, _capacity),
}
