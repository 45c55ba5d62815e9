"""Early exits made up: a model of 12 layers with ramps, its times by layer, and its answers to texts of three kinds."""

from __future__ import annotations

from itertools import product
from pathlib import Path

import numpy as np

from profiler.answers.recorded import Answers
from profiler.answers.streams import stream
from profiler.table import LatencyTable, LayerTable
from profiler.table.writing import write_table
from traces import Trace

MODEL, LAYERS = "teacher-12x384", 12
#: What a quick trial with a 12-layer encoder showed: the share of texts that each ramp answers as the model does.
AGREEMENT = (0.67, 0.71, 0.73, 0.76, 0.78, 0.80, 0.87, 0.91, 0.95, 0.95, 0.96, 0.97)
#: How clear the texts of each domain are to the ramps.
CLEAR = {"easy": 1.25, "middle": 1.0, "hard": 0.8}
BATCHES, TOKENS = (1, 2, 4, 8, 16), (16, 32)


def made_up(served: int = 24_000, tuning: int = 4_000, seed: int = 0) -> Answers:
    """Answers whose ramps agree as in AGREEMENT, surer where they are more often right, and alike in what they miss."""
    rng, texts = np.random.default_rng(seed), served + tuning
    domain = rng.choice(np.array(list(CLEAR), object), texts)
    clear = np.array([CLEAR[each] for each in domain]) * rng.lognormal(-0.5 * 0.6**2, 0.6, texts)
    noise = np.empty((LAYERS, texts))
    noise[0] = rng.standard_normal(texts)
    for layer in range(1, LAYERS):
        noise[layer] = 0.8 * noise[layer - 1] + 0.6 * rng.standard_normal(texts)
    strength = np.array([_strength(share, clear, noise[layer]) for layer, share in enumerate(AGREEMENT)])[:, None]
    towards = strength * clear + noise  # the final answer, by each ramp
    final = rng.integers(0, 2, texts)
    confidence = 1 / (1 + np.exp(-2.0 * strength * np.abs(towards)))
    return Answers(
        tokens=rng.integers(4, 33, texts).astype(np.int32),
        label=np.where(rng.random(texts) < 0.9, final, 1 - final),
        split=np.array(["tuning"] * tuning + ["test"] * served, object),
        row=np.concatenate([np.arange(tuning), np.arange(served)]),
        answer=np.where(towards > 0, final, 1 - final),
        confidence=confidence.astype(np.float32),
        margin=(2 * confidence - 1).astype(np.float32),
        teacher_answer=final,
        teacher_confidence=np.full(texts, 0.99, np.float32),
        about={"model": MODEL, "task": "made up", "texts": f"made up {seed}"},
        axis="layers",
        domain=domain,
    )


def _strength(share: float, clear: np.ndarray, noise: np.ndarray) -> float:
    """How strongly a ramp has to see for this share of its answers to be the final ones."""
    low, high = 0.0, 20.0
    for _ in range(40):
        middle = (low + high) / 2
        low, high = (low, middle) if (middle * clear + noise > 0).mean() > share else (middle, high)
    return high


def write(path: Path, items: Answers | None = None) -> Path:
    """A file of these answers."""
    (made_up() if items is None else items).write(path)
    return path


def table(ramp: float = 0.002, release_us: float = 5.0, *, layers: bool = True) -> LatencyTable:
    """Times with something of a batch's own; layers of 8.3 % each, ramps of this share of the whole."""
    keys = list(product(BATCHES, TOKENS))
    whole = {key: 400.0 + 60.0 * key[0] * key[1] for key in keys}
    columns = {"model": np.array([MODEL] * len(keys)), "students": np.ones(len(keys), np.int64)}
    columns |= {"depth": np.full(len(keys), LAYERS), "hidden": np.full(len(keys), 384)}
    columns |= {"batch": np.array([b for b, _ in keys]), "tokens": np.array([t for _, t in keys])}
    columns["latency_us"] = np.array([whole[key] for key in keys])
    rows = [
        (MODEL, *key, layer, 0.083 * layer * whole[key], ramp * whole[key], release_us)
        for key in keys
        for layer in range(1, LAYERS + 1)
    ]
    about = {"device": "a formula", "kind": "modelled"}
    return LatencyTable("exits", columns, about, layers=LayerTable(tuple(rows)) if layers else None)


def write_times(folder: Path) -> Path:
    """The folder with this table."""
    made = table()
    assert made.layers is not None
    rows = [dict(zip(made.columns, values, strict=True)) for values in zip(*made.columns.values(), strict=True)]
    names = ("model", "batch", "tokens", "layer", "end_us", "ramp_us", "release_us")
    layers = [dict(zip(names, row, strict=True)) for row in made.layers.rows]
    write_table(folder, rows, made.meta, layers=layers)
    return folder


def traffic(items: Answers, kind: str = "even", requests: int = 4000, load: float = 0.5, seed: int = 0) -> Trace:
    """Poisson arrivals at a share of what full batches of the longest serve, of a stream of the served texts."""
    rows = stream(items, kind, requests, seed=seed)
    rate = load * BATCHES[-1] / ((400.0 + 60.0 * BATCHES[-1] * 20) * 1e-6)
    arrivals = np.random.default_rng([seed, 22]).exponential(1 / rate, requests).cumsum()
    return Trace(arrivals, items.tokens[rows], item=rows)
