"""The tables: latencies by exact key, accuracies, jitter, bucket plans, and what they predict. A leaf: no torch."""

from profiler.table.accuracy import AccuracyTable
from profiler.table.deployment import LEVELS, Deployment, as_table, left_out_notes
from profiler.table.jitter import Jitter
from profiler.table.latency import LatencyTable, shipped
from profiler.table.plan import BucketPlan, Level, ShapeKey
from profiler.table.predictions import Predictions

__all__ = [
    "LEVELS",
    "AccuracyTable",
    "BucketPlan",
    "Deployment",
    "Jitter",
    "LatencyTable",
    "Level",
    "Predictions",
    "ShapeKey",
    "as_table",
    "left_out_notes",
    "shipped",
]
