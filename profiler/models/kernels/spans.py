"""Where the texts of a batch lie, for kernels: lengths or offsets that only the device knows."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor


class Spans(NamedTuple):
    """Where the texts of a batch lie in R rows of a device that learns it while it runs. All int32, on the device.

    padded: lens [B] are how many of each row's `tokens` are real. packed (`places` are there): lens [B + 1] are the
    offsets at which texts begin, and last where the filler does; tokens: the longest that a text may be; places [R]:
    each row's position in its text.
    """

    lens: Tensor
    tokens: int
    places: Tensor | None = None

    @property
    def batch(self) -> int:
        return len(self.lens) - (self.places is not None)

    def first(self, x: Tensor) -> Tensor:
        """The rows of [CLS]: [K, R, H] -> [K, B, H]."""
        students, rows, hidden = x.shape
        if self.places is None:
            return x.view(students, self.batch, self.tokens, hidden)[:, :, 0]
        return x.index_select(1, self.lens[:-1].clamp(max=rows - 1))  # a text that is not there may begin at the end
