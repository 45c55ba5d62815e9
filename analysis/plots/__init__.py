"""Plots: functions of a frame and an Axes that return the Axes, and whole figures by name in `PLOTS`.

A frame is a dict of NumPy columns: a run's `requests` or `batches` (of a Report, or `analysis.runs.Run`), or the
results of a sweep (`analysis.sweep`, `analysis.columns.read`). `with look():` gives them the gallery's look.
"""

from analysis.plots.batches import batch_sizes, gantt, padding_by_bucket
from analysis.plots.capacity import goodput_against_gpus, gpus_needed, needed
from analysis.plots.catalogue import PLOTS
from analysis.plots.drawn import drawn, write_drawn
from analysis.plots.latency import latency_ccdf, latency_cdf
from analysis.plots.maps import attainment_map
from analysis.plots.rates import attainment_against_load, goodput_against_rate, knee, latency_against_load
from analysis.plots.style import canvas, heading, look, origin
from analysis.plots.tornado import tornado
from analysis.plots.tradeoff import front, pareto

__all__ = [
    "PLOTS", "attainment_against_load", "attainment_map", "batch_sizes", "canvas", "drawn", "front", "gantt",
    "goodput_against_gpus", "goodput_against_rate", "gpus_needed", "heading", "knee", "latency_against_load",
    "latency_ccdf", "latency_cdf", "look", "needed", "origin", "padding_by_bucket", "pareto", "tornado", "write_drawn",
]  # fmt: skip
