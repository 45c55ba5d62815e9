"""What every policy must do, and how it is checked."""

from simulator.conformance.check import check_policy

__all__ = ["check_policy"]
