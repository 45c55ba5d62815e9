"""What came back of a campaign, put to use: a table to ship, a page of verdicts, and what is left to measure."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from profiler.campaign.plan import CampaignPlan
from profiler.campaign.report import part_lines
from profiler.table import LatencyTable
from profiler.table.validate import Finding, findings
from profiler.table.writing import write_table

Row = Mapping[str, Any]


def ship(campaign: Path, out: Path, rank: int, accuracy: Sequence[Row], note: Mapping[str, str]) -> LatencyTable | None:
    """Write the table of a campaign below `out`, under the name of its device; None where nothing was measured.

    accuracy: rows for models of the table (others are left out); note: what they are, by task.
    """
    if not (campaign / "table" / "meta.json").exists():
        return None
    table = LatencyTable.load(campaign / "table")
    known = {(row["model"], row["students"]) for row in table.records()}
    own = [row for row in accuracy if (row["model"], row["students"]) in known]
    name = re.sub(r"[^a-z0-9]+", "-", table.device.lower()).strip("-")
    meta = {**table.meta, "rank": rank, **({"accuracy": dict(note)} if own else {})}
    jitter = campaign / "table" / "jitter.csv"
    extra = [jitter] if jitter.exists() else []
    return write_table(out / name, table.records(), meta, accuracy=own, extra=extra, replace=True)


def left(state: Mapping[str, Any], plan: CampaignPlan) -> Iterator[str]:
    """What is not measured yet: part, budget and why."""
    for name, seconds in plan.budgets.items():
        part = state["parts"].get(name, {"status": "outstanding"})
        if part["status"] != "done":
            reason = f": {part['reason']}" if part.get("reason") else ""
            yield f"{name} ({seconds:.0f} s), {part['status']}{reason}"


def page(state: Mapping[str, Any], plan: CampaignPlan, table: LatencyTable | None) -> str:
    """A section of docs/measurements.md in Markdown: machine, verdicts, parts, doubts about the table, what is left."""
    origin, probes = state.get("origin", {}), state["parts"].get("probes", {})
    title = f"### {str(origin.get('created', 'no date'))[:10]}, {probes.get('device', 'unknown device')}, "
    text = [title + f"commit {origin.get('commit') or 'unknown'}", "", f"command: `{origin.get('command', '')}`", ""]
    text += ["machine:", *(f"- {name}: {_words(value)}" for name, value in _machine(probes, origin).items()), ""]
    text += ["verdicts:", "", "| verdict | value | what | must | aim |", "|---|---|---|---|---|"]
    for each in state["verdicts"]:
        what = "; ".join(filter(None, (each["what"], each.get("also"))))
        cells = (
            each["verdict"],
            *(_words(each[name]) for name in ("value",)),
            what,
            *map(_words, (each["must"], each["aim"])),
        )
        text.append(f"| {' | '.join(cells)} |")
    text += ["", "parts:", "", "```", *part_lines(state), "```", ""]
    found: list[Finding] = [] if table is None else findings(table)
    shown = "no table: nothing was measured" if table is None else f"{table.name}: {len(table.columns['model'])} keys"
    text += [f"table: {shown}", *(f"- {'error' if each.error else 'warning'}: {each.text}" for each in found), ""]
    return "\n".join([*text, "left to measure:", *(f"- {each}" for each in left(state, plan)), ""])


def _machine(probes: Mapping[str, Any], origin: Mapping[str, Any]) -> dict[str, Any]:
    """What the probes say of the card and its host."""
    names = ("capability", "cuda", "multiprocessors", "cache_bytes", "memory_bytes", "ceilings", "launch", "card")
    return {name: probes[name] for name in names if name in probes} | {"versions": origin.get("versions", {})}


def _words(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {_words(each)}" for name, each in value.items())
    return "-" if value is None else f"{value:.4g}" if isinstance(value, float) else str(value)
