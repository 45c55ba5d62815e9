"""Recorded answers for policies that stop requests early, and the expected time of a batch that some leave."""

from __future__ import annotations

from collections.abc import Sequence
from math import floor

from profiler.answers.recorded import Answers, shipped
from profiler.table import Level


def recorded_answers(
    policy: str, named: str | None, levels: Sequence[Level], axis: str = "students"
) -> tuple[str, Answers] | None:
    """The file of recorded answers and what it holds: the one named, else that shipped for a model; None without any.

    policy: its name, for errors. Raises ValueError for a file that cannot be read or is of a model that is not served.
    """
    models = tuple(dict.fromkeys(level.model for level in levels))
    if (path := shipped(models, axis) if named is None else named) is None:
        return None
    try:
        items = Answers.read(path, axis)
    except LookupError as error:  # a parameter is wrong, not the policy
        raise ValueError(f"{policy}: {error}") from None
    if (own := items.about.get("model")) not in models:
        raise ValueError(f"{path} holds the answers of {own}, but {', '.join(models)} is served")
    return path, items


def expected_seconds(row: Sequence[float], count: float) -> float:
    """Seconds of a batch whose size is `count` on average: between two sizes in proportion, below one its share."""
    low = floor(count)
    if low < 1:
        return count * row[1]
    return row[low] if low == count else row[low] + (count - low) * (row[low + 1] - row[low])
