"""A study: the teacher, the students, their baselines and what they are worth, phase by phase, each resumable."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, partial

import numpy as np
import torch
from torch import Tensor

from profiler.distill.evaluation import Labelled, Record, finished, record
from profiler.distill.learning import baselines, boosting, correction, initial, teacher
from profiler.distill.learning.boosting import Lesson
from profiler.distill.learning.corpus import Corpus
from profiler.distill.learning.encoder import Tensors
from profiler.distill.learning.imitation import imitators
from profiler.distill.learning.initial import Checkpoint
from profiler.distill.learning.recipe import Recipe
from profiler.distill.learning.teacher import Target
from profiler.distill.learning.texts import Texts, augmented, join
from profiler.distill.learning.training import Setup
from profiler.models.spec import Dims
from profiler.models.weights import EMBEDDINGS, Weights, assemble
from profiler.studies.splits import Split


@dataclass(frozen=True, eq=False)
class Data:
    """A task's texts as ids. evaluated: all evaluated splits, one after the other. unlabelled: of other sets.

    mask: the id that augmentation puts in a word's place.
    """

    training: tuple[Texts, Split]
    tuning: tuple[Texts, Split]
    evaluated: tuple[Texts, Split]
    unlabelled: Texts | None
    classes: int
    mask: int


@dataclass(frozen=True, eq=False)
class Study:
    """What trains on what. checkpoint: the teacher, which is fine-tuned where it has no head."""

    run: Setup
    recipe: Recipe
    data: Data
    checkpoint: Checkpoint
    _bodies: dict[str, Tensors] = field(default_factory=dict, init=False, repr=False)

    @cached_property
    def spec(self) -> Dims:
        """The ensemble's shape."""
        recipe = self.recipe
        return initial.shape(self.checkpoint.spec, recipe.depth, recipe.width, recipe.students, self.data.classes)

    @cached_property
    def teacher(self) -> tuple[Dims, Tensors]:
        """The teacher, its logits as its vector: the checkpoint as it is, or fine-tuned."""
        own, classes = self.checkpoint.spec, self.data.classes
        spec = replace(own, name=f"teacher-{own.layers}x{own.hidden}", outputs=classes, classes=classes)
        start = {name: tensor.to(self.run.device) for name, tensor in self.checkpoint.tensors.items()}
        if self.checkpoint.head:
            return spec, start
        corpus, labels = self._placed(self.data.training)
        make = lambda: teacher.fine_tune(self.run, self.recipe, spec, start, corpus, labels)  # noqa: E731
        return spec, self.run.cached("teacher", make)

    @cached_property
    def fitting(self) -> tuple[Texts, Tensor]:
        """The training texts that students learn from, and their labels: all, or as many as the recipe wants."""
        texts, count = self.data.training[0], self.recipe.fitting_texts
        labels = torch.from_numpy(self.data.training[1].labels).to(self.run.device)
        if not 0 < count < len(texts):
            return texts, labels
        rows = np.sort(self.run.rng("fitting").choice(len(texts), count, replace=False))
        return Texts(texts.ids[rows], texts.lengths[rows]), labels[torch.from_numpy(rows).to(self.run.device)]

    @cached_property
    def lesson(self) -> Lesson:
        """The fitting texts, real ones first, and what the teacher says about them (cached, as float16)."""
        texts, labels = self.fitting
        more = self.recipe.fitting_texts - len(texts)
        if more > 0:
            changed = augmented(texts, more, self.recipe.tokens, self.data.mask, self.run.rng("augmentation"))
            texts = join(texts, changed)
            labels = torch.nn.functional.pad(labels, (0, more), value=-1)
        corpus = self._corpus(texts)
        said = self.run.cached("targets", lambda: {"said": teacher.says(self.run, *self.teacher, corpus).half()})
        says = said["said"].float()
        target = Target.fitted(says, self.data.classes, self.recipe.logits)
        return Lesson(corpus, labels, target, target.of(says), says[:, -self.data.classes :].contiguous())

    @cached_property
    def ensemble(self) -> Tensors:
        """The students, boosted one after another, then corrected together, each with its best step at last."""
        frozen = {key: self.body(self.recipe.depth, 0)[key] for key in EMBEDDINGS}
        if self.run.has("steps"):
            self._boosted_before("joint")
        else:
            self._corrected  # noqa: B018  phases of their own, before the one that needs them
        return frozen | self.run.cached("steps", self._searched)

    @cached_property
    def _corrected(self) -> Tensors:
        """The students as boosting and the corrective phase leave them."""
        depth = self.recipe.depth
        if self.run.has("joint"):  # what boosting left is not needed any more
            self._boosted_before()
            frozen = {key: self.body(depth, 0)[key] for key in EMBEDDINGS}
            return frozen | self.run.cached("joint", dict)
        tuning = self._placed(self.data.tuning)
        start = lambda number: self.body(depth, number - 1)  # noqa: E731
        boosted, left = boosting.boost(self.run, self.recipe, self.spec, start, self.lesson, tuning)
        students = correction.stack(boosted)
        if not self.recipe.joint_texts:
            return students
        make = partial(correction.correct, self.run, self.recipe, self.spec, students, self.lesson, left)
        return students | self.run.cached("joint", make)

    def _boosted_before(self, *further: str) -> None:
        """Tell the journal that an earlier run has boosted the students (and finished further phases)."""
        for phase in (*(f"student-{number}" for number in range(1, self.recipe.students + 1)), *further):
            self.run.journal.end(phase)

    def _searched(self) -> Tensors:
        """The corrected students, each with its best step; what boosting alone left has it already."""
        students = self._corrected
        if self.recipe.joint_texts:
            students, steps = correction.searched(self.run, self.spec, students, self.lesson)
            words = f"residual by students {', '.join(f'{step.after:.4f}' for step in steps)}"
            figures = {"steps": [step.size for step in steps], "residuals": [step.after for step in steps]}
            self.run.journal.note("joint", words, **figures)
        return {key: tensor for key, tensor in students.items() if key not in EMBEDDINGS}

    def body(self, depth: int, number: int) -> Tensors:
        """What an encoder of this depth starts as: one of the imitators, in turn. [1, ...]."""
        recipe, name = self.recipe, f"imitators-{depth}"
        count = recipe.bodies if depth == recipe.depth else 1
        if name not in self._bodies:
            own = replace(self.spec, layers=depth)
            texts = self.lesson.corpus.texts
            corpus = self._corpus(texts if self.data.unlabelled is None else join(texts, self.data.unlabelled))
            make = partial(imitators, self.run, recipe, name, own, self.teacher, corpus, count)
            self._bodies[name] = self.run.cached(name, make)
        return correction.only(self._bodies[name], number % count)

    def models(self) -> dict[str, Weights]:
        """The teacher, the ensemble and the baselines, ready for an executor, by name."""
        spec, tensors = self.teacher
        head = torch.eye(spec.classes, device=self.run.device)[None]
        tensors = tensors | {"head_weight": head, "head_bias": torch.zeros_like(head[:, 0])}
        found = {spec.name: assemble(spec, tensors)}
        self._say(found[spec.name])
        if self.checkpoint.head:
            self._say(found[spec.name], self.data.evaluated, "evaluated")
        found[self.spec.name] = self._finished(self.spec, self.ensemble)
        for name in self.recipe.wanted:
            start = baselines.begin(name, self.spec, self.body)
            make = partial(baselines.train, self.run, self.recipe, name, self.spec, start, self.lesson)
            made = {key: start[key] for key in EMBEDDINGS} | self.run.cached(f"baseline-{name}", make)
            own = baselines.SHAPE[name](self.spec)
            found[own.name] = self._finished(own, made, mean=name == "bagging")
        return found

    def evaluated(self, models: Sequence[Weights]) -> list[Record]:
        """The answers of these models to the evaluated texts."""
        corpus, labels = self._placed(self.data.evaluated)
        return [record(self.run, own, Labelled(corpus, labels, labels)) for own in models]

    def _finished(self, spec: Dims, tensors: Tensors, mean: bool = False) -> Weights:
        lesson, (real, known) = self.lesson, self.fitting
        fitting = Labelled(self._corpus(real), known, lesson.said[: len(known)])
        corpus, labels = self._placed(self.data.tuning)
        tuning = Labelled(corpus, labels, labels)
        own = finished(self.run, spec, tensors, fitting, tuning, lesson.target, mean=mean)
        self._say(own)
        return own

    def _say(self, own: Weights, part: tuple[Texts, Split] | None = None, name: str = "tuning") -> None:
        """Note the accuracy of every prefix, by default on the tuning texts, which is what progress is judged by."""
        corpus, labels = self._placed(part or self.data.tuning)
        right = record(self.run, own, Labelled(corpus, labels, labels)).correct.mean(1)
        words = f"accuracy on {len(labels)} {name} texts: {', '.join(f'{share:.4f}' for share in right)}"
        self.run.journal.note(own.spec.name, words, **{name: np.round(right, 6).tolist()})

    def _corpus(self, texts: Texts) -> Corpus:
        return Corpus(texts, self.run.device)

    def _placed(self, part: tuple[Texts, Split]) -> tuple[Corpus, Tensor]:
        """Texts and labels on the device."""
        return self._corpus(part[0]), torch.from_numpy(part[1].labels).to(self.run.device)
