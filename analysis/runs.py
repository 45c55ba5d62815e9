"""Written runs, read back: the columns of requests and batches, the summary, the settings."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet
from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class Run:
    """One output folder of `python -m simulator`. Nulls are NaN; columns as in DESIGN section 5."""

    name: str
    requests: dict[str, NDArray[Any]]
    batches: dict[str, NDArray[Any]]
    summary: dict[str, Any]
    settings: dict[str, Any]

    @property
    def device(self) -> str:
        """What was measured, with "(modelled)" where it was not."""
        return str(self.settings["table"]["device"])

    @classmethod
    def read(cls, folder: Path) -> Run:
        """Raises LookupError where the folder holds no whole run."""
        missing = [name for name in ("requests.parquet", "batches.parquet", "summary.json", "run.json")
                   if not (folder / name).exists()]  # fmt: skip
        if missing:
            raise LookupError(f"{folder} is not the output of a run: it lacks {', '.join(missing)}")
        run = json.loads((folder / "run.json").read_text())
        return cls(
            run["policy"],
            _columns(folder / "requests.parquet"),
            _columns(folder / "batches.parquet"),
            json.loads((folder / "summary.json").read_text()),
            run,
        )


def _columns(path: Path) -> dict[str, NDArray[Any]]:
    table = pyarrow.parquet.read_table(path)
    return {name: np.asarray(table[name].to_numpy(zero_copy_only=False)) for name in table.column_names}
