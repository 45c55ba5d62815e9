"""Which shapes of a grid a server runs as one batch; the others are named, with the server's own words."""

from __future__ import annotations

from collections.abc import Sequence

from profiler.blackbox.ways import Way
from profiler.servers.client import ServerRefused


def reach(way: Way, batches: Sequence[int], tokens: Sequence[int]) -> tuple[list[int], list[int], dict[str, str]]:
    """The sizes and lengths that can be measured, and why others cannot, by what they are.

    Every length is tried alone, every size at the shortest length, and the largest size at the longest, which a limit
    on all tokens may refuse. Raises LookupError where nothing is left.
    """
    skipped: dict[str, str] = {}

    def runs(batch: int, length: int, what: str) -> bool:
        try:
            way.time(batch, length)
        except (ServerRefused, ArithmeticError) as error:
            skipped[what] = str(error)
            return False
        return True

    lengths = [each for each in tokens if runs(1, each, f"{each} tokens")]
    if not lengths:
        raise LookupError(f"the server runs no text of {', '.join(map(str, tokens))} tokens: {skipped.popitem()[1]}")
    sizes = [1] if batches[0] == 1 else []
    sizes += [each for each in batches if each > 1 and runs(each, lengths[0], f"{each} texts")]
    while len(sizes) > 1 and not runs(sizes[-1], lengths[-1], f"{sizes[-1]} texts of {lengths[-1]} tokens"):
        sizes.pop()
    if not sizes:
        raise LookupError(f"the server runs no request of {', '.join(map(str, batches))} texts")
    return sizes, lengths, skipped
