"""python -m profiler run: measure a device and write a table."""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

from profiler.commands.keys import (
    BATCHES,
    TOKENS,
    add_key_arguments,
    add_table_arguments,
    chosen_grids,
    set_threads,
)
from profiler.commands.printing import noise_words, progress_bar
from profiler.commands.server import add_server_arguments, measure
from profiler.measuring.grid import Grid, measured_as
from profiler.measuring.rules import Rules
from profiler.table import TEACHER, LatencyTable
from profiler.table.metadata import CHECKPOINT_ENGINES
from profiler.table.writing import refuse_existing

if TYPE_CHECKING:
    import torch

    from profiler.executors.interface import Engine
    from profiler.measuring.session import Entry
    from profiler.models.foreign import Foreign
    from profiler.models.weights import Weights
    from profiler.table.metadata import Ceilings

#: Seconds of measuring.
BUDGET_S = 600.0
#: Shapes that the numerics gate tries per model.
GATE_KEYS = 3


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--device", choices=list(DEVICES), default="cpu", help="what to measure (default: cpu)")
    add_key_arguments(parser)
    parser.add_argument("--budget-s", type=float, help="seconds of measuring (default: 600; of a server 200)")
    parser.add_argument("--threads", type=int, help="CPU threads (default: torch's)")
    parser.add_argument("--checkpoint", metavar="DIR", help="measure this classifier of texts, in place of --models")
    parser.add_argument(
        "--engine", choices=CHECKPOINT_ENGINES, help="how it runs (default: own where it can, else sdpa)"
    )
    parser.add_argument("--executor", help="how a GPU runs the models (default: cuda, the best)")
    parser.add_argument("--dtype", help="of the numbers (default: bfloat16 on a GPU, float32 on a CPU)")
    parser.add_argument(
        "--ramps", metavar="SHAPE", help="time teachers' layers with linear or pooler ramps (layers.csv; CPU)"
    )
    parser.add_argument("--seed", type=int, default=0, help="of weights, inputs and order (default: 0)")
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
    foreign = ("plan", "models", "students", "ramps", "executor", "dtype")
    given = [f"--{name}" for name in foreign if getattr(arguments, name) is not None]
    if given or arguments.device != "cpu":
        what = ", ".join(given) or f"--device {arguments.device}"
        raise ValueError(f"--checkpoint does not go with {what}: it is measured on a CPU, at --batches and --tokens")
    from profiler.models.foreign import look_at

    spec = look_at(arguments.checkpoint).spec
    return Grid(spec.name, (1,), arguments.batches or BATCHES, arguments.tokens or TOKENS, dims=spec)


def _refuse_flags_of_servers(arguments: argparse.Namespace) -> None:
    """Raise ValueError for a flag that only a server would heed."""
    if given := [f"--{name}" for name in ("model", "tokenizer", "vocab") if getattr(arguments, name) is not None]:
        raise ValueError(f"{', '.join(given)}: only with --url; models of this machine are named by --models")


def _refuse_flags_of_the_other_device(arguments: argparse.Namespace) -> None:
    """Raise ValueError for a flag that this device would not heed."""
    foreign = ("threads", "ramps") if arguments.device == "cuda" else ("executor",)
    given = [f"--{name}" for name in foreign if getattr(arguments, name) is not None]
    if given:
        own = "threads are a CPU's, and its executor alone runs ramps"
        what = own if arguments.device == "cuda" else "a CPU has one executor"
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
            entries, meta["checkpoints"] = _of_checkpoint(arguments, grids[0])
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


def _cpu(arguments: argparse.Namespace, grids: Sequence[Grid]) -> tuple[list[Entry], dict[str, Any], Ceilings]:
    """How to open every grid's model on this processor, what the processor is, what it can do at best."""
    import torch

    from profiler.executors.cpu import DTYPES, CpuExecutor, number_format
    from profiler.measuring.probes import cpu_ceilings
    from profiler.models.ramps import random_ramps
    from traces.shared.origin import cpu_name

    set_threads(arguments.threads)
    threads = torch.get_num_threads()
    name, dtype = cpu_name(threads), number_format(arguments.dtype or "float32")

    def opened(grid: Grid, own: Weights) -> Engine:
        ramped = arguments.ramps is not None and _may_have_ramps(grid)
        ramps = random_ramps(own.spec, arguments.ramps, arguments.seed) if ramped else None
        return CpuExecutor(own, grid.plan, grid.students, dtype=dtype, ramps=ramps)

    meta = {"device": name, "threads": threads, "dtype": dtype}
    if arguments.ramps is not None:
        _check_ramps(arguments.ramps, grids)
        meta["layers"] = {"ramps": arguments.ramps}
    ceilings = cpu_ceilings(min(5.0, 0.02 * arguments.budget_s), DTYPES[dtype])
    return [_entry(grid, arguments.seed, opened) for grid in grids], meta, ceilings


def _of_checkpoint(arguments: argparse.Namespace, grid: Grid) -> tuple[list[Entry], dict[str, Any]]:
    """How to open a checkpoint of the user's, and what the table says of it."""
    from profiler.executors.foreign import open_checkpoint
    from profiler.measuring.session import Entry
    from profiler.models.foreign import look_at

    own = look_at(arguments.checkpoint)
    engine = arguments.engine or own.fastest

    def open_model() -> tuple[Engine, Weights | Foreign]:
        executor = open_checkpoint(own, grid.plan, engine)
        return executor, own

    about = {"folder": own.folder.resolve().name, "architecture": own.architecture, "engine": engine}
    entry = Entry(grid.model, grid.spec, grid, open_model, gate_keys=GATE_KEYS)
    return [entry], {grid.model: about | {"classes": own.spec.classes}}


def _check_ramps(shape: str, grids: Sequence[Grid]) -> None:
    """Raise LookupError for an unknown shape, ValueError where no model can have ramps."""
    from profiler.models.ramps import SHAPES

    if shape not in SHAPES:
        raise LookupError(f"--ramps {shape}: use {' or '.join(SHAPES)}")
    if not any(map(_may_have_ramps, grids)):
        names = ", ".join(grid.model for grid in grids)
        raise ValueError(f"--ramps: {names} cannot have any; they lie between the layers of a deep model (teacher-...)")


def _may_have_ramps(grid: Grid) -> bool:
    """Ramps are trained for teachers; a distilled model has none."""
    return grid.model.startswith(f"{TEACHER}-") and grid.spec.layers > 1


def _cuda(arguments: argparse.Namespace, grids: Sequence[Grid]) -> tuple[list[Entry], dict[str, Any], Ceilings]:
    """The same on the first NVIDIA GPU; where the executor cannot be had, the next best runs and is named."""
    from profiler.device.cuda import open_cuda
    from profiler.executors.cuda import DTYPES, KINDS, best_executor, pick
    from profiler.measuring import gpu_probes

    kind, dtype = arguments.executor or "cuda", arguments.dtype or "bfloat16"
    wanted, graphs = pick("dtype", dtype, DTYPES), pick("executor", kind, KINDS).graphs
    device = open_cuda()
    shared = device if graphs else None  # all models capture into one pool

    def opened(grid: Grid, own: Weights) -> Engine:
        name, executor, reasons = best_executor(kind, own, grid.plan, grid.students, dtype=dtype, device=shared)
        for reason in reasons:
            print(f"{grid.model}: {name} stands in ({reason})", file=sys.stderr)
        return executor

    meta = {**gpu_probes.describe(device), "dtype": dtype}
    ceilings = gpu_probes.ceilings(device, wanted, gpu_probes.Sizes())
    return [_entry(grid, arguments.seed, opened, device.torch_device) for grid in grids], meta, ceilings


def _entry(
    grid: Grid, seed: int, opened: Callable[[Grid, Weights], Engine], where: torch.device | str = "cpu"
) -> Entry:
    from profiler.measuring.session import Entry
    from profiler.models import weights

    def open_model() -> tuple[Engine, Weights]:
        own = weights.random(grid.spec, seed, device=where)
        return opened(grid, own), own

    return Entry(grid.model, grid.spec, grid, open_model, gate_keys=GATE_KEYS)


#: What can be measured, by name: how its models are opened, what it is, what it can do at best.
DEVICES = {"cpu": _cpu, "cuda": _cuda}
