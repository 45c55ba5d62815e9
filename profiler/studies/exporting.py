"""Trained adapters as they are served: a host store of a study's tenants, and the encoder that they stand on."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from profiler.distill.learning.initial import load_teacher
from profiler.models import weights
from profiler.studies.states import encoder
from profiler.tenants.store import AdapterShape, AdapterStore, write_store

#: The files of the folder, and which adapters of a study there are by the beginning of their files' names.
STORE, ENCODER, TOKENIZER = "adapters.npy", "ensemble.safetensors", "tokenizer.json"
TRAINED = ("adapters", "adapters-on-look-up")


def export(
    study: Path, teacher: Path, out: Path, trained: str = TRAINED[0], classes: int | None = None
) -> AdapterStore:
    """Write a folder that serves a study's tenants: their store, the encoder without a head of its own, its tokenizer.

    study: what `python -m profiler adapters` wrote. teacher: the encoder's folder that it was given. classes: of the
    store, as adapters.csv is measured for; default: the most that a tenant has. Raises LookupError where the study has
    no such adapters, ValueError for another encoder and for fewer classes than a tenant has.
    """
    work = study / "work"
    paths = sorted(path for path in work.glob(f"{trained}_*.safetensors") if ".partial." not in path.name)
    if not paths or not (study / "card.json").is_file():
        raise LookupError(f"{study} holds no trained {trained}: python -m profiler adapters --out {study} trains them")
    own = load_teacher(teacher).encoder()
    if weights.digest(own.tensors) != json.loads((study / "card.json").read_text()).get("weights"):
        raise ValueError(f"{teacher} is not the encoder that the adapters of {study} were trained on")
    shape = _shape(paths, own.spec.hidden, classes)
    out.mkdir(parents=True, exist_ok=True)
    weights.save(encoder(own.spec, own.tensors), out / ENCODER)
    shutil.copyfile(teacher / TOKENIZER, out / TOKENIZER)
    names = [path.stem.partition("_")[2] for path in paths]
    return write_store(out / STORE, shape, names, lambda row: _numbers(paths[row], shape))


def _shape(paths: list[Path], hidden: int, classes: int | None) -> AdapterShape:
    """The shape of a store that holds all of these."""
    first = _read(paths[0])
    layers, size = first["flat"].shape
    most = max(len(_read(path)["head_bias"]) for path in paths)
    if classes is not None and classes < most:
        raise ValueError(f"classes is {classes}, but a tenant has {most}: give at least so many")
    return AdapterShape(layers, hidden, (size - hidden) // (2 * hidden + 1), classes or most)


def _numbers(path: Path, shape: AdapterShape) -> NDArray[np.float32]:
    """The numbers of a tenant: its layers, its head, and minus infinity for classes that it does not have."""
    own = _read(path)
    more = shape.classes - len(own["head_bias"])
    weight = np.pad(own["head_weight"], ((0, 0), (0, more)))
    bias = np.pad(own["head_bias"], (0, more), constant_values=-np.inf)
    return np.concatenate([own["flat"].ravel(), weight.ravel(), bias])


def _read(path: Path) -> dict[str, NDArray[np.float32]]:
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    try:
        return dict(load_file(path))
    except SafetensorError as error:
        raise ValueError(f"{path} is broken ({error}): train it again") from None
