"""Samples as they come: every timing is on disk at once, and a run that was interrupted goes on from there."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple, TextIO

from profiler.measuring.grid import ModelKey
from profiler.table import ShapeKey
from traces.shared.atomic import make_folder, write_text
from traces.shared.documents import json_text, parse_json, read_json


class TimingSample(NamedTuple):
    """One timing. at_s: seconds of measuring since the run began, interruptions left out.

    kind: `sample`, `canary` (the same key again and again) or `idle` (after an idle gap of gap_s). The times are those
    of profiler.executors.interface.BatchResult.
    """

    at_s: float
    kind: str
    cell: ModelKey
    seconds: float
    staging_s: float
    device_s: float
    gap_s: float = 0.0


SAMPLES = "samples.csv"
COLUMNS = ("at_s", "kind", "model", "students", "batch", "tokens", "layout", "seconds", "staging_s", "device_s",
           "gap_s")  # fmt: skip


class SampleJournal:
    """A folder with `settings.json` and `samples.csv`. Opening it again continues it, if the settings are the same.

    Raises ValueError where the folder holds a run with other settings.
    """

    def __init__(self, folder: Path, settings: Mapping[str, Any]) -> None:
        make_folder(folder)
        self.folder = folder
        self.samples: list[TimingSample] = []
        _same_settings(folder, settings)
        path = folder / SAMPLES
        if path.exists():
            os.truncate(path, path.read_bytes().rfind(b"\n") + 1)  # a last line that was not written to its end
            self.samples = read_samples(folder)
        self._file: TextIO = path.open("a", newline="")
        self._writer = csv.writer(self._file)
        if not path.stat().st_size:
            self._writer.writerow(COLUMNS)

    @property
    def elapsed_s(self) -> float:
        """Seconds of measuring so far, over all sittings."""
        return self.samples[-1].at_s if self.samples else 0.0

    def add(self, sample: TimingSample) -> None:
        cell, key = sample.cell, sample.cell.key
        times = [f"{value:.9g}" for value in (sample.seconds, sample.staging_s, sample.device_s, sample.gap_s)]
        self._writer.writerow([f"{sample.at_s:.4f}", sample.kind, cell.model, *key, *times])
        self.samples.append(sample)

    def flush(self) -> None:
        """Hand what was added to the system, so that even a killed process loses nothing."""
        self._file.flush()

    def __enter__(self) -> SampleJournal:
        return self

    def __exit__(self, *raised: object) -> None:
        self._file.close()


def _same_settings(folder: Path, settings: Mapping[str, Any]) -> None:
    path = folder / "settings.json"
    wanted = parse_json(json_text(settings), "settings")
    if not path.exists():
        write_text(path, json_text(wanted, indent=1))
        return
    found = read_json(path)
    if not isinstance(found, dict):
        raise ValueError(f"{path} does not hold the settings of a run: remove the folder, or choose another --out")
    changed = sorted(name for name in found.keys() | wanted.keys() if found.get(name) != wanted.get(name))
    if changed:
        raise ValueError(
            f"{folder} holds an unfinished run with another {', '.join(changed)}: "
            f"repeat its command, or remove the folder, or choose another --out"
        )


def read_samples(folder: Path) -> list[TimingSample]:
    """The timings in a folder; a last line that was not written to its end is left out."""
    path = folder / SAMPLES
    return list(_parsed(path)) if path.exists() else []


def _parsed(path: Path) -> Iterator[TimingSample]:
    text = path.read_text()
    with io.StringIO(text[: text.rfind("\n") + 1], newline="") as file:
        for number, row in enumerate(csv.DictReader(file)):
            try:
                key = ShapeKey(int(row["students"]), int(row["batch"]), int(row["tokens"]), row["layout"])
                times = [float(row[name]) for name in ("seconds", "staging_s", "device_s", "gap_s")]
                yield TimingSample(float(row["at_s"]), row["kind"], ModelKey(row["model"], key), *times)
            except (KeyError, TypeError, ValueError):
                raise ValueError(f"{path}, row {number} is no timing: remove the folder, and measure anew") from None
