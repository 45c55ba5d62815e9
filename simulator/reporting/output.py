"""Write a run atomically: requests, batches, summary, and the settings to reproduce it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet
from numpy.typing import NDArray

from simulator.reporting.report import Report
from traces.shared.atomic import refuse_foreign, replacing_folder
from traces.shared.documents import json_text, read_json
from traces.shared.origin import origin
from traces.shared.sealed import seal, sealable, write_sealed

#: Rows that are expanded and written at a time; bounds the memory of a long run.
ROWS = 1 << 20
#: The file that marks a folder as one that may be replaced, and what such a folder is.
WHOSE = ("run.json", "the output of a run")
_INTEGERS = {"request": pa.int64(), "tokens": pa.int32(), "padded_tokens": pa.int32(), "batch": pa.int32(),
             "batch_size": pa.int32(), "students": pa.int32(), "gpu": pa.int32(), "exit": pa.int32()}  # fmt: skip


def save(report: Report, out: Path) -> None:
    """Write requests.parquet, batches.parquet, summary.json and run.json into the folder `out`.

    loads.parquet stands beside them where adapters are bound, answers.parquet where a device answered.
    An earlier run there is replaced; any other folder is not (ValueError). Until everything is written `out` stays as
    it was.
    """
    refuse_foreign(out, *WHOSE)
    with replacing_folder(out) as folder:
        _write_requests(report, folder / "requests.parquet")
        batches = {name: _column(name, column) for name, column in report.batch_columns.items()}
        batches["padded_tokens"] = pa.array(report.batch_columns["padded_tokens"], pa.int64())
        write_sealed(pa.table(batches), folder / "batches.parquet")
        if report.load_columns is not None:
            loads = {name: _column(name, column) for name, column in report.load_columns.items()}
            write_sealed(pa.table(loads), folder / "loads.parquet")
        if report.logits is not None:
            answers = {"request": np.arange(len(report.logits)), **_answers(report.logits)}
            write_sealed(pa.table(answers), folder / "answers.parquet")
        (folder / "summary.json").write_text(to_json(report.summary))
        (folder / "run.json").write_text(to_json({**report.run, **origin()}))


def read_run(out: Path) -> dict[str, Any]:
    """The run.json of an output folder. Raises LookupError or ValueError where there is none to run again."""
    path = out / "run.json"
    if not path.exists():
        raise LookupError(f"{out} has no run.json: it is not the output of a run")
    run = read_json(path)
    if not isinstance(run, dict) or not all(isinstance(run.get(name), dict) for name in ("settings", "table")):
        raise ValueError(f"{path} has no settings or table: only runs of the command line can be run again")
    if not isinstance(run.get("modules", {}), dict):
        raise ValueError(f"{path} has modules that cannot be: {run['modules']!r}")
    return run


def to_json(values: Any) -> str:
    """Format values as JSON: in their own order, indented, one newline at the end; null for what is not known."""
    return json_text(values, indent=2, default=str) + "\n"


def _write_requests(report: Report, path: Path) -> None:
    schema = None
    writer: Any = None
    try:
        for first in range(0, len(report.trace), ROWS):
            columns = report.request_columns(slice(first, first + ROWS))
            table = pa.table({name: _column(name, column) for name, column in columns.items()}, schema=schema)
            if writer is None:
                schema = sealable(table.schema)
                strings = [each.name for each in schema if each.type == pa.string()]
                writer = pa.parquet.ParquetWriter(path, schema, use_dictionary=strings, write_page_checksum=True)
            writer.write_table(table)
    finally:
        if writer is not None:
            writer.close()
    if writer is not None:
        seal(path)


def _answers(logits: NDArray[np.float32]) -> dict[str, pa.Array]:
    """The answered class of every request and the logits behind it; null where it was not answered."""
    missing = np.isnan(logits).any(axis=1)  # also where a model answers what is no number
    columns = {"answer": pa.array(np.nan_to_num(logits, nan=-np.inf).argmax(axis=1).astype(np.int32), mask=missing)}
    return columns | {f"logit_{i}": pa.array(column, mask=missing) for i, column in enumerate(logits.T)}


def _column(name: str, column: NDArray[Any]) -> pa.Array:
    """An Arrow column: -1 and NaN mean not served, and are null in the file."""
    if column.dtype == object:
        return pa.array(column, pa.string())
    if column.dtype.kind == "f":
        return pa.array(column, pa.float64(), mask=np.isnan(column))
    return pa.array(column, _INTEGERS.get(name, pa.int64()), mask=column < 0)
