"""What batches by residency share: a window of the oldest requests, and the idle GPU that they are for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from policies.interface import Dispatch, View
from policies.machinery.limits import batch_limit

#: The window is so many of the largest batches unless it is given.
BATCHES = 4


class Windowed:
    """Forms batches for the lowest idle GPU from the oldest requests, at the highest level.

    Subclasses are dataclasses with the fields max_batch and window: how many of the oldest requests are looked at.
    """

    max_batch: int | None
    window: int | None

    needs: ClassVar[frozenset[str]] = frozenset({"memory"})
    uses: ClassVar[frozenset[str]] = frozenset({"idle", "levels", "plan", "oldest", "tenant_of"})

    def start(self, view: View) -> None:
        self._largest = batch_limit(self.max_batch, view.plan)
        self._window = BATCHES * self._largest if self.window is None else self.window
        if self._window < 1:
            raise ValueError(f"window is {self.window} (must be at least 1)")

    def decide(self, view: View) -> Dispatch:
        gpu = view.idle[0]
        return Dispatch(self.chosen(view.oldest(self._window), gpu, view), view.levels[-1], gpu)

    def chosen(self, requests: Sequence[int], gpu: int, view: View) -> Sequence[int]:
        """The batch, of these oldest requests; the oldest of all is one of it where nothing else is said."""
        raise NotImplementedError
