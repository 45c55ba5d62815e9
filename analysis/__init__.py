"""Sweeps, capacity, plans, comparisons, plots: what the runs of the simulator add up to.

The functions of the command line under the same names: `analysis.sweep(...)`, `analysis.capacity(...)`. Each is loaded
when it is first asked for.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from analysis.comparison import compare as compare
    from analysis.peak import capacity as capacity
    from analysis.planning import plan as plan
    from analysis.sweeping import sweep as sweep

#: Where each name of the package's interface lies.
NAMES = {
    "compare": "analysis.comparison",
    "sweep": "analysis.sweeping",
    "capacity": "analysis.peak",
    "plan": "analysis.planning",
}


def __getattr__(name: str) -> Any:
    if name in NAMES:
        return getattr(importlib.import_module(NAMES[name]), name)
    raise AttributeError(f"module 'analysis' has no attribute {name!r}")
