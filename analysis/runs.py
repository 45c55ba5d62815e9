"""Written runs, read back: requests and batches, the summary, the settings."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from pandas import DataFrame, read_parquet

from traces.shared.sealed import check_seal
from traces.shared.text import count

if TYPE_CHECKING:
    from simulator.reporting.report import Report

FILES = ("requests.parquet", "batches.parquet", "summary.json", "run.json")


class Run(NamedTuple):
    """One output folder of `python -m simulator`. Nulls are NaN; columns as in DESIGN section 5."""

    name: str
    requests: DataFrame
    batches: DataFrame
    summary: dict[str, Any]
    settings: dict[str, Any]

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
        return cls(report.run["policy"], report.requests, report.batches, report.summary, dict(report.run))

    @classmethod
    def read(cls, folder: Path) -> Run:
        """Raises LookupError where the folder holds no whole run, ValueError where a file of it cannot be read."""
        missing = [name for name in FILES if not (folder / name).exists()]
        if missing:
            raise LookupError(f"{folder} is not the output of a run: it lacks {', '.join(missing)}")
        try:
            for name in FILES[:2]:
                check_seal(folder / name)
            requests, batches = (read_parquet(folder / name) for name in FILES[:2])
            summary, settings = (json.loads((folder / name).read_text()) for name in FILES[2:])
            return cls(settings["policy"], requests, batches, summary, settings)
        except (ValueError, KeyError, TypeError, OSError) as error:
            raise ValueError(f"{folder} is not the output of a run: {str(error).splitlines()[0]}") from error
