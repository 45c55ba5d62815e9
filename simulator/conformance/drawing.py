"""Random policies by name, with random parameters that are valid, wrappers around others among them."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import numpy as np

from policies import POLICIES, RESIDENCY
from policies.registry import fields_of
from simulator.conformance.cases import CLASSES

#: A policy that needs memory, and the wrappers that it may stand in.
ON_DEMAND = "simulator.conformance.on_demand:OnDemand"
AROUND_ON_DEMAND = {"admission", "predicted", "codel", "tokenbucket", "router"}
#: Wrappers that show what they wrap a part of the queue, and those that add and remove GPUs.
SPLIT, SCALE = {"buckets", "strict", "weighted", "gaps", "router"}, {"autoscale", "hpa", "tail"}
#: Wrappers that let answers leave at ramps, and what they cannot be around.
EXITS = {"static", "patience", "apparate_released", "apparate", "certain", "oracle_agree", "oracle_static"}
NO_EXITS = EXITS | {"lazybatching", "shepherd", "deferral"}
#: What parameters are drawn from, by name, or by policy and name; those that are not here keep their defaults.
VALUES: dict[str, tuple[Any, ...]] = {
    "max_batch": (None, 1, 3, 16),
    "triton.max_batch": (None, 8, 16),
    "timeout.max_batch": (1, 4, 16),
    "timeout_s": (0.0, 0.0005, 0.002, 0.01),
    "preferred": ((), (4,), (4, 8)),
    "delay_s": (0.0, 0.001, 0.01),
    "target_s": (0.001, 0.005, 0.02),
    "step": (1, 3),
    "backoff": (0.5, 0.9),
    "drop": ("none", "hopeless"),
    "slackfit.drop": (False, True),
    "window": (1.0, 4.0, 8.0),
    "max_waiting": (None, 1, 6, 50),
    "hopeless": (True, False),
    "full": (False, True),
    "interval_s": (0.002, 0.01, 0.1),
    "rate": (None, 500.0, 5000.0),
    "burst": (None, 1.0, 8.0),
    "classes": ((), CLASSES),
    "slackfit.classes": (1, 4, 16),
    "weights": ((3.0, 2.0, 1.0),),
    "losses": ((0.0, 0.05, 0.3),),
    "edges": ((), (64,), (20, 40)),
    "rule": ("shortest", "round-robin", "two-choices", "least-backlog"),
    "seed": (0, 1, 2),
    "penalty": (0.0, 0.03, 1.0),
    "interval": (0.25, 1.0),
    "steps": (2, 8),
    "patience": (0.5, 0.9),
    "target": (0.5, 0.8, 4.0),
    "look_back_s": (0.002, 0.02),
    "up_delay_s": (0.0, 0.002),
    "down_delay_s": (0.0, 0.01),
    "most": (1, 3, 5),
    "spare": (0, 1),
    "window_s": (0.005, 1.0),
    "lazy": (False, True),
    "history": (1, 10),
    "margin_s": (0.0, 0.002),
    "choice": ("slack", "batch", "accuracy"),
    "share": (0.5, 0.92),
    "deviations": (0.0, 3.0),
    "samples": (1, 5),
    "max_latency_s": (None, 0.01),
    "tick_s": (0.0, 0.001),
    "skipped": (0, 2),
    "refresh_s": (0.0, 0.01),
    "period_s": (0.002, 1.0),
    "weight": (0.3, 0.7),
    "votes": (1, 3),
    "loss": (0.0, 0.02, 0.3),
    "ratio": (1.5, 3.03),
    "preempt": (True, False),
    "conservative": (True, False),
    "flips": (0.0, 0.01, 0.2),
    "looks": (0, 1, 2),
    "ranges": (1, 10),
    "stages": (1, 3),
    "alpha": (0.0, 8.0),
    "certainty": (0.3, 0.8, 1.0),
    "by": ("margin", "votes"),
    **{f"{name}.target": (0.002, 0.05) for name in EXITS},
    "certain.window": (1024,),
}


def random_spec(
    rng: np.random.Generator, students: Collection[int], wrappers: int = 3, around: frozenset[str] = frozenset()
) -> str:
    """A policy of all that there are, in up to so many wrappers. students: of the levels that there will be."""
    names = [name for name in (*POLICIES, ON_DEMAND) if name not in RESIDENCY and _fits(name, wrappers, around)]
    name = names[rng.integers(len(names))]
    inner: list[str] = []
    values: dict[str, Any] = {}
    for key in fields_of(POLICIES[name]) if name in POLICIES else ("max_batch",):
        choices = VALUES.get(f"{name}.{key}", VALUES.get(key, ()))
        if key == "inner":
            inner = [random_spec(rng, students, wrappers - 1, around | {name})]
        elif key == "students":
            choices = (*students,) if name == "deferral" else (None, *students)
        elif (key == "classes" and name != "slackfit" and around & SPLIT) or (
            key in ("weights", "losses") and not values.get("classes")
        ):
            choices = ((),)
        if choices:
            values[key] = choices[rng.integers(len(choices))]
    return f"{name}({', '.join([*inner, *(f'{key}={value!r}' for key, value in values.items())])})"


def _fits(name: str, wrappers: int, around: frozenset[str]) -> bool:
    """Whether a policy may stand in these."""
    if name == ON_DEMAND:
        return around <= AROUND_ON_DEMAND
    if name in ("optimum", "oracle_agree", "oracle_static"):
        return not around
    if name in NO_EXITS and around & EXITS:
        return False
    if name in ("lazybatching", "shepherd"):
        return "margin" not in around
    if name in SCALE | {"router"} and around & (SPLIT if name == "router" else SPLIT | SCALE):
        return False
    return wrappers > 0 or "inner" not in fields_of(POLICIES[name])
