"""How what is measured is opened: on a CPU by its engines, on a GPU by its executors, a checkpoint of the user's."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from profiler.commands.keys import set_threads
from profiler.measuring.grid import Grid
from profiler.table import TEACHER
from profiler.table.metadata import MODEL_ENGINES

if TYPE_CHECKING:
    import torch

    from profiler.executors.interface import Engine
    from profiler.measuring.session import Entry
    from profiler.models.foreign import Foreign
    from profiler.models.weights import Weights
    from profiler.table.metadata import Ceilings

#: Shapes that the numerics gate tries per model.
GATE_KEYS = 3


def on_cpu(arguments: argparse.Namespace, grids: Sequence[Grid]) -> tuple[list[Entry], dict[str, Any], Ceilings | None]:
    """How to open every grid's model on this processor, what the processor is, what it can do at best."""
    import torch

    from profiler.executors.cpu import DTYPES, CpuExecutor, number_format
    from profiler.measuring.probes import cpu_ceilings
    from profiler.models.ramps import random_ramps
    from traces.shared.origin import cpu_name

    dtype = number_format(arguments.dtype or "float32")
    engine = "own" if arguments.checkpoint is not None else _engine(arguments)
    about = _threads(arguments, grids, dtype)
    threads = torch.get_num_threads()
    meta: dict[str, Any] = {"device": cpu_name(threads), "threads": threads, "dtype": dtype} | about

    def opened(grid: Grid, own: Weights) -> Engine:
        ramped = arguments.ramps is not None and _may_have_ramps(grid)
        ramps = random_ramps(own.spec, arguments.ramps, arguments.seed) if ramped else None
        return CpuExecutor(own, grid.plan, grid.students, dtype=dtype, ramps=ramps)

    def opened_by_another(grid: Grid, own: Weights) -> Engine:
        from profiler.executors.baselines.engines import open_baseline

        return open_baseline(own, grid.plan, grid.students, engine)

    if arguments.ramps is not None:
        _check_ramps(arguments.ramps, grids)
        meta["layers"] = {"ramps": arguments.ramps}
    if engine != "own":
        meta |= {"device": f"{meta['device']}, engine {engine}", "dtype": "int8" if "int8" in engine else dtype}
    known = meta["dtype"] in DTYPES  # of int8 no floor is known
    ceilings = cpu_ceilings(min(5.0, 0.02 * arguments.budget_s), DTYPES[dtype]) if known else None
    how = opened if engine == "own" else opened_by_another
    return [_entry(grid, arguments.seed, how) for grid in grids], meta, ceilings


def _engine(arguments: argparse.Namespace) -> str:
    """What runs models of random weights. Raises ValueError for another, or with flags that it would not heed."""
    engine = arguments.engine or "own"
    if engine not in MODEL_ENGINES:
        raise ValueError(f"--engine {engine} is for --checkpoint: of --model use one of {', '.join(MODEL_ENGINES)}")
    given = [f"--{name}" for name in ("dtype", "ramps") if getattr(arguments, name) is not None]
    if engine != "own" and given:
        raise ValueError(f"--engine {engine} does not heed {', '.join(given)}: they are for our own engine")
    return engine


def _threads(arguments: argparse.Namespace, grids: Sequence[Grid], dtype: str) -> dict[str, Any]:
    """Set torch's threads; what was tried where they are chosen by measuring, as a table's metadata says it."""
    from profiler.measuring.threads import fewest, times
    from profiler.models import weights

    if arguments.threads != "auto":
        set_threads(arguments.threads)
        return {}
    if arguments.checkpoint is not None:
        raise ValueError("--threads auto is for --model: give a number of threads for a checkpoint")
    grid = grids[0]
    tried = times(weights.random(grid.spec, arguments.seed), grid, dtype, min(20.0, 0.05 * arguments.budget_s))
    set_threads(fewest(tried))
    said = ", ".join(f"{count}: {1e3 * each:.3g} ms" for count, each in tried.items())
    print(f"threads (mean time of {grid.model}'s smallest, middle and largest batch): {said}", file=sys.stderr)
    return {"threads_tried": {str(count): round(each, 9) for count, each in tried.items()}}


def of_checkpoint(arguments: argparse.Namespace, grid: Grid) -> tuple[list[Entry], dict[str, Any]]:
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


def on_cuda(arguments: argparse.Namespace, grids: Sequence[Grid]) -> tuple[list[Entry], dict[str, Any], Ceilings]:
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
DEVICES = {"cpu": on_cpu, "cuda": on_cuda}
