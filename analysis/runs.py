"""Written runs, read back: requests and batches, the summary, the settings."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, NotRequired

import pyarrow as pa
from pandas import DataFrame
from pydantic import ConfigDict, with_config
from typing_extensions import TypedDict

from analysis.columns import refuse_columns
from analysis.sweeps.frames import read_parquet
from traces.shared.documents import checked, read_json
from traces.shared.text import count

if TYPE_CHECKING:
    from simulator.reporting.report import Report

FILES = ("requests.parquet", "batches.parquet", "summary.json", "run.json")
#: Beside them, where adapters are bound.
LOADS = "loads.parquet"
#: Files may say more than what readers take for granted.
_OPEN = ConfigDict(extra="allow")

#: Columns that readers take for granted, and whether they may have gaps.
_TIMES = {"request": False, "arrival_s": False, "start_s": True, "finish_s": True, "tokens": False}
_REQUESTS = _TIMES | dict.fromkeys(("padded_tokens", "batch", "batch_size", "students", "gpu"), True)
_LOADS = ("gpu", "start_s", "finish_s", "seconds")
_WHOLE = ("batch", "gpu", "start_s", "finish_s", "size", "students", "tokens_max", "padded_tokens", "service_s")


@with_config(_OPEN)
class _Source(TypedDict):
    source: str
    notes: list[str]


@with_config(_OPEN)
class _Table(TypedDict):
    name: str
    device: str
    digest: str
    meta: dict[str, Any]


@with_config(_OPEN)
class _Verdict(TypedDict):
    valid: bool
    reasons: list[str]


@with_config(_OPEN)
class _Live(TypedDict):
    device: str
    validity: _Verdict


@with_config(_OPEN)
class _Settings(TypedDict):
    """What readers take for granted of run.json."""

    policy: str
    model: str
    seed: int
    trace: _Source
    table: _Table
    task: NotRequired[str | None]
    live: NotRequired[_Live]


@with_config(_OPEN)
class _Summary(TypedDict):
    """What readers take for granted of summary.json."""

    requests: int
    ok: int
    late: int
    dropped: int
    rejected: int
    batches: int
    gpus: int
    seconds: float
    slo_s: float
    saturation: float
    attainment: float
    load: float | None
    offered_rate: float | None
    p50_s: float | None
    p95_s: float | None
    p99_s: float | None
    goodput: float | None
    accuracy: float | None
    accuracy_weighted_goodput: float | None
    batch_mean: float | None
    students_mean: float | None
    padding: float | None
    utilisation: float | None


class Run(NamedTuple):
    """One output folder of `python -m simulator`. Nulls are NaN; columns as in DESIGN section 5.

    loads: of adapters, where they are bound.
    """

    name: str
    requests: DataFrame
    batches: DataFrame
    summary: dict[str, Any]
    settings: dict[str, Any]
    loads: DataFrame | None = None

    @property
    def setup(self) -> str:
        """What served: the model, the device, how many; "(modelled)" where a table's device was not measured.

        A live run says so, and INVALID where its verdict is that.
        """
        gpus, live = self.summary["gpus"], self.settings.get("live")
        many = count(gpus, "device")
        if live is None:
            return f"{self.settings['model']} on {self.settings['table']['device']}, {many}"
        word = "live" if live["validity"]["valid"] else "live (INVALID)"
        return f"{self.settings['model']} {word} on {live['device']}, {many}"

    @property
    def slo_s(self) -> float:
        return float(self.summary["slo_s"])

    @classmethod
    def of(cls, report: Report) -> Run:
        """A run that was not written: what `simulate` returned."""
        loads = None if report.load_columns is None else DataFrame(report.load_columns)
        return cls(report.run["policy"], report.requests, report.batches, report.summary, dict(report.run), loads)

    @classmethod
    def read(cls, folder: Path) -> Run:
        """Raises LookupError where the folder holds no whole run, ValueError where a file of it cannot be read."""
        missing = [name for name in FILES if not (folder / name).exists()]
        if missing:
            raise LookupError(f"{folder} is not the output of a run: it lacks {', '.join(missing)}")
        try:
            requests, batches = (read_parquet(folder / name) for name in FILES[:2])
            refuse_columns(requests, _REQUESTS, {"model": True, "outcome": False}, FILES[0])
            refuse_columns(batches, dict.fromkeys(_WHOLE, False), {"model": False}, FILES[1])
            loads = read_parquet(folder / LOADS) if (folder / LOADS).exists() else None
            if loads is not None:
                refuse_columns(loads, dict.fromkeys(_LOADS, False), {"tenant": False}, LOADS)
            summary = dict(checked(_Summary, read_json(folder / FILES[2]), FILES[2]))
            settings = dict(checked(_Settings, read_json(folder / FILES[3]), FILES[3]))
            for found, name, table in ((requests, "requests", FILES[0]), (batches, "batches", FILES[1])):
                if len(found) != summary[name] or not len(requests):
                    raise ValueError(f"{table} has {count(len(found), 'row')}, {FILES[2]} says {summary[name]}")
            return cls(str(settings["policy"]), requests, batches, summary, settings, loads)
        except (ValueError, OSError, pa.ArrowException) as error:
            raise ValueError(f"{folder} is not the output of a run: {str(error).splitlines()[0]}") from error
