"""Plots: functions of a frame and an Axes that return the Axes, and whole figures by name in `PLOTS`.

A frame is a DataFrame: a run's `requests` or `batches` (of a Report, or `analysis.runs.Run`), or the results of a
sweep (`analysis.sweep`, `analysis.sweeps.frames.read`). `with look():` gives them the gallery's look.
"""

from analysis.plots.axes.batches import batch_sizes, gantt, padding_by_bucket
from analysis.plots.axes.capacity import goodput_against_gpus, gpus_needed, needed
from analysis.plots.axes.latency import latency_ccdf, latency_cdf
from analysis.plots.axes.maps import attainment_map
from analysis.plots.axes.rates import attainment_against_load, goodput_against_rate, knee, latency_against_load
from analysis.plots.axes.style import canvas, heading, look, origin
from analysis.plots.axes.tornado import tornado
from analysis.plots.axes.tradeoff import front, pareto
from analysis.plots.catalogue import PLOTS
from analysis.plots.drawn import drawn, write_drawn

__all__ = [
    "PLOTS", "attainment_against_load", "attainment_map", "batch_sizes", "canvas", "drawn", "front", "gantt",
    "goodput_against_gpus", "goodput_against_rate", "gpus_needed", "heading", "knee", "latency_against_load",
    "latency_ccdf", "latency_cdf", "look", "needed", "origin", "padding_by_bucket", "pareto", "tornado", "write_drawn",
]  # fmt: skip
