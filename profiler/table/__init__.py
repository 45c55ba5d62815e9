"""The tables: latencies by key, accuracies, jitter, adapters, bucket plans, and what they predict. No torch: a leaf."""

from profiler.table.accuracy import AccuracyTable
from profiler.table.adapters import Adapter, AdapterTable
from profiler.table.jitter import Jitter
from profiler.table.latency import LatencyTable, shipped
from profiler.table.plan import BucketPlan, Level, ShapeKey
from profiler.table.predictions import Predictions

__all__ = [
    "AccuracyTable",
    "Adapter",
    "AdapterTable",
    "BucketPlan",
    "Jitter",
    "LatencyTable",
    "Level",
    "Predictions",
    "ShapeKey",
    "shipped",
]
