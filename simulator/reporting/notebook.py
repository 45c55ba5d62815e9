"""A report as a notebook shows it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from traces.shared.html import Bar, bars, table
from traces.shared.text import milliseconds, number, percent

_PERCENTILES = ("p50_s", "p95_s", "p99_s")


def shown(summary: Mapping[str, Any], run: Mapping[str, Any], source: str, slo_s: float) -> str:
    """HTML: what served what, a table of the figures, and bars of the latencies with a line at the target.

    summary, run: those of a report. source: of its trace. slo_s: its target in seconds.
    """
    device = run.get("table", {}).get("device", "")
    about = [["served by", f"{run.get('model', '')} on {summary['gpus']} x {device}"], ["traffic", source]]
    figures = {
        "policy": str(run.get("policy", "")),
        "requests": f"{summary['requests']:,}",
        "on time": percent(summary["attainment"]),
        "goodput/s": number(summary["goodput"]),
        "accuracy": percent(summary["accuracy"]),
        "mean batch": number(summary["batch_mean"]),
        "mean students": number(summary["students_mean"]),
        "busy": percent(summary["utilisation"]),
    }
    said = table(["", ""], about) + table(list(figures), [list(figures.values())])
    known = [(name.removesuffix("_s"), summary[name]) for name in _PERCENTILES if summary[name] is not None]
    if not known:
        return said
    latencies = [Bar(name, seconds, f"{milliseconds(seconds)} ms") for name, seconds in known]
    mark = (slo_s, f"target {milliseconds(slo_s)} ms")
    return said + bars("Latency of the requests that were served", latencies, mark)
