"""Cells of the study of early exits: teacher, stream of texts, load, seed and policy; what a run of it shows."""

from __future__ import annotations

import atexit
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import product
from os import getpid
from pathlib import Path
from tempfile import gettempdir
from time import process_time
from typing import Any
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from profiler.answers.recorded import Answers
from profiler.answers.streams import stream
from profiler.answers.together import concatenated
from profiler.table import Deployment, LatencyTable
from simulator import simulate
from simulator.core import LONGEST_SLO_S
from simulator.defaults import default_slo_s
from simulator.reporting.report import Report
from traces import Trace

#: What is compared, each around the policy that forms the batches; the first lets no answer leave.
PLAIN = "plain"
POLICIES = {
    PLAIN: "{around}",
    "static": "static({around}{more})",
    "static, result": "static({around}, mode='result'{more})",
    "static, one threshold": "static({around}, uniform=True{more})",
    "patience": "patience({around}{more})",
    "apparate_released": "apparate_released({around}{more})",
    "apparate": "apparate({around}{more})",
    "certain": "certain({around}{more})",
    "certain, result": "certain({around}, mode='result'{more})",
    "certain, truncate": "certain({around}, mode='truncate'{more})",
    "oracle_static": "oracle_static({around}{more})",
    "oracle_agree": "oracle_agree({around}{more})",
}
#: Requests of a rolling window.
WINDOW = 2000


@dataclass(frozen=True)
class Cell:
    """answers: the files of recorded answers, of one model. burst: the load of the middle third, if another.

    around: the policy that forms the batches.
    """

    answers: tuple[str, ...]
    kind: str
    load: float
    seed: int
    policy: str
    requests: int
    table: str
    around: str = "buckets(greedy)"
    legacy: bool = False
    burst: float | None = None
    more: str = ""

    @property
    def model(self) -> str:
        return read(self.answers).about["model"]

    @property
    def spec(self) -> str:
        """The policy, told which answers are recorded."""
        named = f", items={joined(self.answers)!r}{self.more}"
        return POLICIES[self.policy].format(around=self.around, more=named)


@cache
def read(answers: tuple[str, ...]) -> Answers:
    """The recorded answers of some files as one."""
    return Answers.read(joined(answers), "layers")


@cache
def joined(answers: tuple[str, ...]) -> str:
    """A file with the rows of all of these, one after the other: itself where there is one."""
    if len(answers) == 1:
        return answers[0]
    out = Path(gettempdir()) / f"cohort-exits-{getpid()}-{crc32(repr(answers).encode())}.parquet"
    atexit.register(out.unlink, missing_ok=True)
    concatenated([Answers.read(path, "layers") for path in answers]).write(out)
    return str(out)


@cache
def deployment(table: str, model: str) -> Deployment:
    return Deployment.of(LatencyTable.load(table), model)


def trace(cell: Cell) -> Trace:
    """Poisson arrivals at a share of the capacity, in the order of the stream."""
    own = deployment(cell.table, cell.model)
    rows, tokens = texts(cell.answers, cell.kind, cell.requests, cell.seed, own.predictions.plan.max_tokens)
    full = capacity(cell.answers, cell.kind, cell.requests, cell.table, cell.around)
    rate = np.full(cell.requests, cell.load * full)
    if cell.burst is not None:
        rate[in_burst(cell)] = cell.burst * full
    gaps = np.random.default_rng([cell.seed, 22]).exponential(1.0, cell.requests) / rate
    return Trace(gaps.cumsum(), tokens, item=rows)


@cache
def texts(
    answers: tuple[str, ...], kind: str, requests: int, seed: int, most: int
) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
    """The recorded row of every request of a stream, and its tokens."""
    items = read(answers)
    rows = stream(items, kind, requests, seed=seed)
    return rows, np.minimum(items.tokens[rows], most).astype(np.int32)


@cache
def capacity(answers: tuple[str, ...], kind: str, requests: int, table: str, around: str) -> float:
    """Requests per second that plain batches serve where all of them wait from the start: a load of 1."""
    own = deployment(table, read(answers).about["model"])
    rows, tokens = texts(answers, kind, requests, 0, own.predictions.plan.max_tokens)
    waiting = Trace(np.zeros(requests), tokens, item=rows)
    report = simulate(waiting, around, own, slo_s=LONGEST_SLO_S)
    return requests / float(report.batch_columns["finish_s"].max())


def in_burst(cell: Cell) -> slice:
    """The requests of the burst: the middle third."""
    return slice(cell.requests // 3, 2 * cell.requests // 3)


def simulated(cell: Cell) -> Report:
    """The run of a cell. The target is five times the time of one text, as everywhere."""
    own, arrivals = deployment(cell.table, cell.model), trace(cell)
    slo_s = default_slo_s(own.predictions, arrivals.tokens)
    return simulate(arrivals, cell.spec, own, slo_s=slo_s, legacy_accounting=cell.legacy and cell.policy != PLAIN)


def figures(cell: Cell) -> dict[str, Any]:
    """What a run shows: shares, and seconds of answers."""
    began, items = process_time(), read(cell.answers)
    report = simulated(cell)
    spent = process_time() - began
    columns = report.request_columns()
    latency = columns["finish_s"] - columns["arrival_s"]
    agrees = columns.get("agrees", np.ones(cell.requests))
    own = dict(
        zip(("p25_s", "p50_s", "p75_s", "p99_s"), np.percentile(latency, (25, 50, 75, 99)).tolist(), strict=True)
    )
    part = in_burst(cell)
    on_time = columns["outcome"] == "ok"
    return {
        **{
            name: getattr(cell, name) for name in ("model", "kind", "load", "seed", "policy", "legacy", "burst", "more")
        },
        "texts": "+".join(Path(path).stem for path in cell.answers),
        "requests": cell.requests,
        "agreement": float(agrees.mean()),
        "errors": int((agrees == 0).sum()),
        "worst": float(rolling(agrees).min()),
        "label_accuracy": float(np.nanmean(columns.get("correct", items.teacher_correct[report.trace.item]))),
        "saving": saving(cell, report),
        "exit_layer": report.summary.get("exit_layer_mean"),
        "mean_s": float(latency.mean()),
        **own,
        "attainment": report.summary["attainment"],
        "on_time_burst": float(on_time[part].mean()),
        "agreement_burst": float(agrees[part].mean()),
        "tune_p99_s": report.run.get("tuning", {}).get("p99_s"),
        "tune_total_s": report.run.get("tuning", {}).get("total_s"),
        "seconds": report.summary["seconds"],
        "cpu_s": spent,
    }


def saving(cell: Cell, report: Report) -> float:
    """The mean share of a whole batch's time, without ramps, by which an answer came before that time was over."""
    service = deployment(cell.table, cell.model).predictions.service
    whole = np.array([service[level.index][kind][len(its)] for _, _, _, level, kind, its in report.records.batches])
    columns = report.request_columns()
    took = columns["finish_s"] - columns["start_s"]
    return float(1 - (took / whole[columns["batch"]]).mean())


def rolling(agrees: NDArray[np.float64]) -> NDArray[np.float64]:
    """The share in every window of WINDOW requests in a row."""
    total = np.append(0.0, agrees.cumsum())
    size = min(WINDOW, len(agrees))
    return np.asarray((total[size:] - total[:-size]) / size)


def grid(
    teachers: Sequence[tuple[str, ...]],
    kinds: Sequence[str],
    loads: Sequence[float],
    seeds: int,
    requests: int,
    table: str,
    around: str,
) -> Iterator[Cell]:
    """Every policy in every cell."""
    for answers, kind, load, seed, policy in product(teachers, kinds, loads, range(seeds), POLICIES):
        yield Cell(answers, kind, load, seed, policy, requests, table, around)
