"""A report as a notebook shows it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from traces.shared.html import Bar, bars, table
from traces.shared.text import milliseconds, number, percent

if TYPE_CHECKING:
    from simulator.reporting.report import Report

_PERCENTILES = ("p50_s", "p95_s", "p99_s")


def shown(report: Report) -> str:
    """HTML: what served what, a table of the figures, and bars of the latencies with a line at the target."""
    its, run = report.summary, report.run
    head = [
        "policy",
        "requests",
        "on time",
        "goodput/s",
        "accuracy",
        "mean batch",
        "mean students",
        "busy",
    ]
    row = [
        str(run.get("policy", "")),
        f"{its['requests']:,}",
        percent(its["attainment"]),
        number(its["goodput"]),
        percent(its["accuracy"]),
        number(its["batch_mean"]),
        number(its["students_mean"]),
        percent(its["utilisation"]),
    ]
    device = run.get("table", {}).get("device", "")
    said = table(["", ""], [["served by", f"{run.get('model', '')} on {report.gpus} x {device}"],
                            ["traffic", report.trace.source]])  # fmt: skip
    known = [(name.removesuffix("_s"), its[name]) for name in _PERCENTILES if its[name] is not None]
    latencies = [Bar(name, seconds, f"{milliseconds(seconds)} ms") for name, seconds in known]
    mark = (report.slo_s, f"target {milliseconds(report.slo_s)} ms")
    return (
        said + table(head, [row]) + (bars("Latency of the requests that were served", latencies, mark) if known else "")
    )
