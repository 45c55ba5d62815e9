"""What only a GPU can show: capture, replay, events, pools, forked streams. Skipped where there is none."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from stage_doubles import plan, stopped

from profiler.device.cuda import open_cuda
from profiler.device.seam import Device
from profiler.executors.cpu import CpuExecutor
from profiler.executors.cuda import KINDS, open_executor
from profiler.executors.interface import all_keys
from profiler.executors.stages import margin, parts
from profiler.measuring import gate
from profiler.measuring.mixes import random_batch
from profiler.models import weights
from profiler.models.spec import Dims
from profiler.table import BucketPlan, ShapeKey

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")

SPEC = Dims("students-2x128", 4, 2, 128, 2, 512, vocab=200, positions=64, classes=16, outputs=16, types=2)
PLAN = BucketPlan((1, 2, 4), (16, 32))


@pytest.fixture
def device() -> Device:
    return open_cuda()


def test_a_replay_reads_its_inputs_anew_and_times_itself(device: Device) -> None:
    x, y = device.pinned((4,), torch.float32), device.pinned((4,), torch.float32)
    on_device = torch.zeros(4, device=device.torch_device)

    def work() -> None:
        on_device.copy_(x, non_blocking=True)
        y.copy_(on_device * 2.0, non_blocking=True)

    replay = device.prepare(work)
    for value in (1.0, 3.0):
        x.fill_(value)
        replay.launch()
        device.synchronize()
        assert replay.done()
        assert bool((y == 2 * value).all())
        assert 0.0 < replay.device_s() < 0.1


def test_a_failed_capture_leaves_the_pool_usable(device: Device) -> None:
    calls = 0

    def fails_when_captured() -> None:
        nonlocal calls
        calls += 1
        torch.zeros(8, device=device.torch_device)
        if calls == 3:
            raise torch.OutOfMemoryError("pretended")

    with pytest.raises(torch.OutOfMemoryError):
        device.prepare(fails_when_captured)
    x = torch.zeros(8, device=device.torch_device)
    replay = device.prepare(lambda: x.add_(1.0))
    replay.launch()
    device.synchronize()
    assert bool((x == 3.0).all())


def test_seconds_grow_with_the_work(device: Device) -> None:
    small, large = (torch.randn(n, n, device=device.torch_device) for n in (64, 4096))
    assert device.seconds(lambda: small @ small, 20) < device.seconds(lambda: large @ large, 5)


@pytest.mark.parametrize("kind", list(KINDS))
@pytest.mark.parametrize("dtype", ["bfloat16", "float16", "float32"])
def test_every_executor_passes_the_gate(kind: str, dtype: str) -> None:
    own = weights.random(SPEC, 0)
    executor = open_executor(kind, own, PLAN, (1, 2, 4), dtype=dtype, tune_s=5.0)
    executor.warm()
    gate.check(executor, own, np.random.default_rng(0))
    assert executor.back_to_back(ShapeKey(4, 4, 32), 10) > 0.0
    executor.close()


def test_a_hundred_replays_of_interleaved_keys_meet_no_stale_buffer() -> None:
    """All graphs share one pool: each answer must be that of the executor that shares nothing."""
    own = weights.random(SPEC, 0)
    ours = open_executor("cuda", own, PLAN, (1, 2, 4), dtype="float32")
    eager = open_executor("cuda-eager", own, PLAN, (1, 2, 4), dtype="float32")
    ours.warm()
    eager.warm()
    rng = np.random.default_rng(0)
    keys = all_keys(PLAN, (1, 2, 4))
    for _ in range(100):
        key = keys[rng.integers(len(keys))]
        ids = random_batch(PLAN, key, SPEC.vocab, rng)
        assert gate.distance(ours.run(key.students, ids).logits, eager.run(key.students, ids).logits) < 1e-5


@pytest.mark.parametrize("kind", [kind for kind, how in KINDS.items() if how.graphs])
@pytest.mark.parametrize("outputs", [16, 128])
def test_requests_stop_where_they_do_on_a_cpu(kind: str, outputs: int) -> None:
    """Stages and whole batches in turn, in one pool. Whoever is nearly as sure as is asked may go either way."""
    spec = replace(SPEC, outputs=outputs, classes=3, shared_embeddings=True)
    own = weights.random(spec, 0).map(lambda name, tensor: tensor if "ln" in name else tensor * 4)
    cpu = CpuExecutor(own, PLAN, (1, 2, 3, 4))
    ours = open_executor(kind, own, PLAN, (1, 2, 3, 4), dtype="float32", tune_s=5.0)
    cpu.warm()
    ours.warm()
    rng = np.random.default_rng(0)
    batches = [random_batch(PLAN, ShapeKey(4, 4, 32), spec.vocab, rng) for _ in range(20)]
    middle = float(np.median(np.concatenate([margin(cpu.run(1, ids).logits) for ids in batches])))
    rule = ((1, middle), (2, middle), (4, 0.0))
    ours.warm_parts(parts(plan(rule).cuts, PLAN, ShapeKey(4, 4, 32)))
    counts = set()
    for ids in batches:
        found, expected = stopped(ours, rule, ids), stopped(cpu, rule, ids)
        firm = np.ones(len(ids), bool)
        for students in (1, 2):
            firm &= abs(margin(cpu.run(students, ids).logits) - middle) > 1e-3
        counts |= set(found.students)
        np.testing.assert_array_equal(np.array(found.students)[firm], np.array(expected.students)[firm])
        np.testing.assert_allclose(found.logits[firm], expected.logits[firm], rtol=1e-3, atol=1e-3)
        assert 0.0 < found.stages[-1].answers.device_s < found.stages[-1].answers.seconds
        whole = ours.run(4, ids).logits
        np.testing.assert_allclose(whole, cpu.run(4, ids).logits, rtol=1e-3, atol=1e-3)
    assert counts == {1, 2, 4}
    ours.close()
