"""Traffic: arrival processes, readers of public trace formats, transforms, statistics."""

from traces.trace import Trace

__all__ = ["Trace"]
