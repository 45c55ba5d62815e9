"""The files of a validation: JSON without NaN, written at once and whole, and the batches of a run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from simulator.reporting.report import Report
from traces.shared.atomic import replacing, write_text


def write(path: Path, values: Any) -> None:
    """Write plain values; null stands for what is not known."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_text(path, json.dumps(_known(values), indent=1, allow_nan=False) + "\n")


def read(path: Path) -> Any:
    """What `write` wrote, with NaN for what was not known."""
    return _numbers(json.loads(path.read_text()))


def keep_batches(path: Path, run: Report) -> None:
    """The batches of a run, small: with its seed they lead the simulator to the very same run."""
    import pyarrow as pa
    import pyarrow.parquet

    path.parent.mkdir(parents=True, exist_ok=True)
    columns = {name: run.batch_columns[name] for name in ("service_s", "cycle_s")}
    columns |= {name: run.batch_columns[name].astype(np.int16) for name in ("size", "students")}
    with replacing(path) as part:
        pa.parquet.write_table(pa.table(columns), part, compression="zstd")


def _known(values: Any) -> Any:
    if isinstance(values, dict):
        return {name: _known(value) for name, value in values.items()}
    if isinstance(values, (list, tuple)):
        return [_known(value) for value in values]
    return None if isinstance(values, float) and not np.isfinite(values) else values


def _numbers(values: Any) -> Any:
    if isinstance(values, dict):
        return {name: _numbers(value) for name, value in values.items()}
    if isinstance(values, list):
        return [_numbers(value) for value in values]
    return float("nan") if values is None else values
