"""A sweep: every cell of a grid, those that are known from the store, the others run."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from pandas import DataFrame

from analysis.sweeps.backends import Pool
from analysis.sweeps.cells import Cell, Row, batches, run, run_here, with_targets
from analysis.sweeps.frames import frame
from analysis.sweeps.grid import grid
from analysis.sweeps.origin import Keys, code_digest
from analysis.sweeps.store import Store
from analysis.sweeps.varied import varied
from simulator.settings import Settings

#: Told how many cells (plans, commands) are done, and how many there are.
Progress = Callable[[int, int], None]
#: Cells of a task at most: enough to share a trace, few enough that little is lost with a worker.
TASK = 8


class Laboratory:
    """Runs cells and keeps their rows. A context manager: what it opens (workers, clusters) it closes.

    The arguments are those of `sweep`.
    """

    def __init__(
        self,
        jobs: int = 1,
        backend: str = "loky",
        address: str | None = None,
        store: str | os.PathLike[str] | None = None,
        on_progress: Progress | None = None,
    ) -> None:
        self._pool, self._store = Pool(jobs, backend, address), Store(None if store is None else Path(store))
        self._keys, self._on_progress = Keys(), on_progress
        self.ran = self.found = 0  # cells that were simulated, and that the store had
        self._done, self._expected = 0, 0

    def __enter__(self) -> Laboratory:
        self._pool.__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        self._store.join()
        self._pool.__exit__(*error)

    def expect(self, cells: int) -> None:
        """Say how many cells there will be in all, where they are asked for little by little."""
        self._expected = self._done + cells

    def rows(self, settings: Sequence[Settings], since_s: Sequence[float] | None = None) -> list[Row]:
        """The row of each, in their order. since_s: arrivals before that only warm up, 0 where all count.

        Raises ValueError that names the cell that cannot be run; rows that were finished before are kept.
        """
        begins = [0.0] * len(settings) if since_s is None else since_s
        cells = [Cell(each, self._keys.key(each, begin), begin) for each, begin in zip(settings, begins, strict=True)]
        known = self._store.find(cell.key for cell in cells)
        missing = list({cell.key: cell for cell in cells if cell.key not in known}.values())
        self.found += len(cells) - len(missing)
        self._tell(len(cells) - len(missing), len(missing))
        left = len(missing)
        try:
            for rows in self._run(missing):
                known |= {row["key"]: row for row in rows}
                self.ran += len(rows)
                left -= len(rows)
                self._tell(len(rows), left)
        finally:
            self._store.flush()
        return [known[cell.key] for cell in cells]

    def _run(self, cells: Sequence[Cell]) -> Iterator[list[Row]]:
        """Rows that are finished and kept: one by one in this process, by task from workers."""
        if not self._pool.useful(len(cells)):
            for task in batches(cells, len(cells) or 1):
                for row in run(task):
                    self._store.add([row])
                    yield [row]
            return
        keep = self._store.adding if self._pool.local else None
        size = max(1, min(TASK, len(cells) // (4 * self._pool.jobs)))
        tasks = [(task, code_digest(), keep) for task in batches(cells, size)]
        for _, rows in self._pool.each(run_here, tasks):
            if isinstance(rows, str):
                raise ValueError(rows)
            if keep is None:
                self._store.add(rows)
            yield rows

    def _tell(self, done: int, left: int) -> None:
        self._done += done
        if self._on_progress is not None:
            self._on_progress(self._done, max(self._done + left, self._expected))


def sweep(
    axes: Mapping[str, Any] | None = None,
    *,
    parameters: Mapping[str, Any] | None = None,
    jobs: int = 1,
    backend: str = "loky",
    address: str | None = None,
    store: str | os.PathLike[str] | None = None,
    on_progress: Progress | None = None,
    **further: Any,
) -> DataFrame:
    """Simulate every cell of a grid; a row each, a column per setting and per figure of `Report.summary`.

        sweep(policy=["greedy", "adaptive"], load=[0.3, 0.6, 0.9], slo_ms=20, seed=range(10), jobs=2)

    axes and further keywords: see `analysis.sweeps.grid.grid`, as are parameters, of policies. A target that is not
    given is the same for all seeds. jobs: worker processes.
    backend: "loky" here, "dask" or "ray" at `address`. store: a folder in which finished cells are kept, and found by
    their content when they are asked for again. The frame is the same, bit for bit, for any number of workers.

    Raises ValueError, LookupError or OSError for bad input, in one line; cells that were finished stay in the store.
    """
    cells = with_targets(grid({**(axes or {}), **further}, parameters))
    with Laboratory(jobs, backend, address, store, on_progress) as opened:
        return results(opened.rows(cells))


def results(rows: Sequence[Row]) -> DataFrame:
    """What a sweep's rows come to: settings, figures, what specs varied, and the keys last."""
    found = frame(rows)
    more = {name: column for name, column in varied(rows).items() if name not in found}
    return found.drop(columns="key").assign(**more, key=found["key"])
