"""Which product is chosen for a shape: every shape gets its trial, as the pass will meet it, once per device."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from profiler.campaign.plan import full, shape
from profiler.device.seam import HostDevice
from profiler.models import products
from profiler.models.products import Operand, Products
from profiler.models.roofline import H200, kernels
from profiler.table import ShapeKey

FIXED_S = 2e-3  #: To capture a trial and to replay it three times.


class Modelled(HostDevice):
    """A GPU whose time is computed: a trial takes what its products would take on an H200, on a clock of its own."""

    cache_bytes = 60_000_000

    def __init__(self) -> None:
        self.now, self.product_s, self.cold = 0.0, 0.0, list[bool]()

    def seconds(self, work: Callable[[], object], calls: int, *, cold: bool = False) -> float:
        self.cold.append(cold)
        self.now += FIXED_S + (2 + 3 * calls) * (self.product_s + 60e-6 * cold)
        return self.product_s

    def clock(self) -> float:
        return self.now


def meet(own: Products, device: Modelled, model_keys: list[ShapeKey]) -> set[products.Shape]:
    """Run every product of these keys of the campaign's first table, on tensors without memory; their classes."""
    grid = full().tables["students-768"][0]
    spec, classes = shape(grid), set()
    for key in model_keys:
        passed = kernels(spec, key)
        own.begin(2.0 * sum(kernel.weights for kernel in passed[:-3]))
        for kernel in passed:
            if not kernel.products or kernel.columns < 64:
                continue
            k, rows, inner, columns = kernel.products, kernel.rows, kernel.inner, kernel.columns
            device.product_s = max(kernel.flops / H200.flops, 2 * kernel.weights / H200.bytes_s, 3e-6)
            x, weight = (torch.empty(k, *size, device="meta") for size in ((rows, inner), (inner, columns)))
            bias = torch.empty(k, columns, device="meta") if kernel.name == "feed-forward in" else None
            own(x, Operand(weight, weight), bias)
            classes.add(products.Shape(k, rows, inner, columns, bias is not None, own._cold).class_())
    return classes


@pytest.fixture
def untested(monkeypatch: pytest.MonkeyPatch) -> None:
    """Products of tensors without memory: nothing to compare, and no bias kernel."""
    monkeypatch.setattr(products, "_agrees", lambda *operands: True)
    monkeypatch.setattr(products, "_finish", lambda product, bias: product)


def keys() -> list[ShapeKey]:
    grid = full().tables["students-768"][0]
    return [key for students in grid.students for key in grid.plan.keys(students)]


def test_the_whole_table_of_a_campaign_is_tried_within_the_budget(untested: None) -> None:
    """Smallest key first, as an executor warms up: no product of the 720 keys runs untried."""
    device = Modelled()
    own = Products(device, full().tune_s, clock=device.clock)
    classes = meet(own, device, sorted(keys(), key=lambda key: key.students * key.rows))
    assert len(classes) > 300
    assert not own.untried
    assert set(own.chosen) == classes
    assert device.now < full().tune_s


def test_what_the_budget_did_not_reach_is_counted(untested: None) -> None:
    device = Modelled()
    own = Products(device, 0.5, clock=device.clock)
    classes = meet(own, device, sorted(keys(), key=lambda key: key.students * key.rows))
    assert own.untried == classes - set(own.chosen)
    assert len(own.untried) > 100


def test_weights_that_the_cache_cannot_hold_are_tried_cold(untested: None) -> None:
    device = Modelled()
    own = Products(device, 100.0, clock=device.clock)
    meet(own, device, [ShapeKey(1, 8, 32)])
    assert not any(device.cold)
    device.cold.clear()
    meet(own, device, [ShapeKey(8, 8, 32)])
    assert all(device.cold)


def test_executors_that_share_choices_try_a_product_once() -> None:
    x, weight = torch.ones(2, 3, 4), torch.ones(2, 4, 5)
    first, second = Modelled(), Modelled()
    chosen: dict[products.Shape, str] = {}
    Products(first, chosen=chosen)(x, Operand(weight, weight))
    own = Products(second, chosen=chosen)
    assert torch.equal(own(x, Operand(weight, weight)), torch.bmm(x, weight))
    assert first.now > 0.0
    assert second.now == 0.0
    assert not own.untried


def test_a_product_without_room_for_a_trial_stays_untried() -> None:
    class Full(HostDevice):
        def seconds(self, work: Callable[[], object], calls: int, *, cold: bool = False) -> float:
            raise torch.OutOfMemoryError("full")

    own, x, weight = Products(Full()), torch.ones(2, 3, 4), torch.ones(2, 4, 5)
    own(x, Operand(weight, weight))
    assert len(own.untried) == 1
