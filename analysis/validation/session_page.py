"""What is printed of a recorded session beside its simulations: figures, where the time went, and the verdicts."""

from __future__ import annotations

from typing import Any

import numpy as np

from traces.shared.text import aligned, milliseconds, percent

#: What is printed of every run, and how.
SHOWN = {
    "attainment": "on time",
    "answered": "answered",
    "p50_s": "p50",
    "p95_s": "p95",
    "p99_s": "p99",
    "students_mean": "students",
    "batch_mean": "batch",
    "accuracy_weighted_goodput": "accuracy-weighted goodput",
}


def page(found: dict[str, Any]) -> str:
    """The comparison as an aligned table."""
    runs = [name for name in ("happened", "replayed", "table", "calibrated") if name in found]
    rows = [["", *runs]]
    for name, title in SHOWN.items():
        rows.append([title, *(_shown(name, found[run][name]) for run in runs)])
    for name in ("queue", "device"):
        own = {run: found["stretches"][run][name] for run in runs if run in found["stretches"]}
        cells = [_off(own[run], own["happened"], run) if run in own else "-" for run in runs]
        rows.append([f"mean on the {name}" if name == "device" else f"mean in the {name}", *cells])
    points = (found["table"]["attainment"] - found["happened"]["attainment"]) * 100
    lines = [
        aligned(rows),
        "",
        f"{found['requests']} requests; {found['refused']} more were refused before the queue"
        + (f", of {found['unknown']} the end is not recorded" if found["unknown"] else ""),
        f"simulated on time less what happened: {points:+.2f} points (bare table)",
        _replayed(found["replayed_same_decisions"]),
        "session: " + ("VALID" if found["valid"] else f"INVALID: {'; '.join(found['reasons'])}"),
        *_judged(found),
    ]
    return "\n".join(lines)


def _replayed(same: bool | None) -> str:
    """Whether the recorded times lead to the recorded decisions."""
    if same is None:
        return "not replayed with the recorded times: when adapters moved is in no record"
    return "replayed with the recorded times, the simulator decides " + (
        "the same, batch by batch" if same else "otherwise somewhere"
    )


def _judged(found: dict[str, Any]) -> list[str]:
    """The verdicts on the twin, beside how far the sessions themselves are apart."""
    if "verdicts" not in found:
        return []
    spread, happened = found["spread"], found["happened"]
    lines = [["twin (calibrated) against what happened", "bound", "apart", "sessions apart", ""]]
    for (what, bound, reached, word), name in zip(found["verdicts"], ("p50_s", "p99_s", "attainment"), strict=True):
        own = "-"
        if spread is not None:
            own = f"{spread[name] * 100:.2f}" if name == "attainment" else percent(spread[name] / happened[name], 1)
        lines.append([what, bound, reached, own, word.strip("*")])
    source = (
        f"its residuals are of {found['repeats']} further VALID sessions"
        if found["repeats"]
        else ("its residuals are the session's own: name further sessions of the same traffic to have others'")
    )
    return ["", aligned(lines), source]


def _shown(name: str, value: float) -> str:
    if not np.isfinite(value):
        return "-"
    if name.endswith("_s"):
        return f"{milliseconds(value)} ms"
    return f"{value:.2f}" if name.endswith("_mean") else percent(value)


def _off(seconds: float, happened: float, run: str) -> str:
    """A mean time, and by how much a simulation's is off."""
    if not np.isfinite(seconds):
        return "-"
    error = "" if run == "happened" or not happened else f" ({seconds / happened - 1:+.1%})"
    return f"{milliseconds(seconds)} ms{error}"
