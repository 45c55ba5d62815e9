"""Comparisons on several traces and loads: each as `compare` makes it, and their rows in one frame."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import product
from typing import Any, NamedTuple

from pandas import DataFrame, concat

from analysis.comparisons.comparison import Comparison, compare
from analysis.sweeps.grid import axis


class Compared(NamedTuple):
    """A comparison, and the load that was asked for; None where a rate was, or neither."""

    load: float | None
    comparison: Comparison


def compare_each(
    policies: str | Sequence[str],
    *,
    trace: Any = None,
    rate: Any = None,
    load: Any = None,
    on_progress: Callable[[int, int], None] | None = None,
    **how: Any,
) -> list[Compared]:
    """A comparison for every combination of traces and of rates or loads, the loads fastest.

        compare_each("adaptive;greedy", trace=["poisson:duration=5", "mmpp:duration=5"], load=[0.5, 0.9], slo_ms=60)

    trace, rate, load: values as of a sweep's axis (`analysis.sweeps.grid`). how: as of `compare`. Raises ValueError or
    LookupError for bad input.
    """
    if rate is not None and load is not None:
        raise ValueError("rate and load both set the rate: give one of them")
    traces = [None] if trace is None else axis("trace", trace)
    name, given = ("load", load) if rate is None else ("rate", rate)
    rates = [None] if given is None else axis(name, given)
    places = list(product(traces, rates))
    found = []
    for number, (source, value) in enumerate(places):

        def told(done: int, all_: int, before: int = number) -> None:
            if on_progress is not None:
                on_progress(before * all_ + done, len(places) * all_)

        compared = compare(policies, trace=source, on_progress=told, **{name: value}, **how)
        found.append(Compared(value if name == "load" else None, compared))
    return found


def together(found: Sequence[Compared]) -> DataFrame:
    """The standings of all, one after another; `load` is a column where loads were asked for."""
    frames = [each.comparison.standings.assign(**({} if each.load is None else {"load": each.load})) for each in found]
    return frames[0] if len(frames) == 1 else concat(frames, ignore_index=True)
