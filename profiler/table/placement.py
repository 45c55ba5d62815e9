"""One ensemble over several GPUs: its students side by side on a group that serves as one device."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from math import ceil
from typing import Any

import numpy as np

from profiler.table.latency import REQUIRED, LatencyTable
from profiler.table.plan import PACKED, Level, ShapeKey

#: How a group is written where a table is named: split:h200-modelled,gpus=4,reduce_us=8
PREFIX = "split:"
#: A group has no more GPUs than a table may have students.
MOST_GPUS = 10_000


@dataclass(frozen=True)
class Placement:
    """Where a level's students run when an ensemble is spread over the GPUs of a group.

    per_gpu: students on the GPU that has most of them. replicas: how many such sets the group has.
    """

    per_gpu: int
    replicas: int


def placement(students: int, ensemble: int, gpus: int) -> Placement:
    """Where so many of the ensemble's students run: the first GPU has the first students, the next the following.

    A pruned level occupies only the first GPUs; those that pruning frees hold the same students again, as far as they
    make up whole sets.
    """
    per_gpu = ceil(ensemble / gpus)
    occupied = ceil(students / per_gpu)
    return Placement(min(students, per_gpu), gpus // occupied)


def split(table: LatencyTable, gpus: int, reduce_s: float, model: str | None = None) -> LatencyTable:
    """The table of a group of GPUs over which the students of a model are split: modelled, since no group was measured.

    A batch takes what the slowest GPU takes for its students (looked up in the table of one GPU, exactly), and then
    reduce_s for adding up the answers, unless one GPU has them all already. GPUs that pruning frees are replicas, which
    hold the same students again, need room for them, and take their part of every batch. The ensemble is the highest
    level of the model, default the table's. A run with this table has groups for GPUs: `--gpus 2` are 2 x `gpus` of
    them; their seconds are a group's.

    Raises ValueError for fewer than 2 GPUs, more than MOST_GPUS, or a negative reduce_s, LookupError where a GPU's
    share of the students was not measured.
    """
    if not 2 <= gpus <= MOST_GPUS:
        raise ValueError(f"an ensemble is split over at least 2 GPUs, and at most {MOST_GPUS:,}, not {gpus}")
    if not 0 <= reduce_s < 1:
        raise ValueError(f"reduce_s is {reduce_s}; it must be seconds, 0 or more (and less than 1)")
    model = table.default_model() if model is None else model
    if table.layout(model) == PACKED:
        raise LookupError(f"table {table.name}: {model} is packed, and only padded models can be split over GPUs")
    levels, plan = {level.students: level for level in table.levels(model)}, table.plan(model)
    places = {students: placement(students, max(levels), gpus) for students in levels}
    missing = sorted({place.per_gpu for place in places.values()} - set(levels))
    if missing:
        raise LookupError(
            f"split over {gpus} GPUs, one of them has {missing} students of {model}, but only {sorted(levels)} were "
            f"measured: profile them, or take another number of GPUs"
        )

    def seconds(level: Level, batch: int, tokens: int) -> float:
        place = places[level.students]
        key = ShapeKey(place.per_gpu, plan.padded_batch(ceil(batch / place.replicas)), tokens)
        return table.seconds(levels[place.per_gpu], key) + (reduce_s if place.per_gpu < level.students else 0.0)

    rows = [
        (model, level.students, level.depth, level.hidden, batch, tokens, 1e6 * seconds(level, batch, tokens))
        for level, batch, tokens in product(levels.values(), plan.batches, plan.tokens)
    ]
    columns = {name: np.array(column) for name, column in zip(REQUIRED, zip(*rows, strict=True), strict=True)}
    name = f"{PREFIX}{table.name},gpus={gpus},reduce_us={1e6 * reduce_s:g}"
    return LatencyTable(name, columns, _meta(table, gpus, reduce_s), table.accuracy)


def _meta(table: LatencyTable, gpus: int, reduce_s: float) -> dict[str, Any]:
    kept = {
        name: table.meta[name] for name in ("dtype", "versions", "cold_start_s", "band", "host") if name in table.meta
    }
    return kept | {
        "device": f"{gpus} x {table.meta.get('device', 'unknown device')}, one ensemble",
        "kind": "modelled",
        "model": "the slowest GPU's students, by the table of one GPU, plus the reduce",
        "gpus_per_device": gpus,
        "reduce_us": 1e6 * reduce_s,
        "derived_from": {"table": table.name, "digest": table.digest, "kind": table.meta.get("kind", "unknown")},
    }


def from_spec(spec: str) -> LatencyTable:
    """The table of a group, as `--table` names it: split:TABLE,gpus=N,reduce_us=R.

    Raises ValueError or LookupError that say what is valid.
    """
    valid = f"write {PREFIX}TABLE,gpus=4,reduce_us=8"
    name, *parts = spec.removeprefix(PREFIX).split(",")
    given = {key: value for key, _, value in (part.partition("=") for part in parts)}
    if not name or set(given) != {"gpus", "reduce_us"} or len(parts) != len(given):
        raise ValueError(f"table {spec!r} cannot be read: {valid}")
    try:
        gpus, reduce_s = int(given["gpus"]), float(given["reduce_us"]) * 1e-6
    except ValueError:
        raise ValueError(f"table {spec!r}: gpus must be a whole number and reduce_us a number; {valid}") from None
    return split(LatencyTable.load(name), gpus, reduce_s)
