"""The GPUs of a run as a policy scales them: new ones start, removed ones finish their batch."""

from __future__ import annotations

from heapq import heappush

from policies.interface import Scale
from profiler.events import Event
from simulator.core import MOST_GPUS, PolicyError, Records
from simulator.queue.view import ServerView

#: When; the batch, STARTED, or LOADED less the GPU (whose first load is done); where the event is None (DONE alone, or
#: started) the GPU, else the order; the event.
Due = tuple[float, int, int, Event | None]
#: In place of a batch's number.
STARTED = -1
LOADED = -2


class Fleet:
    """Which GPUs there are. A GPU is up from its start until it is removed; `records.gpus` counts those.

    idle, due: the loop's own lists of idle GPUs and of what comes. cold_start_s: until a GPU that is added serves;
    None where none can be.
    """

    def __init__(
        self,
        idle: list[int],
        due: list[Due],
        view: ServerView,
        records: Records,
        now: float,
        cold_start_s: float | None,
    ) -> None:
        self._idle, self._due, self._view, self._records = idle, due, view, records
        self._cold_start_s = cold_start_s
        self._up = set(idle)
        records.gpus.append((now, len(idle)))

    def scale(self, action: Scale, now: float) -> None:
        """Start the GPUs that are missing, or remove the highest ones, busy ones when their batch is done."""
        gpus, view = action.gpus, self._view
        if self._cold_start_s is None:
            raise PolicyError('scales, which not every run offers: declare needs = frozenset({"scale"})')
        if not (isinstance(gpus, int) and 1 <= gpus <= MOST_GPUS):
            raise PolicyError(f"scales to {gpus!r} GPUs; it must be a whole number from 1 to {MOST_GPUS:,}")
        if gpus == view.gpus:
            raise PolicyError(f"scales to the {gpus} GPUs that there are: return Wait() to do nothing")
        view.gpus = gpus
        for gpu in sorted(set(range(gpus)) - self._up):
            self._up.add(gpu)
            self._records.starting[gpu] = now + self._cold_start_s
            heappush(self._due, (now + self._cold_start_s, STARTED, gpu, None))
        for gpu in [each for each in self._idle if each >= gpus]:
            self._idle.remove(gpu)
            self._up.discard(gpu)
        self._records.gpus.append((now, len(self._up)))

    def retire(self, gpu: int, now: float) -> None:
        """Remove a GPU that was scaled away, now that its batch is done."""
        self._up.discard(gpu)
        self._records.gpus.append((now, len(self._up)))
