"""What a campaign has found, from its folder alone: tables, verdicts, the report. Needs no device."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from profiler.campaign.plan import PLANS
from profiler.campaign.verdicts import verdicts
from profiler.measuring.journal import SAMPLES
from profiler.measuring.notes import table_of
from profiler.table.merging import merge_tables
from profiler.table.plan import PADDED
from traces.shared.documents import read_json

FILE = "campaign.json"


def load_state(out: Path) -> dict[str, Any]:
    """The state that a campaign left in its folder. Raises LookupError where there is none, ValueError for another."""
    path = out / FILE
    if not path.exists():
        raise LookupError(f"{path} is missing: --out names the folder of a campaign")
    state = read_json(path)
    if not isinstance(state, dict) or not {"settings", "parts"} <= state.keys():
        raise ValueError(f"{path} is not the state of a campaign: choose another --out")
    return state


def conclude(out: Path, state: dict[str, Any]) -> None:
    """Bring tables and `state` up to date, whatever ended the run: tables of unfinished parts, one of all, verdicts."""
    parts = state["parts"]
    for partial in sorted(out.glob("*.partial")):
        name = partial.name.removesuffix(".partial")
        if _newer(partial / SAMPLES, out / name / "meta.json"):
            parts[name] = parts.get(name, {}) | _rescued(partial, out / name)
    for part in parts.values():
        if part["status"] == "running":
            part |= {"status": "unfinished", "reason": part.get("reason", "interrupted")}
    plan = PLANS[state["settings"]["plan"]]()
    padded = [name for name, grids in plan.tables.items() if grids[0].plan.layout == PADDED]
    merge_tables(out / "table", [out / name for name in padded])  # a model has one layout in a table
    state["verdicts"] = verdicts(out, state)
    if plan.name != "full":  # tiny models on a CPU say nothing about the targets
        state["verdicts"] = [verdict | {"verdict": "dry run"} for verdict in state["verdicts"]]


def _newer(samples: Path, table: Path) -> bool:
    return samples.exists() and (not table.exists() or samples.stat().st_mtime > table.stat().st_mtime)


def _rescued(partial: Path, out: Path) -> dict[str, Any]:
    """Make a table of the timings that are there; what becomes of the part."""
    try:
        table, without = table_of(partial, out)
    except (LookupError, ValueError) as error:
        return {"status": "unfinished", "reason": str(error)}
    keys = 0 if table is None else len(table.columns["model"])
    reason = f"interrupted: a table of {keys} keys from what was timed"
    return {"status": "unfinished", "reason": reason, "keys": keys, "without": without}


def report_lines(state: Mapping[str, Any]) -> Iterator[str]:
    """What became of every part, then the verdicts."""
    yield from part_lines(state)
    yield ""
    for verdict in state["verdicts"]:
        value = "-" if verdict["value"] is None else f"{verdict['value']:g}"
        goals = ", ".join(f"{word} {verdict[word]:g}" for word in ("must", "aim") if verdict[word] is not None)
        also = f"; {verdict['also']}" if verdict.get("also") else ""
        yield f"{verdict['verdict']:13} {value:>8}  {verdict['what']}" + (f" ({goals})" if goals else "") + also


def part_lines(state: Mapping[str, Any]) -> Iterator[str]:
    """What became of every part, what it is without, and why."""
    for name, part in state["parts"].items():
        seconds = f"{part['seconds']:6.1f} s" if "seconds" in part else " " * 8
        yield f"{name:14} {part['status']:12} {seconds}  {part.get('reason', '')}".rstrip()
        yield from (
            f"    without {what}: {why}" for what, why in {**part.get("skipped", {}), **part.get("without", {})}.items()
        )
        yield from (f"    without {what}: no time was left to prepare it" for what in part.get("late", []))
        yield from (f"    {what} failed: {part['errors'][what]['failed']}" for what in part.get("failed", []))
        untried = {model: count for model, count in part.get("untried", {}).items() if count}
        for model, count in untried.items():
            yield f"    {model}: {count} kinds of products run untried; its times are not this engine's best"
    for kind, other in state.get("stand_ins", {}).items():
        yield f"{kind}: {other['opened']} stands in ({'; '.join(other['because'])})"
