"""No batching: the oldest request alone, at the highest level. Textbook; M/D/1 on one GPU and one length."""

from __future__ import annotations

from dataclasses import dataclass

from policies.interface import Dispatch, View


@dataclass
class NoBatching:
    """The oldest request, batch 1, at once."""

    uses = frozenset({"levels", "oldest"})

    def decide(self, view: View) -> Dispatch:
        return Dispatch(view.oldest(1), view.levels[-1])
