"""Studies that nobody trained: answers that are right with given chances, and the card beside them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from profiler.distill.answered import Answered


def study_of(seed: int, rights: dict[str, tuple[float, ...]], texts: int = 4000) -> Answered:
    """Models whose prefixes are right with these chances, independently."""
    rng = np.random.default_rng(seed)
    label = np.random.default_rng(99).integers(0, 3, texts)
    answers = {
        model: np.stack([np.where(rng.random(texts) < share, label, 3) for share in shares]).astype(np.int32)
        for model, shares in rights.items()
    }
    about = {"task": "made up", "seed": seed, "teacher": "t", "ensemble": "s", "single": "o"}
    split = np.where(np.arange(texts) < 500, "development", "held-out").astype(object)
    return Answered(split, np.arange(texts), label, answers, about | {"runs_as": {name: name for name in rights}})


#: What a card says at least, and what makes it one of a clean split.
CARD = {"task": "toy", "classes": ["a", "b", "c"], "recipe": {"students": 3}, "rows": {"training": 9}}
CARD |= {"device": "none", "command": "made up", "per_request": [], "seconds": {}, "cpu_seconds": {}}
CLEAN = {"data": {"toy.csv": "abc"}, "split": "def", "commit": "0123456789abcdef", "created": "today"}


def written(
    folder: Path, seed: int, rights: dict[str, tuple[float, ...]], *, teacher: str = "teacher-6x64", leak: bool = False
) -> Path:
    """A study's folder with answers and card; names of models say their shape. leak: its split is known to leak."""
    study, folder = study_of(seed, rights), folder / f"study-{seed}"
    single = next((model for model in rights if model.startswith("single-")), "")
    roles = {"teacher": teacher, "ensemble": next(model for model in rights if "students" in model), "single": single}
    runs_as = {model: model.replace("single", "teacher").replace("bagged", "students") for model in rights}
    about = {**study.about, **roles, "task": "toy", "runs_as": runs_as}
    folder.mkdir(parents=True)
    Answered(study.split, study.row, study.label, study.answers, about).write(folder / "answers.parquet")
    clean = {"containment": {"development": {"in_training": int(leak)}}}
    (folder / "card.json").write_text(json.dumps(CARD | CLEAN | clean | {"seed": seed}))
    return folder
