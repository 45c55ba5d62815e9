"""The serving loop on a simulated or a real clock, its report, and the command line."""

from simulator.reporting.report import Report
from simulator.simulate import simulate

__all__ = ["Report", "simulate"]
