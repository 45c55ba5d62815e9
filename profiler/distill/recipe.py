"""How a study is trained: every hyper-parameter, with its default for a GPU and for a CPU."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace

#: What is trained beside the boosted students, to compare with.
BASELINES = ("single", "deep", "wide", "bagging")


@dataclass(frozen=True)
class Recipe:
    """All settings of a study but the task, the teacher and the seed. Sizes of training are texts seen, not epochs.

    students, depth, width: of the ensemble; width 0 is the teacher's. batch: texts a step. teacher_texts, teacher_rate,
    teacher_dropout: of fine-tuning, in batches of teacher_batch;
    teacher_embeddings: whether (1) or not (0) its embeddings learn. fitting_texts: the training texts are filled
    up to so many by augmented ones, which the teacher labels (inputs are data). imitation_texts: for learning
    the teacher's hidden states and attention on the text of all sets, which bodies encoders do, each from other layers
    of the teacher; students begin as copies of them. student_texts, rate: of one boosted student. joint_texts,
    joint_rate: of the corrective phase that trains all students together; 0 leaves boosting's. single_texts: of a
    baseline trained by plain distillation (the best one the budget buys); bagging_texts: of each bagged student.

    logits: weight of the teacher's logits beside its vector in what students regress. distil: weight of the divergence
    from the teacher's answers, labels: of the cross-entropy with the labels (both of the prefix that a student ends).
    alone: weight of a head of the student's own that only training has. peer: weight of following the stacked helper,
    which sees the sum of the students before; 0 leaves it out. attention: weight of attention in imitation. prefixes:
    weight of all prefixes' mean loss beside the whole ensemble's in the corrective phase. shrinkage: share of
    boosting's step that is taken. temperature: of the answers that are compared.
    """

    students: int = 8
    depth: int = 2
    width: int = 0
    batch: int = 64
    teacher_batch: int = 32
    teacher_texts: int = 120_000
    teacher_embeddings: int = 0
    teacher_rate: float = 5e-5
    teacher_dropout: float = 0.1
    fitting_texts: int = 80_000
    bodies: int = 2
    imitation_texts: int = 40_000
    student_texts: int = 60_000
    joint_texts: int = 20_000
    single_texts: int = 100_000
    bagging_texts: int = 60_000
    rate: float = 5e-4
    joint_rate: float = 2e-4
    logits: float = 1.0
    distil: float = 0.5
    labels: float = 0.1
    alone: float = 0.1
    peer: float = 0.0
    attention: float = 0.1
    prefixes: float = 0.3
    shrinkage: float = 1.0
    temperature: float = 2.0
    tokens: int = 128
    baselines: str = ",".join(BASELINES)

    def __post_init__(self) -> None:
        may_be_zero = {
            "width",
            "teacher_embeddings",
            "fitting_texts",
            "imitation_texts",
            "joint_texts",
            "single_texts",
            "bagging_texts",
        }
        for name, value in ((field.name, getattr(self, field.name)) for field in fields(self)):
            if isinstance(value, int) and value < (0 if name in may_be_zero else 1):
                raise ValueError(f"{name} is {value} (must be at least {0 if name in may_be_zero else 1})")
            if isinstance(value, float) and not 0 <= value < float("inf"):
                raise ValueError(f"{name} is {value} (must be a finite number of at least 0)")
        if not 0 < self.shrinkage <= 1:
            raise ValueError(f"shrinkage is {self.shrinkage} (must lie above 0, up to 1)")
        if unknown := [name for name in self.wanted if name not in BASELINES]:
            raise LookupError(f"unknown baseline {', '.join(unknown)}; there are {', '.join(BASELINES)} (or none)")

    @property
    def wanted(self) -> tuple[str, ...]:
        """The baselines to train."""
        return () if self.baselines in ("", "none") else tuple(self.baselines.split(","))

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


#: Recipes by name. `reduced` is for two CPU cores, `full` for a GPU.
RECIPES = {
    "reduced": Recipe(),
    "full": Recipe(
        batch=512,
        teacher_texts=200_000,
        teacher_embeddings=1,
        fitting_texts=300_000,
        bodies=3,
        imitation_texts=400_000,
        student_texts=600_000,
        joint_texts=800_000,
        single_texts=1_200_000,
        bagging_texts=600_000,
        rate=1e-3,
        joint_rate=4e-4,
        peer=0.2,
    ),
}
