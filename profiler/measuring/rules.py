"""When a measurement has seen enough. A leaf: no torch."""

from __future__ import annotations

from dataclasses import dataclass

#: Samples that every key needs before there is a table.
MINIMUM = 3


@dataclass(frozen=True)
class Rules:
    """When to stop. budget_s: seconds of measuring, over all sittings.

    minimum: samples that every key needs for a table. enough: samples after which a key is left alone. precision: so is
    a key whose 95 % confidence interval of the median is within this share of it. visit_s: seconds per visit to a key,
    as far as whole runs allow. canary_s: seconds between runs of the canary. rotations: input batches per key.
    idle_*: the gaps that are tried, how often, and the share of the budget that this may take on top of it.
    """

    budget_s: float
    minimum: int = MINIMUM
    enough: int = 200
    precision: float = 0.005
    visit_s: float = 0.02
    canary_s: float = 1.0
    rotations: int = 4
    idle_gaps_s: tuple[float, ...] = (0.0, 0.001, 0.003, 0.01, 0.03, 0.1)
    idle_repeats: int = 12
    idle_share: float = 0.05
