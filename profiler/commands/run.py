"""python -m profiler run: measure a device and write a table."""

from __future__ import annotations

import argparse
import math
import shutil
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

from profiler.commands.keys import add_key_arguments, chosen_grids
from profiler.grid import Cell, Grid
from profiler.journal import Journal
from profiler.spec import Spec
from profiler.writing import refuse_existing

if TYPE_CHECKING:
    from profiler.executor import Executor
    from profiler.measure import Measurement, Progress


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder to write the table to")
    parser.add_argument("--device", choices=["cpu"], default="cpu", help="what to measure (default: cpu)")
    add_key_arguments(parser)
    parser.add_argument("--budget-s", type=float, default=600.0, help="seconds of measuring (default: 600)")
    parser.add_argument("--threads", type=int, help="CPU threads (default: torch's)")
    parser.add_argument("--seed", type=int, default=0, help="of weights, inputs and order (default: 0)")
    parser.add_argument(
        "--rank", type=int, default=50, help="place among the shipped tables; the smallest is the default"
    )
    parser.add_argument("--illustrative-accuracy", action="store_true", help="add accuracies that are not measured")
    parser.add_argument("--keep-samples", action="store_true", help="keep every timing beside the table (samples.csv)")
    parser.add_argument("--replace", action="store_true", help="replace a table that is already there")


def main(arguments: argparse.Namespace) -> int:
    """Measure; 0 with a table written, 1 when the budget ended before every key had its samples, 130 interrupted."""
    plan = chosen_grids(arguments)
    out: Path = arguments.out
    if not 0 < arguments.budget_s < math.inf:
        raise ValueError(f"--budget-s is {arguments.budget_s}: measuring needs a positive number of seconds")
    refuse_existing(out, arguments.replace)

    settings = {
        "plan": [vars(grid) for grid in plan],
        "device": arguments.device,
        "threads": arguments.threads,
        "seed": arguments.seed,
    }
    with Journal(out.with_name(out.name + ".partial"), settings) as journal:
        try:
            measurement, meta = _measure(arguments, plan, journal)
        except KeyboardInterrupt:
            journal.flush()
            print(f"interrupted: {len(journal.samples)} timings are kept; the same command goes on", file=sys.stderr)
            return 130
    if measurement.unfinished:
        count = len(measurement.unfinished)
        print(
            f"unfinished: {count} of {len(measurement.cells)} keys have too few samples after "
            f"{arguments.budget_s:g} s; repeat the command with a larger --budget-s (what was measured is kept)",
            file=sys.stderr,
        )
        return 1
    _write(arguments, plan, measurement, meta)
    print(f"{out}: {len(measurement.cells)} keys, {len(journal.samples)} timings; the machine was {_noise_words(meta)}")
    return 0


def _measure(arguments: argparse.Namespace, plan: Sequence[Grid], journal: Any) -> tuple[Measurement, dict[str, Any]]:
    import numpy as np

    from profiler import noise
    from profiler.measure import Measurement
    from profiler.rules import Rules

    cells = [cell for grid in plan for cell in grid.cells()]
    # A resumed run draws fresh inputs and orders, so that no key meets the same ones again.
    rng = np.random.default_rng(np.random.SeedSequence([arguments.seed, len(journal.samples)]))
    with ExitStack() as stack:
        progress = _progress(stack)
        executors, numerics = _open(arguments, plan, rng, progress)
        for executor in executors.values():
            stack.callback(executor.close)
        rules = Rules(budget_s=arguments.budget_s)
        began, waited = time.perf_counter(), noise.run_queue_delay_s()
        measurement = Measurement(executors, cells, journal, rules, rng, _canary(plan), progress)
        measurement.run()
        wall = time.perf_counter() - began
        waiting = (noise.run_queue_delay_s() - waited) / wall
        describe = {cell: executors[cell.model].implementation(cell.key) for cell in cells}
        dtype = next(iter(executors.values())).dtype
    canary = [sample.seconds for sample in journal.samples if sample.kind == "canary"]
    meta = _device() | {"dtype": dtype, "numerics": numerics, "describe": describe}
    meta |= {"noise": noise.verdict(noise.canary_drift(canary), waiting), "canary": str(measurement.canary)}
    return measurement, meta


def _open(
    arguments: argparse.Namespace, plan: Sequence[Grid], rng: Any, progress: Progress
) -> tuple[dict[str, Executor], dict[str, dict[str, float]]]:
    """An executor per model, warm, and past the numerics gate."""
    import torch

    from profiler import gate, weights
    from profiler.cpu import CpuExecutor

    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    executors: dict[str, Executor] = {}
    numerics = {}
    for grid in plan:
        progress(0.0, f"loading {grid.model}")
        own = weights.random(grid.spec, arguments.seed)
        executor = CpuExecutor(own, grid.plan, grid.students)
        executor.warm()
        progress(0.0, f"checking {grid.model}")
        errors = gate.check(executor, own, rng)
        numerics[grid.model] = {name: float(f"{error:.2e}") for name, error in errors.items()}
        executors[grid.model] = executor
    return executors, numerics


def _canary(plan: Sequence[Grid]) -> Cell:
    """A short key of the first model: all its students, one request."""
    grid = plan[0]
    return next(cell for cell in grid.cells() if cell.key.students == grid.students[-1])


def _device() -> dict[str, Any]:
    import torch

    from profiler.metadata import cpu_name
    from profiler.probes import cpu_ceilings

    threads = torch.get_num_threads()
    name = f"{cpu_name()}, {threads} CPU thread{'s' * (threads > 1)}"
    return {"device": name, "threads": threads, "ceilings": vars(cpu_ceilings())}


def _write(arguments: argparse.Namespace, plan: Sequence[Grid], measurement: Measurement, meta: dict[str, Any]) -> None:
    """Summarise the samples and write the table; the journal goes once that is done."""
    from profiler import illustrative, summary
    from profiler.metadata import origin
    from profiler.roofline import Ceilings
    from profiler.writing import write_table

    journal = measurement.journal
    specs: Mapping[str, Spec] = {grid.model: grid.spec for grid in plan}
    describe = meta.pop("describe")
    rows = summary.latency_rows(journal.samples, measurement.cells, specs, describe, meta["dtype"], Ceilings.of(meta))
    meta = {"kind": "measured", "rank": arguments.rank, **meta}
    if meta["noise"]["verdict"] == "quiet":  # what a busy machine does to a batch after a gap is not the device's doing
        meta["idle_factor"] = summary.idle_factor(journal.samples)
    meta |= {"precision": summary.precision(journal.samples), "measured_s": round(journal.elapsed_s, 1)}
    meta |= {"seed": arguments.seed, **origin()}
    accuracy = illustrative.accuracy_rows(plan) if arguments.illustrative_accuracy else []
    if accuracy:
        meta["accuracy"] = {illustrative.TASK: illustrative.NOTE}
    write_table(
        arguments.out,
        rows,
        meta,
        jitter=summary.jitter_rows(journal.samples),
        accuracy=accuracy,
        extra=[journal.folder / "samples.csv"] if arguments.keep_samples else [],
        replace=arguments.replace,
    )
    shutil.rmtree(journal.folder)


def _progress(stack: ExitStack) -> Progress:
    """A bar on stderr where that is a terminal, else nothing."""
    if not sys.stderr.isatty():
        return lambda share, what: None
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (BarColumn(), TimeRemainingColumn(), TextColumn("{task.description}"))
    bar = stack.enter_context(Progress(*columns, console=Console(stderr=True), transient=True))
    task = bar.add_task("", total=1.0)
    return lambda share, what: bar.update(task, completed=share, description=what)


def _noise_words(meta: Mapping[str, Any]) -> str:
    noise = meta["noise"]
    return "; ".join([noise["verdict"], *noise["reasons"]])
