"""Sweeps, capacity, plans, comparisons, plots: what the runs of the simulator add up to.

The functions of the command line under the same names: `analysis.sweep(...)`, `analysis.capacity(...)`. Each is loaded
when it is first asked for.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from analysis.comparisons.comparison import compare as compare
    from analysis.comparisons.several import compare_each as compare_each
    from analysis.plans.capacity import capacity as capacity
    from analysis.plans.crossover import crossover as crossover
    from analysis.plans.planning import plan as plan
    from analysis.plans.tenants import tenants_that_fit as tenants_that_fit
    from analysis.sweeps.sweeping import sweep as sweep

#: Where each name of the package's interface lies.
NAMES = {
    "compare": "analysis.comparisons.comparison",
    "compare_each": "analysis.comparisons.several",
    "sweep": "analysis.sweeps.sweeping",
    "capacity": "analysis.plans.capacity",
    "plan": "analysis.plans.planning",
    "crossover": "analysis.plans.crossover",
    "tenants_that_fit": "analysis.plans.tenants",
}


__all__ = sorted(NAMES)


def __dir__() -> list[str]:
    return sorted({*globals(), *NAMES})


def __getattr__(name: str) -> Any:
    if name in NAMES:
        return getattr(importlib.import_module(NAMES[name]), name)
    raise AttributeError(f"module 'analysis' has no attribute {name!r}")
