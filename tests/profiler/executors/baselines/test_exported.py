"""Graphs in other runtimes compute the ensemble's function; where a runtime is not installed its tests are skipped."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator

import numpy as np
import pytest
import torch

pytest.importorskip("transformers", reason="transformers is not installed")

from profiler.executors.baselines.engines import open_baseline
from profiler.executors.baselines.exported import NEEDS
from profiler.measuring import gate
from profiler.models import weights
from profiler.models.spec import Dims
from profiler.table import BucketPlan
from profiler.table.metadata import MODEL_ENGINES

SPEC = Dims("students-2x32", 2, 2, 32, 2, 64, vocab=50, positions=32, types=2, classes=16, outputs=16)
PLAN = BucketPlan((1, 4), (8, 16))
MISSING = {
    name: [each for each in what.split() if importlib.util.find_spec(each) is None] for name, what in NEEDS.items()
}


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.mark.slow
@pytest.mark.parametrize("engine", NEEDS)
def test_a_graph_gives_the_answers_of_the_reference(engine: str) -> None:
    if MISSING[engine]:
        pytest.skip(f"{', '.join(MISSING[engine])} is not installed")
    own = weights.random(SPEC, 0)
    executor = open_baseline(own, PLAN, (1, 2), engine)
    executor.warm()
    errors = gate.check(executor, own, np.random.default_rng(0))
    assert errors["reference"] < (5e-2 if engine == "onnx-int8" else 1e-6)
    assert (executor.dtype == "int8") == (engine == "onnx-int8")
    assert engine in executor.implementation(PLAN.key(2, [8]))
    executor.close()


@pytest.mark.parametrize("engine", NEEDS)
def test_a_runtime_that_is_not_installed_says_how_to_get_it(engine: str) -> None:
    if not MISSING[engine]:
        pytest.skip("it is installed")
    with pytest.raises(LookupError, match="pip install"):
        open_baseline(weights.random(SPEC, 0), PLAN, (1,), engine)


def test_what_is_no_baseline_is_refused_in_a_line() -> None:
    own = weights.random(SPEC, 0)
    with pytest.raises(LookupError, match="onnx-int8, openvino"):
        open_baseline(own, PLAN, (1,), "tensorrt")
    with pytest.raises(ValueError, match="packed"):
        open_baseline(own, BucketPlan.packed((1,), (8, 16)), (1,), "sdpa")
    assert set(NEEDS) < set(MODEL_ENGINES)
