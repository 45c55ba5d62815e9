"""Ramps: small classifiers on the [CLS] row after each layer of a deep encoder, in one file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from profiler.models.spec import Dims
from profiler.models.weights import about, write_tensors

FORMAT = "cohort-ramps/1"
#: What a ramp may be: one matrix; or a dense layer with tanh before it, as a pooler.
SHAPES = ("linear", "pooler")


@dataclass(frozen=True, eq=False)
class RampWeights:
    """A ramp after each of L layers. weight: [L, H, C]. bias: [L, C]. pooler_weight: [L, H, H] and pooler_bias: [L, H],
    or both None.

    about: model, task, shape, digest of the model's weights, seed.
    """

    weight: Tensor
    bias: Tensor
    pooler_weight: Tensor | None
    pooler_bias: Tensor | None
    about: Mapping[str, str]

    def logits(self, rows: Tensor) -> Tensor:
        """[L, B, C] of the [CLS] rows [L, B, H]."""
        if self.pooler_weight is not None and self.pooler_bias is not None:
            rows = torch.tanh(torch.baddbmm(self.pooler_bias[:, None], rows, self.pooler_weight))
        return torch.baddbmm(self.bias[:, None], rows, self.weight)

    def at(self, layer: int, rows: Tensor) -> Tensor:
        """[B, C] of the [CLS] rows [B, H] after this layer, counted from 1."""
        if self.pooler_weight is not None and self.pooler_bias is not None:
            rows = torch.tanh(torch.addmm(self.pooler_bias[layer - 1], rows, self.pooler_weight[layer - 1]))
        return torch.addmm(self.bias[layer - 1], rows, self.weight[layer - 1])

    def to(self, device: torch.device) -> RampWeights:
        """The same ramps on a device, in float32."""
        own = {name: tensor.to(device, torch.float32) for name, tensor in self.tensors().items()}
        return RampWeights(own["weight"], own["bias"], own.get("pooler_weight"), own.get("pooler_bias"), self.about)

    def fits(self, spec: Dims) -> None:
        """Raise ValueError where these are not ramps of a model of this shape."""
        wanted = (spec.layers, spec.hidden, spec.classes)
        if spec.students > 1 or tuple(self.weight.shape) != wanted:
            raise ValueError(
                f"ramps of {self.about.get('model', 'another model')} (layers, width, classes: "
                f"{tuple(self.weight.shape)}) do not fit {spec.name}, which has {spec.students} students of {wanted}"
            )

    def tensors(self) -> dict[str, Tensor]:
        """Every tensor by name."""
        names = ("weight", "bias", "pooler_weight", "pooler_bias")
        return {name: own for name in names if (own := getattr(self, name)) is not None}

    def save(self, path: Path) -> None:
        """Write one safetensors file. Raises OSError where that fails."""
        write_tensors(path, self.tensors(), {"format": FORMAT, **self.about})


def random_ramps(spec: Dims, shape: str = "linear", seed: int = 0) -> RampWeights:
    """Ramps of random numbers: they take the time of real ones. Raises LookupError for an unknown shape."""
    if shape not in SHAPES:
        raise LookupError(f"unknown shape {shape!r} of ramps; there are {', '.join(SHAPES)}")
    rng, (layers, hidden, classes) = torch.Generator().manual_seed(seed), (spec.layers, spec.hidden, spec.classes)

    def draw(*size: int) -> Tensor:
        found: Tensor = torch.randn(size, generator=rng) * hidden**-0.5
        return found

    dense = (draw(layers, hidden, hidden), draw(layers, hidden)) if shape == "pooler" else (None, None)
    about = {"model": spec.name, "shape": shape, "seed": str(seed), "training": "random"}
    return RampWeights(draw(layers, hidden, classes), draw(layers, classes), dense[0], dense[1], about)


def load_ramps(path: Path) -> RampWeights:
    """Read what `save` wrote. Raises LookupError for no such file, ValueError where it is not such a file."""
    from safetensors.torch import load_file

    if not path.is_file():
        raise LookupError(f"no ramps at {path}: python -m profiler ramps writes them")
    found = about(path)
    if (form := found.pop("format", None)) != FORMAT:
        raise ValueError(f"{path} holds no ramps: its format is {form}, not {FORMAT}")
    tensors = load_file(path)
    shapes = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
    layers, hidden, classes = shapes.get("weight", (0, 0, 0))
    wanted = {"weight": (layers, hidden, classes), "bias": (layers, classes)}
    if "pooler_weight" in shapes or "pooler_bias" in shapes:
        wanted |= {"pooler_weight": (layers, hidden, hidden), "pooler_bias": (layers, hidden)}
    if not layers or shapes != wanted:
        raise ValueError(f"{path} holds no ramps: its tensors have shapes {shapes}")
    dense, bias = (tensors.get(name) for name in ("pooler_weight", "pooler_bias"))
    return RampWeights(tensors["weight"], tensors["bias"], dense, bias, found)
