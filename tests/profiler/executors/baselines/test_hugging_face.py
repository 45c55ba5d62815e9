"""The baselines compute the ensemble's function, so that a ratio of times compares equals."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
import torch

pytest.importorskip("transformers", reason="transformers is not installed")

from profiler.device.nvml import Nvml, open_nvml
from profiler.device.seam import HostDevice
from profiler.executors.baselines.hugging_face import classifiers, hugging_face, model_state
from profiler.executors.interface import PartKey
from profiler.executors.staged import StagedExecutor
from profiler.measuring import gate, reference
from profiler.models import weights
from profiler.models.checkpoints import from_checkpoints
from profiler.models.spec import Dims
from profiler.table import BucketPlan, ShapeKey

SPEC = Dims("students-2x32", 2, 2, 32, 2, 64, vocab=50, positions=32, types=2)


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize("attention", ["eager", "sdpa"])
def test_hugging_face_gives_the_answers_of_the_reference(attention: str) -> None:
    own = weights.random(SPEC, 0)
    model = hugging_face(own, "float32", torch.device("cpu"), attention=attention)
    executor = StagedExecutor(model, BucketPlan((1, 2), (8, 16)), (1, 2), HostDevice())
    executor.warm()
    assert max(gate.check(executor, own, np.random.default_rng(0)).values()) < 1e-6
    executor.warm_parts([PartKey(0, 1, ShapeKey(1, 1, 8)), PartKey(1, 2, ShapeKey(1, 1, 8))])
    ids = [np.arange(5, dtype=np.int32)]
    total = executor.part(0, 1, ids).logits + executor.part(1, 2, ids).logits
    heads, biases = executor.heads
    assert gate.distance(total @ heads[1] + biases[1], reference.logits(own, 2, ids)) < 1e-6


def test_model_state_is_the_inverse_of_from_checkpoints() -> None:
    own = weights.random(SPEC, 0)
    again = from_checkpoints(classifiers(own))
    for name, tensor in own.tensors().items():
        if not name.startswith("head_"):
            assert torch.equal(again.tensors()[name], tensor), name


def test_simplified_weights_make_no_baseline() -> None:
    with pytest.raises(ValueError, match="simplified"):
        model_state(weights.simplify(weights.random(SPEC, 0)), 0)


class _Driver:
    """As pynvml, on a card that counts no energy."""

    NVML_CLOCK_SM, NVML_CLOCK_MEM, NVML_TEMPERATURE_GPU = 1, 2, 0

    class NVMLError(Exception):
        pass

    def __getattr__(self, name: str) -> object:
        values = {
            "nvmlDeviceGetClockInfo": 1980,
            "nvmlDeviceGetPowerUsage": 350_000,
            "nvmlDeviceGetCurrentClocksThrottleReasons": 0x1 | 0x4,
        }

        if name == "nvmlDeviceGetTemperature":
            raise AttributeError(name)  # removed in a later version of the library

        def answer(*arguments: object) -> object:
            if name not in values:
                raise self.NVMLError(name)
            return values[name]

        return answer


def test_a_card_reports_what_its_driver_offers() -> None:
    card = Nvml(_Driver(), object())
    assert card.state() == {"sm_mhz": 1980, "memory_mhz": 1980, "power_w": 350.0, "throttled_by": ["power cap"]}
    assert card.energy_j() is None


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_without_a_driver_there_is_no_card() -> None:
    assert open_nvml() is None
