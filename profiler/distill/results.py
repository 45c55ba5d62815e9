"""What a study leaves: the ensemble and its tokenizer, accuracy.csv, the recorded answers, the other models, a card."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from profiler.answers.margins import learned, outcome
from profiler.answers.recorded import Answers
from profiler.answers.together import digest
from profiler.distill.answered import ANSWERS, Answered, headline
from profiler.distill.evaluation import Record, closed
from profiler.distill.learning.texts import Texts
from profiler.distill.preparation import joined, split_names
from profiler.distill.seeds import pooled
from profiler.executors.cpu import CpuExecutor
from profiler.models import weights as stored
from profiler.models.weights import Weights
from profiler.studies.splits import containment
from profiler.studies.tasks import Task
from profiler.table import BucketPlan
from profiler.table.writing import as_csv
from traces.shared.atomic import replacing, write_text
from traces.shared.documents import json_text

#: Texts on which the executor that serves is compared with the code that trained.
COMPARED = 24
#: Shares of flipped answers that are allowed when students stop text by text, for the card.
FLIPS = (0.0, 0.005, 0.01, 0.02)


@dataclass(frozen=True, eq=False)
class Results:
    """What is written. texts: the evaluated ones. ensemble, teacher: models' names. about: its origin (see `card`)."""

    task: Task
    texts: Texts
    models: Mapping[str, Weights]
    records: Mapping[str, Record]
    teacher: str
    ensemble: str
    about: Mapping[str, Any]

    @property
    def single(self) -> str | None:
        """The baseline of the students' own shape, where it was trained."""
        name = self.ensemble.replace("students-", "single-")
        return name if name in self.models else None

    @property
    def runs_as(self) -> dict[str, str]:
        """The model of a latency table that takes the same time, by name: single ones are tables' teachers."""
        found = {}
        for name, own in self.models.items():
            kind = "students" if own.spec.students > 1 or own.spec.name.startswith("students") else "teacher"
            found[name] = f"{kind}-{own.spec.layers}x{own.spec.hidden}"
        return found

    def write(self, out: Path, tokenizer: Path) -> dict[str, Any]:
        """Write everything into a folder; returns the card."""
        (out / "models").mkdir(parents=True, exist_ok=True)
        for name, own in self.models.items():
            target = out / "ensemble.safetensors" if name == self.ensemble else out / "models" / f"{name}.safetensors"
            stored.save(own.to("cpu"), target, task=self.task.name)
        for folder in (out, out / "models"):
            shutil.copy(tokenizer, folder / "tokenizer.json")
            write_text(folder / "config.json", json_text({"id2label": dict(enumerate(self.task.classes))}) + "\n")
        rows, items = self.accuracy(), self.items()
        card = self.card(rows) | {"per_request": per_request(items)}
        write_text(out / "accuracy.csv", as_csv(rows))
        with replacing(out / "items.parquet") as part:
            items.write(part)
        with replacing(out / ANSWERS) as part:
            self.answers().write(part)
        write_text(out / "card.json", json_text(card, indent=1) + "\n")
        return card

    def accuracy(self) -> list[dict[str, Any]]:
        """The rows of accuracy.csv: the headline's texts under the task's name, others under TASK-SPLIT."""
        return pooled([self.answers()])

    @property
    def _splits(self) -> dict[str, NDArray[np.bool_]]:
        return headline(self.task.name, split_names(self.task))

    def items(self) -> Answers:
        """How sure and how right every prefix of the ensemble was, text by text."""
        own, teacher, split = self.records[self.ensemble], self.records[self.teacher], joined(self.task)
        ordered = np.sort(own.chances(), axis=-1).round(4)  # more digits would triple the file
        return Answers(
            tokens=self.texts.lengths.astype(np.int32),
            label=split.labels,
            split=split_names(self.task),
            row=split.rows,
            answer=own.answers,
            confidence=ordered[..., -1].astype(np.float32),
            margin=(ordered[..., -1] - ordered[..., -2]).astype(np.float32),
            teacher_answer=teacher.answers[0],
            teacher_confidence=teacher.chances()[0].max(-1).round(4).astype(np.float32),
            about={"model": self.ensemble, "task": self.task.name, "teacher": self.teacher}
            | {"seed": str(self.about["seed"]), "texts": digest(split.texts)},
        )

    def answers(self) -> Answered:
        """The answers of all models, for studies of several seeds."""
        split = joined(self.task)
        about = {"task": self.task.name, "seed": self.about["seed"], "teacher": self.teacher, "ensemble": self.ensemble}
        about |= {"single": self.single or "", "runs_as": self.runs_as}
        answers = {name: own.answers.astype(np.int32) for name, own in self.records.items()}
        return Answered(split_names(self.task), split.rows, split.labels, answers, about)

    def card(self, rows: list[dict[str, Any]]) -> dict[str, Any]:
        """Data, settings, seeds, times, hardware, versions, and the figures in short."""
        card: dict[str, Any] = {
            "task": self.task.name,
            "classes": list(self.task.classes),
            "rows": {"training": len(self.task.training), "tuning": len(self.task.tuning)}
            | {name: len(split) for name, split in self.task.evaluated.items()}
            | {"left out": self.task.removed},
            "accuracy": [
                {key: row[key] for key in ("model", "students", "task", "accuracy", "low", "high", "agreement")}
                for row in rows
            ],
            "executor_gap": executor_gap(self.models[self.ensemble], self.texts, self.records[self.ensemble]),
        }
        task = self.task
        card["containment"] = containment(task.training, task.tuning, task.evaluated)
        if self.single:
            card["closing"] = {
                name: closed(self.records, self.ensemble, self.single, self.teacher, chosen)
                for name, chosen in self._splits.items()
            }
        return card | dict(self.about)


def per_request(items: Answers) -> list[dict[str, float]]:
    """Mean students and accuracy when each text stops early: rules of the rows for learning, judged on those served.

    whole: the accuracy of all students on the texts that the rules are judged on.
    """
    found = [(share, outcome(items, learned(items, share, items.learning), items.served)) for share in FLIPS]
    whole = round(float(items.correct[-1, items.served].mean()), 6)
    return [
        {"flips allowed": share, **{k: round(v, 6) for k, v in vars(own).items()}, "whole": whole}
        for share, own in found
    ]


def executor_gap(own: Weights, texts: Texts, record: Record) -> float:
    """The largest difference between the logits that the CPU executor gives and those recorded, over all prefixes."""
    chosen = np.linspace(0, len(texts) - 1, min(COMPARED, len(texts))).astype(int).tolist()
    longest = max(int(texts.lengths[index]) for index in chosen)
    executor = CpuExecutor(own.to("cpu"), BucketPlan((len(chosen),), (longest,)))
    executor.warm()
    ids = [texts.row(index) for index in chosen]
    gaps = [
        np.abs(executor.run(count, ids).logits - record.logits[count - 1, chosen]).max()
        for count in range(1, own.spec.students + 1)
    ]
    executor.close()
    return float(max(gaps))


def hardware(device: torch.device) -> str:
    """The name of what trained."""
    from traces.shared.origin import cpu_name

    if device.type == "cuda":
        return str(torch.cuda.get_device_name(device))
    return cpu_name(torch.get_num_threads())
