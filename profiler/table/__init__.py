"""The tables: latencies by exact key, accuracies, jitter, bucket plans, and what they predict. A leaf: no torch."""

from profiler.table.accuracy import AccuracyTable
from profiler.table.jitter import Jitter
from profiler.table.latency import LatencyTable, shipped
from profiler.table.plan import BucketPlan, Level, ShapeKey
from profiler.table.predictions import Predictions

__all__ = ["AccuracyTable", "BucketPlan", "Jitter", "LatencyTable", "Level", "Predictions", "ShapeKey", "shipped"]
