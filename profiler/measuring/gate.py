"""The numerics gate: an executor must give the reference's answers before anybody times it."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from profiler.executors.interface import Engine, Ids
from profiler.measuring import reference
from profiler.measuring.mixes import random_batch
from profiler.models.foreign import Foreign
from profiler.models.weights import Weights
from profiler.table import BucketPlan, ShapeKey

#: Largest relative distance (2-norm over all answers of a check) from the float64 reference of a model of two layers.
#: Rounding errors of the layers add up like a random walk: deeper models get the square root of their depth.
#: int8 has no bound of its own: what weights and activations in 8 bits lose depends on the model (1.7e-2 was seen).
TOLERANCE = {"float32": 1e-6, "float16": 3e-3, "bfloat16": 1.5e-2, "int8": 5e-2}
#: Rows of the first batch that are compared: the answers of three requests alone are too few to judge rounding by.
ROWS = 8
#: Tokens of the texts of that batch where it is packed.
SHORT = 16
#: A single batch may be so many times further off: one request has few logits, and where they happen to be near zero,
#: rounding is large against them (1.5e-2 in bfloat16 was seen for a correct forward pass of two layers).
SINGLE = 10.0


def check(executor: Engine, weights: Weights | Foreign, rng: np.random.Generator, *, keys: int = 3) -> dict[str, float]:
    """Compare an executor with the float64 reference of `weights` on a few keys; returns the largest errors.

    reference: relative distance to the reference, pooled over prefixes and shapes. worst: the same of a single batch.
    padding: between answers of the same requests when everything else in the buffers has changed. Raises
    ArithmeticError where one is too large.
    """
    tolerance = TOLERANCE[executor.dtype] * math.sqrt(max(1.0, executor.spec.layers / 2))
    errors = {"reference": 0.0, "worst": 0.0, "padding": 0.0}
    answers, references = [], []
    counts = sorted({executor.students[0], executor.students[len(executor.students) // 2], executor.students[-1]})
    for students in counts:
        for number, key in enumerate(_small_keys(executor.plan, students, keys)):
            ids = random_batch(executor.plan, key, executor.spec.inputs, rng)
            got = executor.run(students, ids).logits
            some = 2 if number else ROWS  # the reference is slow
            exact = reference.logits(weights, students, ids[:some])
            answers.append(got[:some])
            references.append(exact)
            errors["worst"] = max(errors["worst"], distance(got[:some], exact))
            executor.run(students, random_batch(executor.plan, key, executor.spec.inputs, rng))
            errors["padding"] = max(errors["padding"], distance(_again(executor, students, ids, rng), got))
    errors["reference"] = distance(np.concatenate(answers), np.concatenate(references))
    for name, error in errors.items():
        if not error <= tolerance * (1.0 if name == "reference" else SINGLE):
            raise ArithmeticError(
                f"{executor.spec.name} in {executor.dtype} fails the numerics gate: {name} error {error:.2e}, but "
                f"{tolerance:.0e} is allowed (a single batch: {SINGLE:g} times that); nothing was timed"
            )
    return errors


def distance(got: NDArray[np.floating], exact: NDArray[np.floating]) -> float:
    """Relative distance in the 2-norm; infinite where an answer is not finite."""
    if not np.isfinite(got).all():
        return float("inf")
    return float(np.linalg.norm(got - exact) / np.linalg.norm(exact))


def _again(executor: Engine, students: int, ids: Sequence[Ids], rng: np.random.Generator) -> NDArray[np.float32]:
    """The answers to the same requests after the buffers have held something else."""
    executor.run(students, [rng.integers(0, executor.spec.inputs, size=len(row), dtype=np.int32) for row in ids])
    return executor.run(students, ids).logits


def _small_keys(plan: BucketPlan, students: int, count: int) -> list[ShapeKey]:
    largest_small = [tokens for tokens in plan.tokens if tokens <= 128] or [plan.tokens[0]]
    several = next((batch for batch in plan.batches if batch >= ROWS), plan.max_batch)
    batches = [several, plan.batches[0], plan.batches[min(1, len(plan.batches) - 1)]]
    lengths = [plan.tokens[min(SHORT, len(plan.tokens)) - 1 if plan.totals else 0], largest_small[-1]]
    lengths.append(largest_small[len(largest_small) // 2])
    even = ([length] * batch for batch, length in zip(batches, lengths, strict=True))
    return list(dict.fromkeys(plan.key(students, each) for each in even))[:count]
