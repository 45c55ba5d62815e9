"""Recorded answers made up: of some layers, whose ramps agree with the final answer more and more."""

from __future__ import annotations

import numpy as np

from profiler.answers.recorded import Answers


def made_up(sizes: dict[str, int], *, layers: int = 3, seed: int = 0, **about: str) -> Answers:
    """Answers by layers to so many texts of each split; deeper ramps are surer and agree more."""
    rng, texts = np.random.default_rng(seed), sum(sizes.values())
    final = rng.integers(0, 2, texts)
    sure = np.sort(rng.random((layers, texts)), axis=0).round(4).astype(np.float32)
    answer = np.where(rng.random((layers, texts)) < (1 - sure) / 2, 1 - final, final)
    return Answers(
        tokens=rng.integers(3, 30, texts).astype(np.int32),
        label=np.where(rng.random(texts) < 0.9, final, 1 - final),
        split=np.repeat(np.array(list(sizes), object), list(sizes.values())),
        row=np.concatenate([np.arange(count) for count in sizes.values()]),
        answer=answer,
        confidence=(1 + sure) / 2,
        margin=sure,
        teacher_answer=final,
        teacher_confidence=np.ones(texts, np.float32),
        about={"model": "teacher-3x8", "task": "toy", **about},
        axis="layers",
    )
