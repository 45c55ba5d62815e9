"""The training loop: batches by step, AdamW, checkpoints that an interrupted run goes on from with the same weights."""

from __future__ import annotations

import math
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from time import monotonic

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from profiler.distill.learning.corpus import Batch, Corpus
from profiler.distill.learning.encoder import Drop, Tensors, encode, vectors
from profiler.distill.learning.journal import StudyLog
from profiler.distill.learning.texts import batches
from profiler.models.spec import Dims
from profiler.models.weights import EMBEDDINGS, write_tensors

#: Share of the steps in which the rate rises; it falls linearly to zero afterwards.
WARMUP = 0.06
#: Decay of matrices; biases and norms have none. Gradients longer than CLIP are cut.
DECAY, CLIP = 0.01, 1.0
#: Steps, or seconds, between two looks at the loss: looking makes a GPU wait.
LOOK, LOOK_S = 25, 5.0
#: Seconds between two checkpoints.
CHECKPOINT_S = 60.0
#: A training has diverged where the loss is this many times its least, and more than such a share of its first, for
#: such a share of all steps on end.
DIVERGED, OF_FIRST, FOR_SO_LONG = 3.0, 0.2, 0.05
#: Tokens that are answered at once where nothing is learned. On a CPU few enough to stay in its cache: 12 layers
#: of width 384 took 0.34 ms a token in batches of 1,024 and 0.46 ms in batches of 8,192.
ANSWERED_TOKENS = {"cpu": 1024}
MOST_ANSWERED = 8192


@dataclass(frozen=True)
class Setup:
    """Where and how a study trains. half: products in bfloat16."""

    folder: Path
    seed: int
    device: torch.device
    half: bool
    journal: StudyLog

    def rng(self, name: str, *more: int) -> np.random.Generator:
        """The stream of chance of this name."""
        return np.random.default_rng([self.seed, zlib.crc32(name.encode()), *more])

    def autocast(self) -> AbstractContextManager[object]:
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.half)

    def normal(self, name: str, shape: Sequence[int], scale: float = 0.02) -> Tensor:
        """Normal numbers on the device; the same on every device."""
        drawn = self.rng(name).standard_normal(tuple(shape), np.float32) * np.float32(scale)
        return torch.from_numpy(drawn).to(self.device)

    def projection(self, name: str, spec: Dims) -> Tensors:
        """New projections of K encoders, by name."""
        weight = self.normal(name, (spec.students, spec.hidden, spec.outputs))
        return {"projection_weight": weight, "projection_bias": torch.zeros_like(weight[:, 0])}

    def dropout(self, name: str, rate: float, step: int) -> Drop | None:
        """Dropout that depends on seed, name and step alone."""
        if not rate:
            return None
        generator = torch.Generator(self.device).manual_seed(int(self.rng(name, step).integers(2**62)))

        def drop(x: Tensor) -> Tensor:
            kept = torch.empty_like(x).bernoulli_(1 - rate, generator=generator)
            return x * kept / (1 - rate)

        return drop

    def cached(self, name: str, make: Callable[[], Tensors]) -> Tensors:
        """Tensors from the file of this name; made and written if there is none."""
        path = self.folder / f"{name}.safetensors"
        if not self.has(name):
            self.journal.begin(name)
            write(path, make())
            self.partial(name).unlink(missing_ok=True)
        self.journal.end(name)
        return read(path, self.device)

    def has(self, name: str) -> bool:
        """Whether `cached` has made this before."""
        return (self.folder / f"{name}.safetensors").exists()

    def partial(self, name: str) -> Path:
        """Where an unfinished training keeps its state."""
        return self.folder / f"{name}.partial.safetensors"


class TextStream:
    """Endless random batches of a corpus, each a function of the seed, the name and the step alone."""

    def __init__(self, run: Setup, name: str, corpus: Corpus, size: int) -> None:
        self._run, self._name, self._corpus, self._size = run, name, corpus, size
        self._per_pass = -(-len(corpus.texts) // size)
        self._pass, self._batches = -1, list[NDArray[np.int64]]()

    def batch(self, step: int) -> Batch:
        number, place = divmod(step, self._per_pass)
        if number != self._pass:
            rng = self._run.rng(f"{self._name} batches", number)
            self._pass, self._batches = number, batches(self._corpus.texts.lengths, self._size, rng)
        return self._corpus.batch(self._batches[place])


def parted(tensors: Tensors) -> tuple[Tensors, Tensors]:
    """The embeddings, which stay as they are, and copies of everything else, which learns."""
    frozen = {key: tensors[key] for key in EMBEDDINGS}
    return frozen, {key: tensor.clone() for key, tensor in tensors.items() if key not in frozen}


def fit(
    run: Setup,
    name: str,
    trained: Tensors,
    rate: float,
    steps: int,
    loss: Callable[[int], Tensor],
    share: Callable[[str], float] = lambda name: 1.0,
) -> None:
    """Train these tensors in place for so many steps on `loss(step)`, from the checkpoint where there is one.

    share: the part of the rate that a tensor of this name learns with. Raises ArithmeticError where the loss is no
    number.
    """
    for tensor in trained.values():
        tensor.requires_grad_()
    alike: dict[tuple[float, float], list[Tensor]] = {}
    for key, tensor in trained.items():
        decay = DECAY if key.endswith("weight") and "ln" not in key else 0.0
        alike.setdefault((share(key), decay), []).append(tensor)
    groups = [{"params": own, "share": part, "weight_decay": decay} for (part, decay), own in alike.items()]
    optimizer = torch.optim.AdamW(groups, lr=rate, betas=(0.9, 0.98), fused=True)
    saved, total = monotonic(), torch.zeros((), device=run.device)
    looked, seen = saved, 0
    least, first, fine = math.inf, math.inf, 0
    for step in range(_resume(run.partial(name), trained, optimizer), steps):
        for group in optimizer.param_groups:
            group["lr"] = rate * group["share"] * _schedule(step, steps)
        optimizer.zero_grad(set_to_none=True)
        with run.autocast():
            value = loss(step)
        value.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(list(trained.values()), CLIP)
        optimizer.step()
        total += value.detach()
        seen += 1
        if seen < LOOK and step + 1 < steps and monotonic() - looked < LOOK_S:
            continue
        mean = float(total) / seen
        looked, seen = monotonic(), 0
        total.zero_()
        if not math.isfinite(mean):
            raise ArithmeticError(f"{name}: the loss is {mean} at step {step}; lower the rate (-p rate=...)")
        least = min(least, mean)
        first = mean if step <= LOOK else first  # what goes on from a checkpoint is not judged
        fine = fine if mean >= DIVERGED * least and mean > OF_FIRST * first else step
        if step - fine > max(FOR_SO_LONG * steps, 2 * LOOK):
            raise ArithmeticError(
                f"{name}: the loss has been more than {DIVERGED:g} times its least, {least:.3g}, since step {fine}; "
                f"lower the rate (-p rate=..., deeper_rate, teacher_rate)"
            )
        if monotonic() - saved >= CHECKPOINT_S:
            write(run.partial(name), _state(trained, optimizer) | {"step": torch.tensor(step + 1)})
            saved = monotonic()
        run.journal.step(name, step + 1, steps, mean)
    for tensor in trained.values():
        tensor.requires_grad_(False).grad = None


def answers(run: Setup, spec: Dims, tensors: Tensors, corpus: Corpus, *, quick: bool = False) -> Tensor:
    """The vectors of K encoders for every text, float32 [K, N, O], each independent of the others.

    quick: with the products of training, for what is learned from; else in float32.
    """
    outputs = tensors["projection_weight"].shape[-1]
    found = torch.empty(spec.students, len(corpus.texts), outputs, device=run.device)
    with torch.inference_mode(), run.autocast() if quick else nullcontext():
        for batch in passed(run, corpus):
            found[:, batch.rows] = vectors(tensors, encode(spec, tensors, batch.ids, batch.mask).cls).float()
    return found.clone()  # an ordinary tensor again


def passed(run: Setup, corpus: Corpus) -> Iterator[Batch]:
    """All texts once, the longest first, in batches of as many tokens as suit the device."""
    tokens = ANSWERED_TOKENS.get(run.device.type, MOST_ANSWERED)
    order = np.argsort(-corpus.texts.lengths, kind="stable")
    start = 0
    while start < len(order):
        size = max(1, tokens // int(corpus.texts.lengths[order[start]]))
        yield corpus.batch(order[start : start + size])
        start += size
        run.journal.answered(min(start, len(order)), len(order))


def write(path: Path, tensors: Tensors) -> None:
    """Write tensors to a temporary name, then rename. Raises OSError where that fails."""
    write_tensors(path, {name: tensor.detach().cpu() for name, tensor in tensors.items()})


def read(path: Path, device: torch.device) -> Tensors:
    """The tensors of a file that `write` wrote. Raises ValueError where it is broken."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return dict(load_file(path, device=str(device)))
    except SafetensorError as error:
        raise ValueError(f"{path} is broken ({error}): delete it and run the same command again") from None


def _schedule(step: int, steps: int) -> float:
    """The share of the rate: up in the first steps, then down to zero."""
    rise = max(1.0, WARMUP * steps)
    return min((step + 1) / rise, (steps - step) / max(1.0, steps - rise), 1.0)


def _state(trained: Tensors, optimizer: torch.optim.Optimizer) -> Tensors:
    """Everything that training goes on from: the tensors and the optimizer's moments."""
    moments = {
        f"{kind}/{name}": value
        for name, tensor in trained.items()
        for kind, value in optimizer.state[tensor].items()
        if kind != "step"
    }
    return {f"value/{name}": tensor for name, tensor in trained.items()} | moments


def _resume(path: Path, trained: Tensors, optimizer: torch.optim.Optimizer) -> int:
    """Restore tensors and moments; returns the step to go on with."""
    if not path.exists():
        return 0
    state = read(path, torch.device("cpu"))
    step = int(state["step"])
    for name, tensor in trained.items():
        with torch.no_grad():
            tensor.copy_(state[f"value/{name}"])
        optimizer.state[tensor] = {
            "step": torch.tensor(float(step), device=tensor.device),
            **{kind: state[f"{kind}/{name}"].to(tensor.device) for kind in ("exp_avg", "exp_avg_sq")},
        }
    return step
