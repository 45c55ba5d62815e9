"""docs/cpu.md: how fast the CPU executor is against other engines, in ratios of one run."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from profiler.measuring import gate
from profiler.table import ShapeKey

#: How many times as fast as ONNX Runtime in float32 ours is to be at least, by way.
AIMS = {"ours": 1.4, "ours bf16": 2.0}
BASE = "onnx"


@dataclass(frozen=True)
class Row:
    """The milliseconds of one key by every way, and on how many threads."""

    threads: int
    model: str
    key: ShapeKey
    times: dict[str, float]


def page(rows: Sequence[Row], errors: dict[str, dict[str, float]], about: Sequence[str]) -> str:
    """Markdown. errors: by model and way, the distance from float64. about: lines on the machine and the run."""
    threads = sorted({row.threads for row in rows})
    names = list(dict.fromkeys(name for row in rows for name in row.times))
    text = ["# The CPU executor against other engines", "", *about, ""]
    text += [
        "Every cell is another engine's time over ours in float32: above 1 ours is faster. K students are K models, "
        "one after the other, in every engine but ours and `hf vmap`. A time runs from token arrays in hand to "
        "answers in NumPy, the shortest of interleaved rounds of one process.",
        "",
    ]
    for count in threads:
        own = [row for row in rows if row.threads == count]
        text += [f"## {_threads_of(count)}", "", *_table(own, [name for name in names if name != "ours"]), ""]
    text += ["## In the median", "", *_medians(rows, threads, names), ""]
    if len(threads) > 1:
        text += [f"## {threads[-1]} threads against {threads[0]}", "", *_threads(rows, threads), ""]
    text += ["## Answers", "", *_errors(errors, names)]
    return "\n".join(text) + "\n"


def aims(rows: Sequence[Row]) -> list[str]:
    """A line for each aim: met or missed, by the median over keys, on each number of threads."""
    lines = []
    for threads in sorted({row.threads for row in rows}):
        own = [row for row in rows if row.threads == threads]
        for name, least in AIMS.items():
            ratios = [row.times[BASE] / row.times[name] for row in own if {BASE, name} <= set(row.times)]
            if ratios:
                middle = float(np.median(ratios))
                verdict = "met" if middle >= least else "missed"
                lines.append(
                    f"ONNX Runtime (float32) / {name}, {_threads_of(threads)}: {middle:.2f}, aim {least}: {verdict}"
                )
    return lines


def _table(rows: Sequence[Row], names: Sequence[str]) -> list[str]:
    lines = _head(["model", "students", "batch", "tokens", "ours, ms", *names])
    for row in rows:
        cells = [f"{row.times[name] / row.times['ours']:.2f}" if name in row.times else "-" for name in names]
        key = [row.model, row.key.students, row.key.batch, row.key.tokens, f"{1e3 * row.times['ours']:.2f}"]
        lines.append(_line([*map(str, key), *cells]))
    return lines


def _medians(rows: Sequence[Row], threads: Sequence[int], names: Sequence[str]) -> list[str]:
    def middle(count: int, name: str, over: Callable[[Row], float]) -> str:
        ratios = [row.times[name] / over(row) for row in rows if row.threads == count and name in row.times]
        return f"{np.median(ratios):.2f}" if ratios else "-"

    lines = _head(["over ours in float32", *(name for name in names if name != "ours")])
    for count in threads:
        cells = [middle(count, name, lambda row: row.times["ours"]) for name in names if name != "ours"]
        lines.append(_line([_threads_of(count), *cells]))
    return [*lines, "", *(f"- {line}" for line in aims(rows))]


def _threads(rows: Sequence[Row], threads: Sequence[int]) -> list[str]:
    """The time on the most threads over that on the fewest, of ours."""
    few, many = ({(r.model, r.key): r.times["ours"] for r in rows if r.threads == count}
                 for count in (threads[0], threads[-1]))  # fmt: skip
    lines = _head(["model", "students", "batch", "tokens", f"time on {threads[-1]} over time on {threads[0]}"])
    for (model, key), time_s in many.items():
        cells = [model, key.students, key.batch, key.tokens, f"{time_s / few[model, key]:.2f}"]
        lines.append(_line(map(str, cells)))
    return lines


def _errors(errors: dict[str, dict[str, float]], names: Sequence[str]) -> list[str]:
    bounds = ", ".join(f"{dtype} {most:g}" for dtype, most in gate.TOLERANCE.items() if dtype != "float16")
    lines = [
        f"Relative distance from float64 over all keys of a model. Allowed: {bounds}, times the square root of half "
        "the layers. int8 has no bound of its own: its loss depends on the model, and random weights say nothing of "
        "the accuracy of trained ones.",
        "",
        *_head(["model", *names]),
    ]
    return lines + [
        _line([model, *(f"{own[name]:.1e}" if name in own else "-" for name in names)]) for model, own in errors.items()
    ]


def _threads_of(count: int) -> str:
    return f"{count} thread{'s' if count > 1 else ''}"


def _head(names: Sequence[str]) -> list[str]:
    return [_line(names), _line(["---"] * len(names))]


def _line(cells: Sequence[str] | map[str]) -> str:
    return f"| {' | '.join(cells)} |"
