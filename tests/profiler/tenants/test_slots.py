"""Slots: nothing is read before it is there, nothing is overwritten while a batch holds it."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

torch = pytest.importorskip("torch")

from profiler.device.seam import HostDevice  # noqa: E402
from profiler.tenants.slots import SlotPool  # noqa: E402
from profiler.tenants.store import AdapterShape, random_store  # noqa: E402

SHAPE = AdapterShape(layers=2, hidden=8, width=2, classes=3)
LONG_S, SHORT_S = 20.0, 0.05


@pytest.fixture
def store(tmp_path):
    return random_store(tmp_path / "store.npy", SHAPE, tuple("abcd"), 0)


@pytest.fixture
def aside():
    with ThreadPoolExecutor(1) as thread:
        yield thread.submit


def whole(pool, tenant):
    pool.take(tenant)
    return [pool.copy(tenant, layer) for layer in range(SHAPE.layers)]


def test_a_slot_holds_what_the_store_has(store):
    pool = SlotPool(store, 2, HostDevice())
    for tenant in "ab":
        assert all(seconds > 0 for seconds in whole(pool, tenant))
    slots = [stay.slot for stay in pool.hold("ba")]
    assert sorted(slots) == [0, 1]
    expected = store.adapters([1, 0])
    for name in ("flat", "head_weight", "head_bias"):
        assert torch.equal(getattr(pool.adapters, name)[slots], getattr(expected, name))


def test_a_batch_waits_for_each_layer(store, aside):
    pool = SlotPool(store, 2, HostDevice())
    whole(pool, "a")
    pool.take("b")
    stays = pool.hold("ab")
    pool.copy("b", 0)
    assert pool.wait(stays, 0) == 0.0
    waiting = aside(pool.wait, stays, 1)
    with pytest.raises(TimeoutError):
        waiting.result(SHORT_S)
    pool.copy("b", 1)
    assert waiting.result(LONG_S) > SHORT_S / 2


def test_what_a_batch_holds_is_not_overwritten(store, aside):
    pool = SlotPool(store, 1, HostDevice())
    whole(pool, "a")
    stays, before = pool.hold("a"), pool.adapters.flat.clone()
    pool.give_back("a")
    pool.take("b")
    copying = aside(pool.copy, "b", 0)
    with pytest.raises(TimeoutError):
        copying.result(SHORT_S)
    assert torch.equal(pool.adapters.flat, before)
    pool.let_go(stays)
    copying.result(LONG_S)
    assert not torch.equal(pool.adapters.flat[:, 0], before[:, 0])


def test_a_batch_may_hold_what_is_still_being_copied(store):
    pool = SlotPool(store, 1, HostDevice())
    pool.take("a")
    stays = pool.hold("aa")
    for layer in range(SHAPE.layers):
        pool.copy("a", layer)
        assert pool.wait(stays, layer) == 0.0
    pool.let_go(stays)


def test_a_slot_that_comes_again_is_empty_again(store, aside):
    pool = SlotPool(store, 1, HostDevice())
    for tenant in "abcab":
        whole(pool, tenant)
        pool.give_back(tenant)
    pool.take("c")
    waiting = aside(pool.wait, pool.hold("c"), 0)
    with pytest.raises(TimeoutError):
        waiting.result(SHORT_S)
    pool.copy("c", 0)
    waiting.result(LONG_S)


def test_what_fails_ends_every_wait(store, aside):
    pool = SlotPool(store, 1, HostDevice())
    pool.take("a")
    waiting = aside(pool.wait, pool.hold("a"), 0)
    pool.fail(OSError("the disk is away"))
    with pytest.raises(RuntimeError, match="the disk is away"):
        waiting.result(LONG_S)


def test_a_pool_without_a_slot_is_refused(store):
    with pytest.raises(ValueError, match="0 slots"):
        SlotPool(store, 0, HostDevice())
