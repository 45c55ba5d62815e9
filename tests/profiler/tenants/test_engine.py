"""The engine of tenants: a mixed batch is each tenant alone, and a layer computes once its adapters are there."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from profiler.device.seam import HostDevice  # noqa: E402
from profiler.executors.cpu import CpuExecutor  # noqa: E402
from profiler.models import adapters, weights  # noqa: E402
from profiler.models.adapters import WAYS  # noqa: E402
from profiler.models.spec import parse_spec  # noqa: E402
from profiler.table import BucketPlan  # noqa: E402
from profiler.tenants.engine import TenantEngine  # noqa: E402
from profiler.tenants.slots import SlotPool  # noqa: E402
from profiler.tenants.store import AdapterShape, write_store  # noqa: E402

SPEC = replace(parse_spec("teacher-4x64"), vocab=60, positions=16)
SHAPE = AdapterShape(layers=2, hidden=64, width=8, classes=3)
NAMES = tuple(f"tenant{number}" for number in range(6))
PLAN = BucketPlan((1, 4, 16), (8, 16))


pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture
def store(tmp_path):
    """Tenants that change a lot."""
    rng = np.random.default_rng(0)
    numbers = rng.normal(0, 0.2, (len(NAMES), SHAPE.numbers)).astype(np.float32)
    return write_store(tmp_path / "store.npy", SHAPE, NAMES, numbers.__getitem__)


@pytest.fixture(scope="module")
def own():
    return weights.random(SPEC, 0)


def opened(store, own, way, slots=6):
    staging = CpuExecutor(own, PLAN)
    staging.warm()
    pool = SlotPool(store, slots, HostDevice())
    return pool, TenantEngine(staging, pool, lambda *batch: way, HostDevice())


def texts(rng, count):
    return [rng.integers(0, SPEC.vocab, rng.integers(1, 17)).astype(np.int32) for _ in range(count)]


def alone(store, own, ids, tenant):
    """One text by one tenant, without slots, padding or a batch."""
    its = store.adapters(store.numbered([tenant]))
    x = adapters.lower(own, torch.from_numpy(ids[None]), None, SPEC.layers - SHAPE.layers)
    return its.answer(own, torch.zeros(1, dtype=torch.int64), x, None, adapters.loop)[0].numpy()


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("count", [1, 3, 11])
def test_a_mixed_batch_is_each_tenant_alone(store, own, way, count):
    rng = np.random.default_rng(count)
    pool, engine = opened(store, own, way)
    for tenant in rng.permutation(NAMES).tolist():
        pool.take(tenant)
        for layer in range(SHAPE.layers):
            pool.copy(tenant, layer)
    ids, tenants = texts(rng, count), rng.choice(NAMES, count).tolist()
    found, waited = engine.answer(ids, tenants)
    expected = np.stack([alone(store, own, *each) for each in zip(ids, tenants, strict=True)])
    assert np.abs(found.logits - expected).max() <= 1e-5
    assert waited == 0.0
    others = np.stack([alone(store, own, each, NAMES[0]) for each in ids])
    assert (np.abs(others - expected).max(1) > 0.01).tolist() == [tenant != NAMES[0] for tenant in tenants]


@pytest.mark.parametrize("way", WAYS)
def test_a_batch_that_begins_before_its_adapters_are_there_is_answered_alike(store, own, way):
    pool, engine = opened(store, own, way, slots=2)
    ids, tenants = texts(np.random.default_rng(1), 4), [NAMES[3], NAMES[1], NAMES[3], NAMES[3]]
    for tenant in (NAMES[3], NAMES[1]):
        pool.take(tenant)
    with ThreadPoolExecutor(1) as thread:
        running = thread.submit(engine.answer, ids, tenants)
        for layer in range(SHAPE.layers):
            for tenant in (NAMES[3], NAMES[1]):
                with pytest.raises(TimeoutError):
                    running.result(0.05)
                pool.copy(tenant, layer)
        found, waited = running.result(20)
    expected = np.stack([alone(store, own, *each) for each in zip(ids, tenants, strict=True)])
    assert np.abs(found.logits - expected).max() <= 1e-5
    assert 0.1 < waited < found.seconds


def test_a_batch_that_fails_lets_go_of_its_slots(store, own):
    pool, engine = opened(store, own, "loop", slots=1)
    pool.take(NAMES[0])
    pool.fail(OSError("the disk is away"))
    with pytest.raises(RuntimeError, match="the disk is away"):
        engine.answer(texts(np.random.default_rng(0), 1), [NAMES[0]])
    assert [stay.held for stay in pool._stays.values()] == [0]


def test_models_that_the_adapters_are_not_of_are_refused(store):
    for spec in (replace(parse_spec("teacher-1x64"), vocab=60), replace(parse_spec("teacher-2x128"), vocab=60)):
        with pytest.raises(ValueError, match="2 layers, 64 wide"):
            opened(store, weights.random(spec, 0), "loop")
    with pytest.raises(ValueError, match="2 students"):
        opened(store, weights.random(replace(parse_spec("students-4x64", 2), vocab=60), 0), "loop")
