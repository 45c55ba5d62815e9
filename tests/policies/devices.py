"""Devices that take whole seconds, to follow a policy's rules by hand."""

from __future__ import annotations

import numpy as np
from conftest import formula_table

from profiler.events import Execution
from profiler.table import AccuracyTable, LatencyTable
from simulator import simulate
from traces import Trace

SIZES = (1, 2, 4, 8, 16)


def linear(once, each):
    """Seconds of a batch: `once`, and `each` per request, times the students."""
    return lambda k, b, t: k * (once + each * b)


def run(
    spec,
    arrivals,
    *,
    seconds=lambda k, b, t: 1.0,
    slo_s=100.0,
    gpus=1,
    students=(1,),
    sizes=SIZES,
    tokens=(16,),
    lengths=9,
    own_slo=None,
    klass=None,
    accuracy=None,
    depth=2,
    executor=None,
):
    """A report of these arrivals on a table of these seconds."""
    table = formula_table(
        lambda *key: 1e6 * seconds(*key), students=students, batches=sizes, tokens=tokens, accuracy=accuracy
    )
    table.columns["depth"][:] = depth
    n = len(arrivals)
    trace = Trace(
        np.array(arrivals, float),
        np.broadcast_to(lengths, n).copy(),
        slo_s=None if own_slo is None else np.array(own_slo, float),
        klass=None if klass is None else np.array(klass, object),
    )
    return simulate(trace, spec, table, gpus=gpus, slo_s=slo_s, executor=executor)


class Takes:
    """An executor whose k-th batch takes seconds(k, its requests), whatever the table has."""

    offers: frozenset[str] = frozenset()

    def __init__(self, seconds):
        self._seconds = seconds

    def begin(self, number, gpu, level, bucket, requests, plan, now):
        return Execution(self._seconds(number, requests))


def several():
    """A teacher of 2 s per batch, students of 1 s and 0.5 s, and a 6-layer model that is slower and no better."""
    models = {"students-2x8": ((1, 0.5, 0.8), (2, 1.0, 0.85)), "teacher-6x8": ((1, 1.5, 0.85),),
              "teacher-12x8": ((1, 2.0, 0.9),)}  # fmt: skip
    parts = [
        formula_table(
            lambda k, b, t, rows=rows: next(1e6 * s for students, s, _ in rows if students == k),
            students=[k for k, _, _ in rows],
            batches=(1, 2, 4, 8),
            model=model,
        )
        for model, rows in models.items()
    ]
    columns = {name: np.concatenate([part.columns[name] for part in parts]) for name in parts[0].columns}
    accuracy = [(model, k, "toy", a) for model, rows in models.items() for k, _, a in rows]
    return LatencyTable("several", columns, {"device": "a formula", "kind": "modelled"}, AccuracyTable(tuple(accuracy)))


def batches(*arguments, **named):
    """(start, size) of every batch."""
    columns = run(*arguments, **named).batches
    return list(zip(columns["start_s"].tolist(), columns["size"].tolist(), strict=True))


def outcomes(*arguments, **named):
    """What became of each request."""
    return run(*arguments, **named).requests["outcome"].tolist()


def burst(seed, rate=3000.0, peak=10_000.0, tokens=128):
    """0.1 s of Poisson traffic, 0.06 s at the peak, 0.13 s as before: the burst of the prototype."""
    rng = np.random.default_rng(seed)
    pieces = ((0.0, 0.1, rate), (0.1, 0.16, peak), (0.16, 0.29, rate))
    times = np.concatenate([rng.uniform(start, end, rng.poisson(r * (end - start))) for start, end, r in pieces])
    return Trace(np.sort(times), np.full(len(times), tokens))


def worth(spec, seeds=range(5), slo_s=0.02, **named):
    """Accuracy-weighted goodput on the burst, on the synthetic table; the mean over these seeds."""
    reports = [simulate(burst(seed, **named), spec, "synthetic", slo_s=slo_s) for seed in seeds]
    return float(np.mean([report.summary["accuracy_weighted_goodput"] for report in reports]))
