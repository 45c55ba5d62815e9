"""What a run prints: a heading, an aligned table with one line per policy, and where the rest is."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from profiler.table import HostTimes, left_out_notes, provenance
from simulator.reporting.report import Report
from traces.shared.text import aligned, count, milliseconds, number, percent

_COLUMNS: dict[str, Callable[[dict[str, Any]], str]] = {
    "p50 ms": lambda s: milliseconds(s["p50_s"]),
    "p99 ms": lambda s: milliseconds(s["p99_s"]),
    "on time": lambda s: percent(s["attainment"]),
    "accuracy": lambda s: percent(s["accuracy"]),
    "weighted": lambda s: percent(s["accuracy_weighted_goodput"]),
    "batch": lambda s: number(s["batch_mean"]),
    "students": lambda s: number(s["students_mean"]),
    "padding": lambda s: percent(s["padding"]),
    "busy": lambda s: percent(s["utilisation"]),
}
#: Beside these, where one of the summaries has this figure: where answers leave at ramps, where adapters are bound,
#: where the host's time counts, where requests have many texts.
_OF_SOME: dict[str, dict[str, Callable[[dict[str, Any]], str]]] = {
    "agreement": {"agreement": lambda s: percent(s.get("agreement"))},
    "hit_rate": {"hits": lambda s: percent(s.get("hit_rate")), "overlap": lambda s: percent(s.get("overlap"))},
    "host_busy": {"host busy": lambda s: percent(s.get("host_busy"))},
    "client_requests": {
        "client p99 ms": lambda s: milliseconds(s.get("client_p99_s")),
        "client on time": lambda s: percent(s.get("client_attainment")),
    },
}


def heading(report: Report) -> str:
    """What was served on what, in a few lines; says where the table's figures and accuracies come from."""
    summary, run = report.summary, report.run
    trace, table = run["trace"], run["table"]
    seconds = "at one instant" if summary["seconds"] is None else f"in {number(summary['seconds'])} s"
    offered = (
        ""
        if summary["load"] is None
        else (f", {number(summary['offered_rate'])}/s = load {summary['load']:.3g} on {count(report.gpus, 'device')}")
    )
    known = run["task"] is not None
    source = provenance(table["meta"], run["task"])
    task = f"accuracy: {run['task']}{f' ({source})' if source else ''}" if known else "no accuracies"
    left_out = left_out_notes(run.get("left_out", ()))
    lines = [
        f"trace   {trace['source']}",
        f"        {summary['requests']:,} requests {seconds}{offered}",
        *(f"        {note}" for note in trace["notes"]),
        f"table   {table['name']}: {run['model']} on {table['device']}",
        *(f"        {note}" for note in [table["meta"].get("band")] if note),
        *(f"        {note}" for note in left_out),
        f"        {task}",
        *(f"        {note}" for note in _vocabularies(table["meta"], run)),
        *_host(summary, run),
        f"target  {milliseconds(report.slo_s)} ms per request",
    ]
    if "live" in run:
        live = run["live"]
        lines.append(f"device  {live['device']}: warm after {live['load_s'] + live['warm_s']:.2g} s")
        lines += [f"        {note}" for note in live["notes"]]
        if "tokenizing" in live:
            p50, p99 = (f"{live['tokenizing'][name] * 1e6:.0f}" for name in ("p50_s", "p99_s"))
            lines.append(
                f"        tokenizing takes {p50} us per text (p99 {p99}), before the queue, and is not in the times"
            )
    return "\n".join(lines)


def table(summaries: Sequence[tuple[str, dict[str, Any]]], serves: Sequence[str] = ()) -> str:
    """One aligned line per policy, from its summary; serves: what each of them has, in a last column."""
    columns = dict(_COLUMNS)
    for name, own in _OF_SOME.items():
        columns |= own if any(name in summary for _, summary in summaries) else {}
    rows = [["policy", *columns]]
    rows += [[name, *(show(summary) for show in columns.values())] for name, summary in summaries]
    lines = aligned(rows).splitlines()
    last = ["serves", *serves] if serves else [""] * len(lines)
    return "\n".join(f"{line}  {what}".rstrip() for line, what in zip(lines, last, strict=True))


def shortfall(report: Report) -> str:
    """One line on what was not answered in time; empty where everything was."""
    parts = [f"{report.summary[name]:,} {name}" for name in ("late", "dropped", "rejected") if report.summary[name]]
    return ", ".join(parts)


def exits(report: Report) -> str:
    """One line on answers that left at ramps, and on what tuning took, or on why none could; else empty."""
    summary, tuning = report.summary, report.run.get("tuning")
    if report.run.get("exits") is False:
        name = report.run["table"]["name"]
        return f"no answer leaves early: table {name} has no layers.csv for these models (profiler run --ramps)"
    if "exit_layer_mean" not in summary:
        return ""
    agreement, layer = percent(summary["agreement"]), number(summary["exit_layer_mean"])
    told = f"{agreement} of answers are the whole model's; they leave after layer {layer} on average"
    if tuning is None:
        return told
    p50, p99 = milliseconds(tuning["p50_s"]), milliseconds(tuning["p99_s"])
    return f"{told}; {tuning['steps']:,} tuning steps took {p50} ms (p99 {p99}) each, here"


def verdict(report: Report) -> str:
    """VALID or INVALID with reasons, and what was seen of disturbances, for a run on a real device."""
    live = report.run["live"]["validity"]
    word = "VALID" if live["valid"] else "INVALID: " + "; ".join(live["reasons"])
    waiting = "unknown" if live["run_queue_delay"] is None else f"{live['run_queue_delay']:.3%}"
    late, late_p99, loop = (f"{live[name] * 1e6:.0f}" for name in ("late_p50_s", "late_p99_s", "overhead_p50_s"))
    return (
        f"{word}\n        canary {live['canary_drift']:+.2%}, run-queue delay {waiting}, {live['stalls']} stalls "
        f"({live['stalled']:.3%}), off speed {live['slowed']:.1%}, "
        f"begun {late} us late (p99 {late_p99}), loop {loop} us per batch"
    )


def _host(summary: Mapping[str, Any], run: Mapping[str, Any]) -> list[str]:
    """Where the host's time counts: what it takes, and how many requests it serves."""
    if "host_time" not in run:
        return []
    own = HostTimes.of(run["table"]["meta"], run["table"]["name"])
    per_token = (own.ingress_token_s + own.tokenizer_token_s) * 1e6
    taken = f"{milliseconds(own.ingress_s + own.tokenizer_s)} ms and {number(per_token)} us per token before the queue"
    most = "" if summary["host_rate"] is None else f"; at most {number(summary['host_rate'])}/s"
    found = run["table"]["meta"]["host"]
    doubts = (
        [] if found.get("valid", True) else [f"        not VALID as measured: {'; '.join(found.get('reasons', []))}"]
    )
    return [f"host    {taken}, {milliseconds(own.egress_s)} ms after the device{most}", *doubts]


def _vocabularies(meta: Mapping[str, Any], run: Mapping[str, Any]) -> list[str]:
    """A line where a model that serves has another vocabulary than the one by which the table's tokens count."""
    ratios = {model: own for model, own in (meta.get("token_ratio") or {}).items() if model in run["model"].split(",")}
    said = []
    for model, own in ratios.items():
        known = {run["task"]: own[run["task"]]} if run["task"] in own else own
        said.append(f"{model} makes {', '.join(f'{ratio:.2f} ({task})' for task, ratio in known.items())}")
    return [f"tokens: by the vocabulary of {meta['vocabulary']}; for each {'; '.join(said)}"] if said else []
