"""The table of layers: when each layer of a batch ends, what a ramp there adds, what it costs to let an answer out."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

from profiler.table.plan import BucketPlan, Level
from profiler.table.reading import read_rows

COLUMNS = {"model": str, "batch": int, "tokens": int, "layer": int}
COLUMNS |= {"end_us": float, "ramp_us": float, "release_us": float}


class LayerTimes(NamedTuple):
    """The layers of one batch, the first at index 0, in seconds.

    end_s: from the start of the batch to the end of the layer, without ramps. ramp_s: what a ramp there adds to all
    that follows. release_s: from the end of that ramp until an answer is out.
    """

    end_s: tuple[float, ...]
    ramp_s: tuple[float, ...]
    release_s: tuple[float, ...]


@dataclass(frozen=True, eq=False)
class LayerTable:
    """Rows of these COLUMNS, one per layer of each key that was measured, layers counted from 1.

    Raises ValueError for times that cannot be, for a layer that is missing or there twice, and where a layer does not
    end after the one before.
    """

    rows: tuple[tuple[str, int, int, int, float, float, float], ...]

    def __post_init__(self) -> None:
        for number, (*_, end_us, ramp_us, release_us) in enumerate(self.rows):
            if not (0 < end_us < 1e12 and 0 <= ramp_us < 1e12 and 0 <= release_us < 1e12):
                raise ValueError(
                    f"layer table, row {number}: end_us is {end_us} (must be positive), ramp_us {ramp_us} and "
                    f"release_us {release_us} (0 or more)"
                )
        self._times  # noqa: B018  missing layers are found here

    @cached_property
    def _times(self) -> dict[tuple[str, int, int], LayerTimes]:
        """By model, batch and tokens."""
        rows: dict[tuple[str, int, int], list[tuple[int, float, float, float]]] = {}
        for model, batch, tokens, *its in self.rows:
            rows.setdefault((model, batch, tokens), []).append(tuple(its))  # type: ignore[arg-type]
        return {key: _checked(key, sorted(own)) for key, own in rows.items()}

    @property
    def models(self) -> tuple[str, ...]:
        """In the order of the file."""
        return tuple(dict.fromkeys(row[0] for row in self.rows))

    def times(self, level: Level, batch: int, tokens: int) -> LayerTimes:
        """Those of a measured key. Raises LookupError where it was not measured, ValueError for another depth."""
        where = f"layers.csv, {level.model} at batch {batch}, {tokens} tokens"
        if (found := self._times.get((level.model, batch, tokens))) is None:
            raise LookupError(f"{where}: not there; profile its layers with python -m profiler run")
        if len(found.end_s) != level.depth:
            raise ValueError(f"{where}: {len(found.end_s)} layers, but the model has {level.depth}")
        return found

    def by_size(self, level: Level, plan: BucketPlan) -> list[list[LayerTimes]]:
        """By [kind][size], sizes from 0 (never used). Raises LookupError naming the first hole."""
        known = {key: self.times(level, key.batch, key.tokens) for key in plan.keys(level.students)}
        sizes = [1, *range(1, plan.max_batch + 1)]
        return [[known[plan.shape(level.students, kind, size)] for size in sizes] for kind in range(len(plan.tokens))]

    @classmethod
    def read(cls, path: Path) -> LayerTable:
        return cls(read_rows(path, COLUMNS))


def _checked(key: tuple[str, int, int], rows: list[tuple[int, float, float, float]]) -> LayerTimes:
    """The times of one key from its rows (layer, end, ramp, release in us), ascending by layer."""
    model, batch, tokens = key
    where = f"layer table, {model} at batch {batch}, {tokens} tokens"
    layers, ends, ramps, releases = zip(*rows, strict=True)
    if list(layers) != list(range(1, len(layers) + 1)):
        raise ValueError(f"{where}: its layers are {list(layers)}; each from 1 to the last is needed once")
    for layer, (before, after) in enumerate(pairwise(ends), 2):
        if not before < after:
            raise ValueError(f"{where}: layer {layer} ends at {after} us, not after layer {layer - 1} at {before} us")
    ends_s, ramps_s, releases_s = (tuple(us * 1e-6 for us in each) for each in (ends, ramps, releases))
    return LayerTimes(ends_s, ramps_s, releases_s)
