"""The table `synthetic`: a formula instead of a device, for comparing policies where the optimum is known.

`python -m profiler.modelled.synthetic` writes profiler/tables/synthetic/ again. Times are affine in batch size and
in length, so that nothing in a comparison is due to one device's peculiarities.
"""

from __future__ import annotations

from math import log2
from typing import Any

from profiler.modelled.illustrative import TASK
from profiler.table.latency import SHIPPED
from profiler.table.writing import write_table

MODEL, DEPTH, HIDDEN = "students-2x384", 2, 384
#: Accuracy by students; like the times, made up.
ACCURACY = {1: 0.955, 2: 0.975, 4: 0.99, 8: 1.0}
BATCHES = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64)
TOKENS = (16, 32, 64, 128)
META = {
    "kind": "modelled",
    "rank": 95,
    "device": "synthetic (a formula, no device)",
    "note": "latency = 600 us x (1 + 0.08 log2 students) + 0.9 us x batch x tokens x max(1, students / 4)",
    "command": "python -m profiler.modelled.synthetic",
    "accuracy": {TASK: "not measured: made up, like the times, to compare policies with each other and the optimum"},
}


def latency_us(students: int, batch: int, tokens: int) -> float:
    """A fixed part that grows slowly with the students, and work that up to four of them do side by side."""
    return 600 * (1 + 0.08 * log2(students)) + 0.9 * batch * tokens * max(1.0, students / 4)


def latency_rows() -> list[dict[str, Any]]:
    """The columns of latency.csv."""
    shape = {"depth": DEPTH, "hidden": HIDDEN}
    return [
        {"model": MODEL, "students": k, **shape, "batch": b, "tokens": t, "latency_us": round(latency_us(k, b, t), 3)}
        for k in ACCURACY
        for b in BATCHES
        for t in TOKENS
    ]


def accuracy_rows() -> list[dict[str, Any]]:
    """The columns of accuracy.csv."""
    return [{"model": MODEL, "students": k, "task": TASK, "accuracy": a} for k, a in ACCURACY.items()]


if __name__ == "__main__":
    write_table(SHIPPED / "synthetic", latency_rows(), META, accuracy=accuracy_rows(), replace=True)
