"""Executors that are ready to serve what a table describes: its models, warm at every key, on some devices."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from time import perf_counter

import torch

from profiler.device.seam import Unavailable
from profiler.executors.interface import Engine, PartKey, Parts, all_keys
from profiler.models import weights
from profiler.models.foreign import Foreign, look_at
from profiler.models.ramps import RampWeights, load_ramps, random_ramps
from profiler.models.spec import parse_spec
from profiler.models.weights import Weights
from profiler.servers.client import addresses
from profiler.table import LatencyTable
from profiler.table.plan import BucketPlan

Progress = Callable[[str], None]
#: By model: weights, numbers of students, ramps. A device: its name, its executors, what binds a thread to it, notes.
Loaded = Mapping[str, Weights | Foreign]
Counts = Mapping[str, Sequence[int]]
RampsBy = Mapping[str, RampWeights]
Ready = tuple[str, dict[str, Engine], Callable[[], object], list[str]]
#: An ensemble's file in its folder, beside the tokenizer.
ENSEMBLE = "ensemble.safetensors"
#: Ramps of a model, beside its weights.
RAMPS = "ramps.safetensors"


@dataclass(frozen=True)
class Served:
    """Devices that are warm. executors: by device, then by model. notes: what a reader of the run should know.

    bind: by device, what a thread calls before it uses the device, when that is not the thread which opened it.
    weights_s, warm_s: the seconds that loading (or drawing) the weights and warming every key took.
    """

    name: str
    executors: tuple[Mapping[str, Engine], ...]
    bind: tuple[Callable[[], object], ...]
    notes: tuple[str, ...]
    weights_s: float
    warm_s: float

    def warm_parts(self, keys: Mapping[str, Collection[PartKey]]) -> float:
        """Make these parts of each model ready on every device that runs parts; returns the seconds it took."""
        seconds = 0.0
        for models, bind in zip(self.executors, self.bind, strict=True):
            bind()
            for model, own in keys.items():
                if isinstance(executor := models[model], Parts):
                    seconds += executor.warm_parts(own)
        return seconds

    def close(self) -> None:
        """Give the devices' memory back."""
        for models in self.executors:
            for executor in models.values():
                executor.close()


def open_devices(
    device: str,
    table: LatencyTable,
    models: Sequence[str],
    plan: BucketPlan,
    *,
    count: int = 1,
    checkpoint: str | os.PathLike[str] | None = None,
    seed: int = 0,
    on_progress: Progress = lambda what: None,
) -> Served:
    """Load these models of a table onto `count` devices and make every key of the plan ready.

    device: "cpu" (with the table's threads; several are threads of this process that share the weights), "cuda", or
    the addresses of servers, each of them a device.
    checkpoint: a safetensors file of an ensemble, or a folder with one or with a Hugging Face model, for the one model
    that is served; without it weights are random by seed, which takes the same time. A model that the table has layers
    of gets its ramps, from the ramps.safetensors beside its weights. Raises LookupError, ValueError or
    RuntimeError (`Unavailable`) where something cannot be had.
    """
    if urls := addresses(device):
        from profiler.executors.servers import open_servers

        began = perf_counter()
        servers, said = open_servers(urls, table, models, plan, tokenizer=checkpoint, on_progress=on_progress)
        named, models_of = f"{servers[0].dialect.name} at {', '.join(urls)}", tuple({models[0]: own} for own in servers)
        return Served(named, models_of, (lambda: None,) * len(urls), tuple(said), 0.0, perf_counter() - began)
    if device not in DEVICES:
        raise LookupError(f"unknown device {device!r}: use one of {', '.join(DEVICES)}, or http://HOST:PORT")
    if checkpoint is not None and len(models) > 1:
        raise ValueError(f"one checkpoint cannot hold {len(models)} models ({', '.join(models)}): name one --model")
    counts = {model: sorted({level.students for level in table.levels(model)}) for model in models}
    began = perf_counter()
    on_progress("loading weights")
    loaded = {model: _loaded(table, model, max(counts[model]), checkpoint, seed) for model in models}
    notes: list[str] = []
    layered = table.layers.models if table.layers else ()
    plain = {model: own for model, own in loaded.items() if isinstance(own, Weights)}
    ramps = {model: own for model in layered if (own := _ramps(plain.get(model), checkpoint, seed, notes))}
    weights_s = perf_counter() - began
    executors, binds = [], []
    for index in range(count):
        name, opened, bind, said = DEVICES[device](index, table, loaded, ramps, plan, counts)
        executors.append(opened)
        binds.append(bind)
        notes += said
    warm_s = 0.0
    for index, opened in enumerate(executors):
        binds[index]()  # the last one that was opened is this thread's
        for model, executor in opened.items():
            on_progress(f"warming {model} on {name} ({index + 1} of {count})")
            warm_s += executor.warm(all_keys(plan, counts[model]))
    random = f"weights are random (seed {seed}): times are real, answers mean nothing"
    notes.append(random if checkpoint is None else f"weights from {checkpoint}")
    if name != table.device:
        notes.append(f"table {table.name} was measured on {table.device}, this is {name}")
    return Served(name, tuple(executors), tuple(binds), tuple(dict.fromkeys(notes)), weights_s, warm_s)


def task_of(checkpoint: str | os.PathLike[str]) -> str | None:
    """The task that an ensemble's file, or the folder with one, says it answers; None where it does not say."""
    own = Path(checkpoint) / ENSEMBLE
    path = own if own.exists() else Path(checkpoint)
    return weights.about(path).get("task") if path.is_file() else None


def labels_of(checkpoint: str | os.PathLike[str] | None, classes: int) -> tuple[str, ...]:
    """The names of the classes, by `id2label` of the config.json beside a checkpoint; LABEL_0, ... where there is none.

    None at all where classes do not exclude each other, or there is one output. Raises ValueError for a config.json
    that names another number of classes.
    """
    if classes < 2:
        return ()
    path = Path() if checkpoint is None else Path(checkpoint)
    path = (path if path.is_dir() else path.parent) / "config.json"
    named: dict[str, object] = {}
    if checkpoint is not None and path.is_file():
        try:
            config = json.loads(path.read_text())
            named = config.get("id2label") or {}
            if config.get("problem_type") == "multi_label_classification":
                return ()
            numbered = {int(number): str(name) for number, name in named.items()}
        except (ValueError, AttributeError) as error:
            raise ValueError(f"{path} cannot be read: {error}") from None
        if numbered and sorted(numbered) != list(range(classes)):
            raise ValueError(f"{path}: id2label names classes {sorted(numbered)}; the model has {classes}, from 0 on")
        if numbered:
            return tuple(numbered[number] for number in range(classes))
    return tuple(f"LABEL_{number}" for number in range(classes))


def default_device() -> str:
    """The best there is on this machine."""
    return "cuda" if torch.cuda.is_available() else "cpu"


def _loaded(
    table: LatencyTable, model: str, students: int, checkpoint: str | os.PathLike[str] | None, seed: int
) -> Weights | Foreign:
    """What a model of a table runs: weights, or a checkpoint that the table is of."""
    if (named := table.meta.get("checkpoints", {}).get(model)) is None:
        return load_weights(model, students, checkpoint, seed)
    if checkpoint is None:
        raise LookupError(f"{model} is the checkpoint {named['folder']}: name its folder (--weights DIR)")
    found = look_at(checkpoint, model)
    if (found.architecture, found.spec.classes) != (named["architecture"], named["classes"]):
        raise ValueError(
            f"{checkpoint} is a {found.architecture} of {found.spec.classes} classes; "
            f"{model} was measured as a {named['architecture']} of {named['classes']}"
        )
    return found


def load_weights(model: str, students: int, checkpoint: str | os.PathLike[str] | None, seed: int) -> Weights:
    """The weights of a checkpoint, which must be those of this model and have enough students; else random ones."""
    spec = parse_spec(model, students)
    if checkpoint is None:
        return weights.random(spec, seed)
    own = Path(checkpoint) / ENSEMBLE
    if Path(checkpoint).is_dir() and not own.exists():
        from profiler.models.checkpoints import from_checkpoints

        found = from_checkpoints([checkpoint], model)
    else:
        found = weights.load(own if own.exists() else checkpoint)
    has = found.spec
    if (has.layers, has.hidden) != (spec.layers, spec.hidden) or has.students < students:
        raise ValueError(
            f"{checkpoint} holds {has.students} x {has.layers}x{has.hidden}; "
            f"{model} needs {students} x {spec.layers}x{spec.hidden}"
        )
    return found


def _ramps(
    own: Weights | None, checkpoint: str | os.PathLike[str] | None, seed: int, notes: list[str]
) -> RampWeights | None:
    """The ramps of a model: random as its weights are, else those beside its checkpoint; None where it has none."""
    if own is None or own.spec.students > 1:
        return None
    if checkpoint is None:
        return random_ramps(own.spec, seed=seed)
    folder = Path(checkpoint) if Path(checkpoint).is_dir() else Path(checkpoint).parent
    if not (path := folder / RAMPS).is_file():
        notes.append(f"no answer leaves at a ramp: there is no {path} (python -m profiler ramps trains it)")
        return None
    found = load_ramps(path)
    if found.about.get("weights") != weights.digest(own.tensors()):
        notes.append(f"no answer leaves at a ramp: {path} was made for another model than {checkpoint}")
        return None
    found.fits(own.spec)
    return found


def _cpu(index: int, table: LatencyTable, loaded: Loaded, ramps: RampsBy, plan: BucketPlan, counts: Counts) -> Ready:
    """Executors on this processor, with the threads and the number format that a CPU's table was measured with."""
    from profiler.executors.cpu import CpuExecutor, number_format
    from profiler.executors.foreign import open_checkpoint
    from traces.shared.origin import cpu_name

    threads, dtype, notes = int(table.meta.get("threads", 1)), "float32", []
    if "threads" in table.meta:
        try:
            dtype = number_format(table.meta.get("dtype", dtype))
        except Unavailable as error:
            notes.append(f"float32 stands in for {table.meta['dtype']}: {error}")
    torch.set_num_threads(threads)
    name = cpu_name(threads)
    executors: dict[str, Engine] = {}
    for model, own in loaded.items():
        if isinstance(own, Foreign):
            executors[model] = open_checkpoint(own, plan, table.meta["checkpoints"][model]["engine"])
        else:
            executors[model] = CpuExecutor(own, plan, counts[model], dtype=dtype, ramps=ramps.get(model))
    return name, executors, partial(torch.set_num_threads, threads), notes


def _cuda(index: int, table: LatencyTable, loaded: Loaded, ramps: RampsBy, plan: BucketPlan, counts: Counts) -> Ready:
    """Executors on one NVIDIA GPU, in the table's number format; the next best, named, where the best cannot be had."""
    from profiler.device.cuda import open_cuda
    from profiler.executors.cuda import best_executor

    gpu = open_cuda(index)
    dtype = table.meta.get("dtype", "bfloat16")
    executors: dict[str, Engine] = {}
    notes = ["no answer leaves at a ramp: ramps run on a CPU alone so far"] if ramps else []
    for model, own in loaded.items():
        if isinstance(own, Foreign):
            raise LookupError(f"{model} is a checkpoint that runs on a CPU alone so far: --device cpu")
        _, executors[model], reasons = best_executor("cuda", own, plan, counts[model], dtype=dtype, device=gpu)
        notes += list(reasons)
    return torch.cuda.get_device_name(index), executors, partial(torch.cuda.set_device, index), notes


#: Where models can be served, by the name of `--device`.
DEVICES = {"cpu": _cpu, "cuda": _cuda}
