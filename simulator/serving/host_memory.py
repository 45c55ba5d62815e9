"""The memory of the host for adapters: what is not there is read from the disk first."""

from __future__ import annotations

from collections import OrderedDict

from profiler.table import Adapter


class HostMemory:
    """A budget of bytes, from which the least recently used adapters make room; the disk reads one at a time.

    It begins empty. An adapter that is larger than the budget passes through.
    """

    def __init__(self, budget: int) -> None:
        self._room = budget
        self._there: OrderedDict[str, tuple[int, float]] = OrderedDict()  # bytes, and when it was read
        self._disk_free_s = 0.0
        self.bytes_read = 0

    def fetch(self, tenant: str, adapter: Adapter, now: float) -> float:
        """When the adapter is in the host's memory: now, or once it has been read."""
        if tenant in self._there:
            self._there.move_to_end(tenant)
            return max(now, self._there[tenant][1])
        self._disk_free_s = read_s = max(now, self._disk_free_s) + adapter.disk_s
        self.bytes_read += adapter.bytes
        self._there[tenant] = adapter.bytes, read_s
        self._room -= adapter.bytes
        while self._room < 0 and self._there:
            self._room += self._there.popitem(last=False)[1][0]
        return read_s
