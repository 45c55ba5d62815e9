"""A sequence that grows at its end and forgets its beginning, while positions stay what they were."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, overload


class Window:
    """Values by position, from `first` on. values: an empty list, array or bytearray that they are kept in.

    Raises LookupError for a position that was forgotten. Slices are of the kind that keeps the values, a bytearray's
    are bytes. A stretch that begins before `first` is cut to what is kept.
    """

    def __init__(self, values: Any) -> None:
        self.values, self.first = values, 0

    def __len__(self) -> int:
        return self.first + len(self.values)

    @overload
    def __getitem__(self, position: int) -> Any: ...
    @overload
    def __getitem__(self, position: slice) -> Any: ...
    def __getitem__(self, position: int | slice) -> Any:
        if isinstance(position, slice):
            values = self.values[self._stretch(position)]
            return bytes(values) if isinstance(values, bytearray) else values
        at = position - self.first
        if at < 0:
            raise LookupError(f"position {position} is forgotten; what is kept begins at {self.first}")
        return self.values[at]

    def __setitem__(self, position: int | slice, value: Any) -> None:
        if isinstance(position, slice):
            self.values[self._stretch(position)] = value
        elif position < self.first:
            raise LookupError(f"position {position} is forgotten; what is kept begins at {self.first}")
        else:
            self.values[position - self.first] = value

    def __reversed__(self) -> Iterator[Any]:
        return iter(reversed(self.values))

    def append(self, value: Any) -> None:
        self.values.append(value)

    def find(self, value: int, start: int, stop: int) -> int:
        """The first position in this stretch that has this value; -1 where none has."""
        found = self.values.find(value, max(0, start - self.first), max(0, stop - self.first))
        return int(found) + self.first if found >= 0 else -1

    def forget(self, until: int) -> None:
        """Forget everything before this position."""
        del self.values[: max(0, until - self.first)]
        self.first = max(self.first, until)

    def _stretch(self, position: slice) -> slice:
        start, stop, _ = position.indices(len(self))
        return slice(max(0, start - self.first), max(0, stop - self.first))
