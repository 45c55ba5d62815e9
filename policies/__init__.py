"""Batching, pruning, admission: pure decisions. `POLICIES` names them; `make` builds one from a spec."""

from policies.catalogue import POLICIES, RESIDENCY
from policies.interface import (
    Action,
    Completion,
    Dispatch,
    Drop,
    Evict,
    Final,
    Line,
    Load,
    Loaded,
    Planned,
    Policy,
    Preempt,
    Release,
    Scale,
    View,
    Wait,
)
from policies.registry import describe, make, needs

__all__ = [
    "POLICIES",
    "RESIDENCY",
    "Action",
    "Completion",
    "Dispatch",
    "Drop",
    "Evict",
    "Final",
    "Line",
    "Load",
    "Loaded",
    "Planned",
    "Policy",
    "Preempt",
    "Release",
    "Scale",
    "View",
    "Wait",
    "describe",
    "make",
    "needs",
]
