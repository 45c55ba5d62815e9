"""Measure what a device takes to answer, and keep it in tables. Importing this package does not import torch.

The tables are in `profiler.table`, what runs models in `profiler.executors`, recorded answers in `profiler.answers`.
"""

__all__ = ["answers", "events", "executors", "table"]


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
