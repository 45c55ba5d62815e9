"""What others leave in the folder: a session that an endpoint recorded, a study, traces as pandas writes them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet

from profiler.distill.answered import ANSWERS, Answered
from traces import Trace, write
from traces.readers.recorded import LINES, lines, name


def pandas_files(trace: Trace, folder: Path) -> None:
    """The trace as people write it from a frame: with its index, with stamps, as an array of objects."""
    frame = pd.DataFrame({"arrival_s": trace.arrival_s, "tokens": trace.tokens})
    frame.to_csv(folder / "pandas.csv")
    frame[::2].to_parquet(folder / "pandas.parquet")
    frame.to_json(folder / "pandas.json", orient="records")
    at = pd.Timestamp("2026-03-01", tz="UTC") + pd.to_timedelta(trace.arrival_s, "s")
    frame.assign(ts=at).to_parquet(folder / "stamps.parquet")


def study(folder: Path, model: str, rng: np.random.Generator) -> None:
    """The answers of a study: an ensemble of four, and its teacher."""
    label, at = rng.integers(0, 2, 40), {model: model, "teacher-2x64": "teacher-2x64"}
    answers = {each: rng.integers(0, 2, (4 if each == model else 1, 40), np.int32) for each in at}
    about = {"task": "toy", "seed": 0, "teacher": "teacher-2x64", "ensemble": model, "single": "", "runs_as": at}
    folder.mkdir()
    Answered(np.array(["held-out"] * 40, object), np.arange(40), label, answers, about).write(folder / ANSWERS)
    card = {"task": "toy", "seed": 0, "recipe": {}, "rows": {}, "device": "none", "command": "made up"}
    card |= {"data": {"toy.csv": "0"}, "split": "0", "commit": "0", "containment": {"held-out": {"in_training": 0}}}
    card |= {"per_request": [], "seconds": {}, "cpu_seconds": {}}
    (folder / "card.json").write_text(json.dumps(card))


def session(run: Path, folder: Path) -> None:
    """A run, as an endpoint would have recorded it: a complete segment, and one that still grows."""
    folder.mkdir()
    about = json.loads((run / "run.json").read_text())
    about["settings"] |= {"trace": None, "digests": {}}
    (folder / "run.json").write_text(json.dumps(about))
    requests, batches = (pd.read_parquet(run / f"{each}.parquet") for each in ("requests", "batches"))
    for number, first in ((1, 0), (2, 30)):
        own = requests[first : first + 30].assign(row=range(30), slo_s=0.02, klass="", parent="", tenant="")
        ran = batches[batches["batch"].isin(own["batch"])].assign(cycle_s=0.001, late_s=0.0)
        for kind, frame in (("arrivals", own.assign(outcome="")), ("ends", own), ("batches", ran)):
            frame[list(LINES[kind])].to_csv(folder / name(kind, number, "csv"), index=False, header=False)
    found = lines(folder, 1)
    assert found is not None
    write(found.trace, folder / name("trace", 1, "parquet"))
    for kind, table in (("outcomes", found.outcomes), ("batches", found.batches)):
        pyarrow.parquet.write_table(table, folder / name(kind, 1, "parquet"))
    for kind in LINES:
        (folder / name(kind, 1, "csv")).unlink()
