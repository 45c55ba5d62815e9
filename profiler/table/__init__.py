"""The tables: latencies by key, accuracies, jitter, adapters, layers, look-up, what they predict. A leaf: no torch."""

from profiler.table.accuracy import AccuracyTable, provenance
from profiler.table.adapters import Adapter, AdapterTable
from profiler.table.deployment import LEVELS, Deployment, as_table, left_out_notes
from profiler.table.host import HOST_TIME, HostTimes
from profiler.table.jitter import Jitter
from profiler.table.latency import LatencyTable, shipped
from profiler.table.layers import LayerTable, LayerTimes
from profiler.table.lookup import LookupTable, LookupTimes
from profiler.table.plan import BucketPlan, Level, ShapeKey
from profiler.table.predictions import Predictions
from profiler.table.roles import ROLES, SINGLE, STUDENTS, TEACHER, by_role, ensemble, evaluated, technique

__all__ = [
    "HOST_TIME",
    "LEVELS",
    "ROLES",
    "SINGLE",
    "STUDENTS",
    "TEACHER",
    "AccuracyTable",
    "Adapter",
    "AdapterTable",
    "BucketPlan",
    "Deployment",
    "HostTimes",
    "Jitter",
    "LatencyTable",
    "LayerTable",
    "LayerTimes",
    "Level",
    "LookupTable",
    "LookupTimes",
    "Predictions",
    "ShapeKey",
    "as_table",
    "by_role",
    "ensemble",
    "evaluated",
    "left_out_notes",
    "provenance",
    "shipped",
    "technique",
]
