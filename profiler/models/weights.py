"""The ensemble's weights, stacked by student in order of importance: the prefix k is a slice, not a copy."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, fields, replace
from functools import cached_property
from pathlib import Path

import torch
from torch import Tensor

from profiler.models.spec import Dims
from traces.shared.atomic import replacing
from traces.shared.documents import checked, json_text, parse_json

FORMAT = "cohort-weights/1"
#: What weights are kept in. Other types (8 bits, whole numbers) have scales elsewhere, which nothing here would apply.
DTYPES = (torch.float64, torch.float32, torch.bfloat16, torch.float16)
#: Tensors that belong to the embeddings; their first axis is 1 where one set serves all students.
EMBEDDINGS = ("word_embeddings", "position_embeddings", "embedding_ln_weight", "embedding_ln_bias")
#: What belongs to them where tokens have types.
TYPES = "type_embeddings"


@dataclass(frozen=True, eq=False)
class Layer:
    """One encoder layer of all K students. Matrices are [K, in, out], so that y = x @ w + b.

    qkv_weight: [K, H, 3H], the columns query, key, value; within each, head after head. key_bias and value_bias are
    None once `simplify` has removed them. ffn1_weight: [K, H, F]. ffn2_weight: [K, F, H]. Biases and norms: [K, width].
    """

    qkv_weight: Tensor
    query_bias: Tensor
    key_bias: Tensor | None
    value_bias: Tensor | None
    out_weight: Tensor
    out_bias: Tensor
    ln1_weight: Tensor
    ln1_bias: Tensor
    ffn1_weight: Tensor
    ffn1_bias: Tensor
    ffn2_weight: Tensor
    ffn2_bias: Tensor
    ln2_weight: Tensor
    ln2_bias: Tensor


@dataclass(frozen=True, eq=False)
class Weights:
    """All tensors of an ensemble, each with the students (most important first) as its first axis.

    word_embeddings: [E, V, H]; position_embeddings: [E, P, H] with token type 0 added in; embedding_ln_*: [E, H]; E is
    K, or 1 where the students share them. type_embeddings: [E, T, H], what each type adds to type 0 (its first row is
    0), None where there is one type. pooler_weight: [K, H, H], pooler_bias: [K, H], both None without a pooler.
    projection_weight: [K, H, O], projection_bias: [K, O]: student i gives v_i = pooled @ w_i + b_i (boosting's step
    sizes are folded in). head_weight: [K, O, C], head_bias: [K, C]: with the first k students the logits are
    (v_0 + ... + v_{k-1}) @ head_weight[k - 1] + head_bias[k - 1].
    """

    spec: Dims
    word_embeddings: Tensor
    position_embeddings: Tensor
    embedding_ln_weight: Tensor
    embedding_ln_bias: Tensor
    layers: tuple[Layer, ...]
    pooler_weight: Tensor | None
    pooler_bias: Tensor | None
    projection_weight: Tensor
    projection_bias: Tensor
    head_weight: Tensor
    head_bias: Tensor
    type_embeddings: Tensor | None = None

    @property
    def dtype(self) -> torch.dtype:
        return self.projection_weight.dtype

    @property
    def device(self) -> torch.device:
        return self.projection_weight.device

    @property
    def nbytes(self) -> int:
        """Bytes of all tensors."""
        return sum(tensor.nbytes for tensor in self.tensors().values())

    def tensors(self) -> dict[str, Tensor]:
        """Every tensor by name; those of layer 3 begin with `layers.3.`."""
        found = dict(_fields(self))
        for index, layer in enumerate(self.layers):
            found |= {f"layers.{index}.{name}": tensor for name, tensor in _fields(layer)}
        return found

    def map(self, change: Callable[[str, Tensor], Tensor]) -> Weights:
        """The same weights with every tensor replaced by `change(name, tensor)`."""
        return assemble(self.spec, {name: change(name, tensor) for name, tensor in self.tensors().items()})

    def to(self, device: torch.device | str | None = None, dtype: torch.dtype | None = None) -> Weights:
        """The same weights on another device, in another type."""
        return self.map(lambda _, tensor: tensor.to(device=device, dtype=dtype))

    @cached_property
    def singles(self) -> tuple[Weights, ...]:
        """Student by student: views without the first axis (the heads, which belong to prefixes, stay as they are)."""
        return tuple(self._single(index) for index in range(self.spec.students))

    def _single(self, index: int) -> Weights:
        own = {name: tensor for name, tensor in _fields(self) if not name.startswith("head_")}
        shared = (*EMBEDDINGS, TYPES) if self.spec.shared_embeddings else ()
        views = {name: tensor[0 if name in shared else index] for name, tensor in own.items()}
        layers = (replace(layer, **{name: tensor[index] for name, tensor in _fields(layer)}) for layer in self.layers)
        return replace(self, spec=replace(self.spec, students=1), layers=tuple(layers), **views)

    def prefix(self, students: int) -> Weights:
        """The first `students` students: views of the same memory."""
        if not 1 <= students <= self.spec.students:
            raise LookupError(f"{self.spec.name} has 1 to {self.spec.students} students, not {students}")
        return assemble(replace(self.spec, students=students), self._cut(0, students))

    def part(self, first: int, last: int) -> Weights:
        """Students first + 1 to last as a model of their own that answers with the sum of their vectors."""
        if not 0 <= first < last <= self.spec.students:
            raise LookupError(f"{self.spec.name} has no students {first + 1} to {last}")
        name, students = f"{self.spec.name}/{first + 1}-{last}", last - first
        spec = replace(self.spec, name=name, students=students, classes=self.spec.outputs)
        bias = torch.zeros_like(self.projection_bias[:1]).expand(students, -1)
        unit = torch.eye(self.spec.outputs, dtype=self.dtype, device=self.device).expand(students, -1, -1)
        return assemble(spec, self._cut(first, last) | {"head_weight": unit, "head_bias": bias})

    def _cut(self, first: int, last: int) -> dict[str, Tensor]:
        """Students first + 1 to last of every tensor; embeddings that are shared whole."""
        shared = (*EMBEDDINGS, TYPES) if self.spec.shared_embeddings else ()
        return {name: own if name in shared else own[first:last] for name, own in self.tensors().items()}


def random(spec: Dims, seed: int, dtype: torch.dtype = torch.float32, device: torch.device | str = "cpu") -> Weights:
    """Weights drawn as BERT's are (normal, 0.02), with biases and norms that are not neutral, so that tests see them.

    Student i depends on the seed and i only: a small ensemble equals the prefix of a larger one. A device draws numbers
    of its own: equal seeds agree on equal devices.
    """

    def draw(shape: tuple[int, ...], name: str) -> Tensor:
        tensor = torch.empty(shape, dtype=dtype, device=device)
        for student, part in enumerate(tensor):
            if student not in generators:
                generators[student] = torch.Generator(device).manual_seed(1_000_003 * seed + student)
            generator = generators[student]
            part.normal_(0.0, 0.02, generator=generator)
            if "ln" in name and name.endswith("weight"):
                part.add_(1.0)
            if name == TYPES:
                part[0].zero_()
        return tensor

    generators: dict[int, torch.Generator] = {}
    return assemble(spec, {name: draw(shape, name) for name, shape in shapes(spec).items()})


def shapes(spec: Dims) -> dict[str, tuple[int, ...]]:
    """The shape of every tensor of an ensemble with all its biases, by name."""
    k, e, h, f, o = spec.students, spec.embeddings, spec.hidden, spec.ffn, spec.outputs
    result: dict[str, tuple[int, ...]] = dict.fromkeys(EMBEDDINGS, (e, h))
    result |= {"word_embeddings": (e, spec.vocab, h), "position_embeddings": (e, spec.positions, h)}
    layer: dict[str, tuple[int, ...]] = {field.name: (k, h) for field in fields(Layer)}
    layer |= {"qkv_weight": (k, h, 3 * h), "out_weight": (k, h, h)}
    layer |= {"ffn1_weight": (k, h, f), "ffn1_bias": (k, f), "ffn2_weight": (k, f, h)}
    if spec.types > 1:
        result[TYPES] = (e, spec.types, h)
    for index in range(spec.layers):
        result |= {f"layers.{index}.{name}": shape for name, shape in layer.items()}
    if spec.pooler:
        result |= {"pooler_weight": (k, h, h), "pooler_bias": (k, h)}
    result |= {"projection_weight": (k, h, o), "projection_bias": (k, o)}
    return result | {"head_weight": (k, o, spec.classes), "head_bias": (k, spec.classes)}


def simplify(weights: Weights, *, drop_key_bias: bool = True, fold_value_bias: bool = True) -> Weights:
    """The same function with fewer additions; both steps are exact in real arithmetic.

    A key bias adds the same number to all scores of a query, which softmax ignores. Attention weights sum to one, so a
    value bias passes through attention unchanged: it is folded into the bias of the output projection.
    """
    return replace(weights, layers=tuple(_simplify(layer, drop_key_bias, fold_value_bias) for layer in weights.layers))


def _simplify(layer: Layer, drop_key_bias: bool, fold_value_bias: bool) -> Layer:
    if drop_key_bias:
        layer = replace(layer, key_bias=None)
    if not fold_value_bias or layer.value_bias is None:
        return layer
    bias, weight = layer.value_bias.double(), layer.out_weight.double()
    folded = layer.out_bias.double() + torch.einsum("kh,kho->ko", bias, weight)
    return replace(layer, value_bias=None, out_bias=folded.to(layer.out_bias.dtype))


def save(weights: Weights, path: str | os.PathLike[str], *, task: str = "") -> None:
    """Write one safetensors file: the tensors by name, the spec in its metadata, and the task it answers, if named.

    Raises OSError where that fails.
    """
    about = {"format": FORMAT, "spec": json_text(asdict(weights.spec))} | ({"task": task} if task else {})
    write_tensors(Path(path), weights.tensors(), about)


def write_tensors(path: Path, tensors: Mapping[str, Tensor], metadata: dict[str, str] | None = None) -> None:
    """Write a safetensors file to a temporary name, then rename. Raises OSError where that fails."""
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    with replacing(path) as part:
        try:
            save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, part, metadata)
        except SafetensorError as error:
            raise OSError(f"{path} cannot be written: {error}") from None


def load(path: str | os.PathLike[str]) -> Weights:
    """Read what `save` wrote. Raises LookupError for no such file, ValueError where it is not such a file."""
    from safetensors.torch import load_file

    if not Path(path).is_file():
        raise LookupError(f"no weights at {path}")
    metadata = about(path)
    if metadata.get("format") != FORMAT:
        raise ValueError(f"{path} is not an ensemble: its format is {metadata.get('format')}, not {FORMAT}")
    spec = checked(Dims, parse_json(metadata.get("spec", ""), f"{path}: its spec"), f"{path}: its spec")
    tensors = load_file(path)
    for name, tensor in tensors.items():
        if tensor.dtype not in DTYPES:
            raise ValueError(f"{path}: {name} is of type {str(tensor.dtype).removeprefix('torch.')}, not of a float's")
    return assemble(spec, tensors)


def about(path: str | os.PathLike[str]) -> dict[str, str]:
    """What a safetensors file says of itself. Raises ValueError for other files."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, "pt") as file:
            return file.metadata() or {}
    except SafetensorError as error:
        raise ValueError(f"{path} is not a safetensors file: {error}") from None


def _fields(owner: Weights | Layer) -> Iterator[tuple[str, Tensor]]:
    """The tensors that are fields of this object, by name."""
    for field in fields(owner):
        if isinstance(value := getattr(owner, field.name), Tensor):
            yield field.name, value


def digest(tensors: Mapping[str, Tensor]) -> str:
    """Which model it is: a hash of its numbers in float32, without the heads of prefixes and the types of tokens."""
    found = hashlib.sha256()
    for name in sorted(name for name in tensors if name != TYPES and not name.startswith("head_")):
        found.update(tensors[name].detach().cpu().float().numpy().tobytes())
    return found.hexdigest()[:16]


def assemble(spec: Dims, tensors: dict[str, Tensor]) -> Weights:
    """Weights from tensors by name. Raises ValueError where one is missing, left over, or of the wrong shape.

    Without embeddings of token types there is one type.
    """
    spec = spec if TYPES in tensors else replace(spec, types=1)
    expected = shapes(spec)
    optional = {name for name in expected if name.endswith(("key_bias", "value_bias"))}
    wrong = sorted((expected.keys() - optional - tensors.keys()) | (tensors.keys() - expected.keys()))
    if wrong:
        raise ValueError(f"weights of {spec.name}: missing or unknown tensors: {', '.join(wrong)}")
    for name, tensor in tensors.items():
        if tuple(tensor.shape) != expected[name]:
            raise ValueError(f"weights of {spec.name}: {name} is {tuple(tensor.shape)}, expected {expected[name]}")
    layers = tuple(
        Layer(**{field.name: tensors.get(f"layers.{index}.{field.name}") for field in fields(Layer)})  # type: ignore[arg-type]
        for index in range(spec.layers)
    )
    own = {field.name: tensors.get(field.name) for field in fields(Weights) if field.name not in ("spec", "layers")}
    return Weights(spec=spec, layers=layers, **own)  # type: ignore[arg-type]
