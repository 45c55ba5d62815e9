"""The serving loop on a simulated or a real clock, its report, and the command line."""

try:
    from simulator.reporting.report import Report
    from simulator.simulate import simulate
except ImportError as error:
    from traces.shared.command import refuse_hidden

    refuse_hidden(error)
    raise

__all__ = ["Report", "simulate"]
