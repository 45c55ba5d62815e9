"""python -m profiler run: measure a device and write a table."""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from typing import Any

from profiler.commands.keys import BATCHES, TOKENS, add_key_arguments, add_table_arguments, chosen_grids, threads
from profiler.commands.opening import DEVICES, of_checkpoint
from profiler.commands.printing import noise_words, progress_bar
from profiler.commands.server import add_server_arguments, measure
from profiler.measuring.grid import Grid, measured_as
from profiler.measuring.rules import Rules
from profiler.table import LatencyTable
from profiler.table.metadata import CHECKPOINT_ENGINES, MODEL_ENGINES
from profiler.table.writing import refuse_existing

#: Seconds of measuring.
BUDGET_S = 600.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--device", choices=list(DEVICES), default="cpu", help="what to measure (default: cpu)")
    add_key_arguments(parser)
    parser.add_argument(
        "--budget-s", type=float, metavar="S", help="seconds of measuring (default: 600; of a server 200)"
    )
    parser.add_argument(
        "--threads", type=threads, metavar="N|auto", help="CPU threads (default: torch's; auto: what is fastest here)"
    )
    parser.add_argument("--checkpoint", metavar="DIR", help="measure this classifier of texts, in place of --model")
    parser.add_argument(
        "--engine",
        choices=dict.fromkeys((*CHECKPOINT_ENGINES, *MODEL_ENGINES)),
        help="what runs it on a CPU (default: own where it can, else sdpa); of --model the others are for comparison",
    )
    parser.add_argument("--executor", metavar="NAME", help="how a GPU runs the models (default: cuda, the best)")
    parser.add_argument("--dtype", metavar="NAME", help="of the numbers (default: bfloat16 on a GPU, float32 on a CPU)")
    parser.add_argument(
        "--ramps", metavar="SHAPE", help="time teachers' layers with linear or pooler ramps (layers.csv; CPU)"
    )
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="of weights, inputs and order (default: 0)")
    parser.add_argument("--keep-samples", action="store_true", help="keep every timing beside the table (samples.csv)")
    add_table_arguments(parser)
    add_server_arguments(parser)


def main(arguments: argparse.Namespace) -> int:
    """Measure; 0 with a table written, 1 when the budget ended before every key had its samples, 130 interrupted."""
    if arguments.budget_s is not None and not 0 < arguments.budget_s < math.inf:
        raise ValueError(f"--budget-s is {arguments.budget_s}: measuring needs a positive number of seconds")
    if arguments.url is not None:
        return measure(arguments)
    _refuse_flags_of_servers(arguments)
    arguments.budget_s = arguments.budget_s or BUDGET_S
    grids = chosen_grids(arguments) if arguments.checkpoint is None else [_checkpoint_grid(arguments)]
    _refuse_flags_of_the_other_device(arguments)
    refuse_existing(arguments.out, arguments.replace)
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    try:
        result = _measure(arguments, grids)
    except KeyboardInterrupt:
        print("interrupted: what was measured is kept; the same command goes on from there", file=sys.stderr)
        return 130
    for what, why in result["skipped"].items():
        print(f"left out {what}: {why}", file=sys.stderr)
    if result["status"] == "failed":
        raise RuntimeError(f"{arguments.out} cannot be used: {result.get('reason', 'no model could be measured')}")
    if result["status"] != "done":
        print(
            f"unfinished: {result['keys_without_samples']} keys have too few samples after {arguments.budget_s:g} s; "
            f"the same command goes on from there, or takes a larger --budget-s",
            file=sys.stderr,
        )
        return 1
    table = LatencyTable.load(arguments.out)
    print(f"{arguments.out}: {result['keys']} keys on {table.device}; the machine was {noise_words(table.meta)}")
    return 0


def _checkpoint_grid(arguments: argparse.Namespace) -> Grid:
    """The keys of a checkpoint. Raises ValueError for flags that are not for one."""
    foreign = ("plan", "model", "students", "ramps", "executor", "dtype")
    given = [f"--{name}" for name in foreign if getattr(arguments, name) is not None]
    if arguments.engine not in (None, *CHECKPOINT_ENGINES):
        its = ", ".join(CHECKPOINT_ENGINES)
        raise ValueError(f"--engine {arguments.engine} is for --model: of a checkpoint use one of {its}")
    if given or arguments.device != "cpu":
        what = ", ".join(given) or f"--device {arguments.device}"
        raise ValueError(f"--checkpoint does not go with {what}: it is measured on a CPU, at --batches and --tokens")
    from profiler.models.foreign import look_at

    spec = look_at(arguments.checkpoint).spec
    return Grid(spec.name, (1,), arguments.batches or BATCHES, arguments.tokens or TOKENS, dims=spec)


def _refuse_flags_of_servers(arguments: argparse.Namespace) -> None:
    """Raise ValueError for a flag that only a server would heed."""
    if given := [f"--{name}" for name in ("tokenizer", "vocab") if getattr(arguments, name) is not None]:
        raise ValueError(f"{', '.join(given)}: only with --url")


def _refuse_flags_of_the_other_device(arguments: argparse.Namespace) -> None:
    """Raise ValueError for a flag that this device would not heed."""
    foreign = ("threads", "ramps", "engine") if arguments.device == "cuda" else ("executor",)
    given = [f"--{name}" for name in foreign if getattr(arguments, name) is not None]
    if given:
        own = "threads and engines are a CPU's, and its executor alone runs ramps"
        what = own if arguments.device == "cuda" else "a CPU has engines (--engine)"
        raise ValueError(f"--device {arguments.device} does not heed {', '.join(given)}: {what}")


def _measure(arguments: argparse.Namespace, grids: Sequence[Grid]) -> dict[str, Any]:
    from profiler.measuring.session import measure_table
    from profiler.modelled import illustrative

    with ExitStack() as stack:
        progress = progress_bar(stack)
        progress(0.0, "probing the device")
        alike = measured_as(grids)
        entries, meta, ceilings = DEVICES[arguments.device](arguments, [grid for grid in grids if grid not in alike])
        if arguments.checkpoint is not None:
            entries, meta["checkpoints"] = of_checkpoint(arguments, grids[0])
        meta["rank"] = arguments.rank
        accuracy = illustrative.accuracy_rows(grids) if arguments.illustrative_accuracy else []
        if accuracy:
            meta["accuracy"] = {illustrative.TASK: illustrative.NOTE}
        return measure_table(
            arguments.out,
            entries,
            Rules(budget_s=arguments.budget_s),
            meta=meta,
            ceilings=ceilings,
            most_s=arguments.budget_s,
            seed=arguments.seed,
            progress=progress,
            accuracy=accuracy,
            keep_samples=arguments.keep_samples,
            alike=alike,
        )
