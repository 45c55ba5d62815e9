"""What the columns of a sweep are called on an axis, with their units."""

from __future__ import annotations

from typing import NamedTuple


class Quantity(NamedTuple):
    """A column's name in words, the unit it is drawn in, and the factor into it."""

    words: str
    unit: str = ""
    factor: float = 1.0

    @property
    def label(self) -> str:
        return f"{self.words} ({self.unit})" if self.unit else self.words


QUANTITIES = {
    "load": Quantity("offered load", "1 = saturation"),
    "offered_rate": Quantity("offered rate", "requests/s"),
    "rate": Quantity("offered rate", "requests/s"),
    "slo_ms": Quantity("SLO", "ms"),
    "slo_s": Quantity("SLO", "ms", 1e3),
    "gpus": Quantity("GPUs"),
    "capacity": Quantity("capacity", "requests/s"),
    "cv": Quantity("burstiness", "CV of gaps"),
    "factor": Quantity("height of the burst", "times the base rate"),
    "mean_s": Quantity("mean latency", "ms", 1e3),
    "p50_s": Quantity("p50 latency", "ms", 1e3),
    "p95_s": Quantity("p95 latency", "ms", 1e3),
    "p99_s": Quantity("p99 latency", "ms", 1e3),
    "p999_s": Quantity("p99.9 latency", "ms", 1e3),
    "max_s": Quantity("longest latency", "ms", 1e3),
    "wait_mean_s": Quantity("mean wait", "ms", 1e3),
    "attainment": Quantity("on time", "% of offered", 100),
    "goodput": Quantity("goodput", "on-time answers/s"),
    "accuracy": Quantity("accuracy", "% of answers", 100),
    "accuracy_on_time": Quantity("accuracy of on-time answers", "%", 100),
    "agreement": Quantity("as the whole model", "% of answers", 100),
    "exit_layer_mean": Quantity("mean layer of exit"),
    "accuracy_weighted_goodput": Quantity("accuracy-weighted goodput", "% of offered", 100),
    "batch_mean": Quantity("mean batch", "requests"),
    "students_mean": Quantity("mean students"),
    "padding": Quantity("padding", "% of tokens run", 100),
    "hit_rate": Quantity("adapter was resident", "% of answers", 100),
    "overlap": Quantity("loads hidden", "% of load time", 100),
    "budget_gib": Quantity("budget for adapters", "GiB per GPU"),
    "tenant_count": Quantity("tenants"),
    "utilisation": Quantity("busy", "% of GPU time", 100),
}


def quantity(name: str) -> Quantity:
    """The quantity of a column; one that is not listed stands for itself."""
    return QUANTITIES.get(name, Quantity(name))
