"""What a server makes of sizes and lengths between others: steps, or a time of its own; and the rows that follow."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from profiler.blackbox.ways import Way
from profiler.servers.inference import MASK, OpenInference
from profiler.table import ShapeKey

#: The upper of two sizes must take this much longer for one between them to tell anything.
RISES = 1.15
#: A size between two others lies on a step where it takes more than this share of the rise that a line leaves.
STEP = 0.5
#: Of a batch with one long text: above this share of the way from short to long it was padded, below the other not.
PADDED, APART = 0.75, 0.35
#: By (batch, tokens): seconds.
Times = Mapping[tuple[int, int], float]


def steps(times: Times, axis: int) -> str:
    """Whether sizes along an axis (0 texts, 1 tokens) run at the next size up: `steps`, `none`, or `unknown`.

    A size between two others is compared with the straight line between them.
    """
    sizes = sorted({key[axis] for key in times})
    fixed = {key[1 - axis] for key in times}
    found = []
    for low, between, high in zip(sizes, sizes[1:], sizes[2:], strict=False):
        line = (between - low) / (high - low)
        own = [[times[(size, each) if axis == 0 else (each, size)] for size in (low, between, high)] for each in fixed]
        shares = [(mid - least) / (most - least) for least, mid, most in own if most > RISES * least]
        if shares and line <= STEP:  # a size just below the next one lies on the line and on a step alike
            found.append((float(np.median(shares)) - line) / (1 - line))
    if not found:
        return "unknown"
    return "steps" if max(found) > STEP else "none"


def mixed(way: Way, batch: int, short: int, long: int) -> str:
    """Whether a batch of one long text and short ones takes the time of long ones (`longest`) or of its own tokens.

    `none` where it takes its own, `partly` in between, `unknown` where that cannot be asked.
    """
    dialect = way.server.dialect
    if batch < 3 or long < 2 * short or (isinstance(dialect, OpenInference) and dialect.takes == "ids"
                                         and MASK not in dialect.inputs):  # fmt: skip
        return "unknown"
    lengths = [long] + [short] * (batch - 1)
    ids = [[way.server.draw(ShapeKey(1, 1, n), way.rng)[0] for n in lengths] for _ in range(7)]
    taken = []
    for each in ids:
        found = way.server.ask(each)
        taken.append(found.seconds if found.told is None else found.told.compute_s)
    ends = [way.server.ask(way.server.draw(ShapeKey(1, batch, n), way.rng)) for n in (short, long) * 7]
    spent = [each.seconds if each.told is None else each.told.compute_s for each in ends]
    low, high = float(np.median(spent[::2])), float(np.median(spent[1::2]))
    if high < RISES * low:
        return "unknown"
    own = (float(np.median(taken)) - low) / (high - low)
    apart = 1 / batch  # where the long one alone takes more
    share = (own - apart) / (1 - apart)
    return "longest" if share > PADDED else "none" if share < APART else "partly"


def filled(rows: Sequence[Mapping[str, Any]], axes: Sequence[bool]) -> list[dict[str, Any]]:
    """The rows of a table with those between the measured ones, by straight lines; `impl` says so.

    axes: whether sizes between others are added, of texts and of tokens: every whole number from the least on. Columns
    of times are those of lines; others are empty in such a row.
    """
    measured = {(row["batch"], row["tokens"]): row for row in rows}
    batches, lengths = (sorted({key[axis] for key in measured}) for axis in (0, 1))
    dense = [
        list(range(sizes[0], sizes[-1] + 1)) if fill else sizes
        for sizes, fill in zip((batches, lengths), axes, strict=True)
    ]
    timed = [name for name in ("latency_us", "wire_us") if name in rows[0]]
    between = {}
    for name in timed:
        grid = np.array([[measured[b, n][name] for n in lengths] for b in batches], float)
        along = np.array([np.interp(dense[1], lengths, line) for line in grid])
        between[name] = np.array([np.interp(dense[0], batches, line) for line in along.T]).T
    made = []
    for at, batch in enumerate(dense[0]):
        for place, tokens in enumerate(dense[1]):
            if (own := measured.get((batch, tokens))) is not None:
                made.append(dict(own))
                continue
            row = dict.fromkeys(rows[0]) | {name: rows[0][name] for name in ("model", "students", "depth", "hidden")}
            row |= {"batch": batch, "tokens": tokens, "layout": rows[0]["layout"], "impl": "interpolated"}
            row |= {name: round(float(between[name][at, place]), 1) for name in timed}
            made.append(row | {"dtype": rows[0]["dtype"]})
    return made
