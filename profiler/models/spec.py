"""What runs on a device: the shape of an ensemble of BERT encoders, and its name. A leaf: no torch."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import ClassVar

_NAME = re.compile(r"(students|teacher|single)-(\d+)x(\d+)(-of-\d+x\d+)?")
#: Widths that do not follow BERT's rule of 64 per attention head.
_HEADS = {312: 12}
#: Larger than any BERT: nobody means it, and to draw its weights would fill the memory.
MOST_LAYERS, MOST_HIDDEN = 1000, 65_536
#: Feed-forward widths that are not four times the hidden width.
_FFN = {312: 1200}


@dataclass(frozen=True)
class Dims:
    """The shape of an ensemble: `students` BERT encoders of equal shape, whose [CLS] outputs are summed.

    name: as the tables name the model, e.g. students-2x384. students: K, 1 for a teacher. outputs: width O of the
    vector that is summed over the active students (the classes for plain classifiers, the teacher's width for a boosted
    ensemble). shared_embeddings: whether one set of embeddings serves all students. pooler: whether a dense layer with
    tanh stands between [CLS] and the projection, as in BERT. types: of tokens (those of a pair's first text, and of its
    second); a token of type t is given as its id + t * vocab, so that ids stay one array everywhere.
    """

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    name: str
    students: int
    layers: int
    hidden: int
    heads: int
    ffn: int
    vocab: int = 30522
    positions: int = 512
    classes: int = 2
    outputs: int = 2
    pooler: bool = True
    shared_embeddings: bool = False
    norm_eps: float = 1e-12
    types: int = 1

    def __post_init__(self) -> None:
        for field in (
            "students",
            "layers",
            "hidden",
            "heads",
            "ffn",
            "vocab",
            "positions",
            "classes",
            "outputs",
            "types",
        ):
            if getattr(self, field) < 1:
                raise ValueError(f"model {self.name}: {field} is {getattr(self, field)} (must be at least 1)")
        if not 0 <= self.norm_eps < 1:
            raise ValueError(f"model {self.name}: norm_eps is {self.norm_eps} (must be 0 or more, and less than 1)")
        if self.hidden % self.heads:
            raise ValueError(f"model {self.name}: width {self.hidden} is not divisible by {self.heads} heads")

    @property
    def head_width(self) -> int:
        """Width of one attention head."""
        return self.hidden // self.heads

    @property
    def inputs(self) -> int:
        """How many different inputs there are: an id of every type. What is given is below it."""
        return self.vocab * self.types

    @property
    def embeddings(self) -> int:
        """How many sets of embeddings there are: 1 where they are shared, else one per student."""
        return 1 if self.shared_embeddings else self.students


def parse_spec(name: str, students: int = 1, *, shared_embeddings: bool = False) -> Dims:
    """The BERT shape that a table's model name stands for: `students-LxH`, or of one model `teacher-LxH`, `single-LxH`.

    L layers of width H; `-of-LxH` behind it names the teacher that it learned from, where that is not the table's.
    Heads are 64 wide and the feed-forward is 4 H, as in BERT and Google's miniatures (312 wide: as in TinyBERT).
    Raises LookupError for any other name, ValueError for a teacher or single model of several students.
    """
    match = _NAME.fullmatch(name)
    if match is None:
        raise LookupError(
            f"unknown model {name!r}: write students-LxH, teacher-LxH or single-LxH, such as students-2x384"
        )
    kind, layers, hidden = match[1], int(match[2]), int(match[3])
    if kind != "students" and students != 1:
        raise ValueError(f"model {name}: a {kind} model is one, not {students} students")
    if hidden not in _HEADS and hidden % 64:
        raise LookupError(f"model {name}: width {hidden} is not a multiple of 64 (attention heads are 64 wide)")
    if layers > MOST_LAYERS or hidden > MOST_HIDDEN:
        raise LookupError(f"model {name}: models of up to {MOST_LAYERS} layers, {MOST_HIDDEN:,} wide, are known")
    heads, ffn = _HEADS.get(hidden, hidden // 64), _FFN.get(hidden, 4 * hidden)
    return Dims(name, students, layers, hidden, heads, ffn, shared_embeddings=shared_embeddings)
