"""Traffic: arrival processes, readers of public trace formats, transforms, statistics."""

from traces.load import NAMED, load
from traces.processes.generators import GENERATORS
from traces.readers.formats import FORMATS
from traces.scaling import scale
from traces.trace import Trace
from traces.writing import write

__all__ = ["FORMATS", "GENERATORS", "NAMED", "Trace", "load", "scale", "write"]
