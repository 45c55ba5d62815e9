"""How a study is trained: every hyper-parameter, with its default for a GPU and for a CPU."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace

#: What is trained beside the boosted students, to compare with.
BASELINES = ("single", "bagging", "deep", "deeper", "wide")
#: Recipes count texts for so many training rows, about those of SST-2.
ROWS = 60_000
#: The least values of whole numbers, where that is not 1. tokens: [CLS], [SEP] and one of the text.
_LEAST = dict.fromkeys(("width", "teacher_embeddings", "fitting_texts", "imitation_texts", "joint_texts", "inherit"), 0)
_LEAST["tokens"] = 3


@dataclass(frozen=True)
class Recipe:
    """All settings of a study but the task, the teacher and the seed. `_texts` count texts seen, not epochs.

    The texts of a recipe by name are for ROWS training rows; see `scaled`.
    """

    #: The ensemble's shape; width 0 is the teacher's.
    students: int = 8
    depth: int = 2
    width: int = 0
    #: Longer texts are cut.
    tokens: int = 128
    #: Texts a step, everywhere but in fine-tuning.
    batch: int = 32
    #: Fine-tuning of the teacher. teacher_decay: the rate of a layer over that of the next one up. teacher_embeddings:
    #: whether (1) or not (0) its embeddings learn.
    teacher_texts: int = 180_000
    teacher_batch: int = 32
    teacher_rate: float = 6e-5
    teacher_decay: float = 1.0
    teacher_dropout: float = 0.1
    teacher_embeddings: int = 1
    #: Students learn from so many texts: of more training texts a sample; fewer are filled up by augmented ones, which
    #: the teacher labels. 0: the training texts.
    fitting_texts: int = 120_000
    #: Imitation of hidden states and attention: by so many encoders at once, which students begin as copies of.
    bodies: int = 2
    imitation_texts: int = 12_000
    attention: float = 0.1
    #: One boosted student. inherit: whether (1) or not (0) it begins with the layers of the student that is `bodies`
    #: before it, where there is one. shrinkage: the share of the best step that is taken.
    student_texts: int = 80_000
    inherit: int = 1
    rate: float = 6e-4
    shrinkage: float = 0.4
    #: The corrective phase; 0 texts leave boosting's students as they are, which was better (docs/distillation.md).
    #: prefixes: weight of all prefixes' mean loss.
    joint_texts: int = 0
    joint_rate: float = 4e-4
    prefixes: float = 0.3
    #: Weight of the teacher's logits beside its vector in what students regress.
    logits: float = 1.0
    #: Weights of a prefix's divergence from the teacher's answers (at a temperature) and cross-entropy with the labels.
    distil: float = 0.5
    temperature: float = 2.0
    labels: float = 0.1
    #: Weight of a head of the student's own, for training alone, which keeps single students useful.
    alone: float = 0.1
    #: Weight of following a helper that is told the sum of the students before; 0 leaves the helper out.
    peer: float = 0.0
    #: What is trained to compare with, comma-separated or none; texts of a single model, of a bagged one.
    baselines: str = "single,bagging,deep,wide"
    single_texts: int = 180_000
    bagging_texts: int = 80_000
    #: The rate of the baseline `deeper`: at `rate` one of six layers lost all it knew within a thousand steps.
    deeper_rate: float = 2e-4

    def __post_init__(self) -> None:
        for name, value in ((field.name, getattr(self, field.name)) for field in fields(self)):
            least = _LEAST.get(name, 1)
            if isinstance(value, int) and value < least:
                raise ValueError(f"{name} is {value} (must be at least {least})")
            if isinstance(value, float) and not 0 <= value < float("inf"):
                raise ValueError(f"{name} is {value} (must be a finite number of at least 0)")
        for name in ("temperature", "rate", "joint_rate", "deeper_rate", "teacher_rate", "teacher_decay", "logits"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} is {getattr(self, name)} (must be positive)")
        if not 0 < self.shrinkage <= 1:
            raise ValueError(f"shrinkage is {self.shrinkage} (must lie above 0, up to 1)")
        if not self.teacher_dropout < 1:
            raise ValueError(f"teacher_dropout is {self.teacher_dropout} (must lie below 1)")
        if unknown := [name for name in self.wanted if name not in BASELINES]:
            raise LookupError(f"unknown baseline {', '.join(unknown)}; there are {', '.join(BASELINES)} (or none)")

    @property
    def wanted(self) -> tuple[str, ...]:
        """The baselines to train."""
        return () if self.baselines in ("", "none") else tuple(self.baselines.split(","))

    def scaled(self, rows: int) -> Recipe:
        """The recipe for so many training rows: texts shrink with the root of the rows, where these are below ROWS."""
        share = min(1.0, rows / ROWS) ** 0.5
        texts = {name: round(getattr(self, name) * share) for name in _TEXTS}
        return replace(self, **{name: max(count, 1 if getattr(self, name) else 0) for name, count in texts.items()})

    def changed(self, settings: Sequence[str]) -> Recipe:
        """The recipe with `key=value` settings. Raises LookupError or ValueError for what it does not know."""
        kinds = {field.name: type(getattr(self, field.name)) for field in fields(self)}
        changes = {}
        for setting in settings:
            name, found, text = setting.partition("=")
            if not found:
                raise ValueError(f"setting {setting!r} is not of the form key=value")
            if name not in kinds:
                raise LookupError(f"unknown setting {name!r}; there are {', '.join(kinds)}")
            try:
                changes[name] = kinds[name](text)
            except ValueError:
                raise ValueError(f"setting {name}: {text!r} is not of type {kinds[name].__name__}") from None
        return replace(self, **changes)


_TEXTS = tuple(field.name for field in fields(Recipe) if field.name.endswith("_texts"))
#: `tiny` looks at so many rows of each split, since to answer thousands by a deep teacher takes minutes.
TINY_ROWS = 200
#: Recipes by name. `tiny` shows in two minutes that everything works, `reduced` is for two CPU cores, `full` for a GPU.
RECIPES = {
    "tiny": Recipe(
        students=2,
        teacher_texts=192,
        fitting_texts=192,
        bodies=1,
        imitation_texts=128,
        student_texts=320,
        baselines="single",
        single_texts=320,
        bagging_texts=320,
    ),
    "reduced": Recipe(),
    "full": Recipe(
        batch=512,
        teacher_texts=200_000,
        teacher_batch=64,
        teacher_rate=1e-4,
        fitting_texts=300_000,
        bodies=3,
        imitation_texts=400_000,
        student_texts=600_000,
        single_texts=1_400_000,
        bagging_texts=1_400_000,
        peer=0.2,
    ),
}
