"""Slots: places for adapters on one device, each with guards so that nothing is read early or overwritten in use."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from threading import Condition
from time import perf_counter

import numpy as np
import torch

from profiler.device.seam import Device
from profiler.models.adapters import TenantAdapters
from profiler.tenants.store import AdapterStore


class Stay:
    """A tenant in a slot, from `take` to `give_back`. there: how many layers are; held: by how many batches.

    before: the stay that this one overwrites.
    """

    __slots__ = ("before", "held", "slot", "there")

    def __init__(self, slot: int, before: Stay | None) -> None:
        self.slot, self.before, self.there, self.held = slot, before, 0, 0


class SlotPool:
    """`slots` places for the tenants of a store, of fixed address on a device.

    A slot is taken, filled layer by layer, held by batches, and given back. Three threads may work on it at once: one
    takes and gives back, one copies, one computes. A layer is read only once it is there (`wait`), and overwritten only
    once no batch holds what was there before (`copy`).
    """

    def __init__(self, store: AdapterStore, slots: int, device: Device) -> None:
        if slots < 1:
            raise ValueError(f"{slots} slots hold no adapter of {store.shape.bytes} bytes: raise the adapter budget")
        its, where = store.shape, device.torch_device
        self.adapters = TenantAdapters(
            torch.zeros(slots, its.layers, its.parameters, device=where),
            torch.zeros(slots, its.hidden, its.classes, device=where),
            torch.zeros(slots, its.classes, device=where),
        )
        self._store, self._device = store, device
        self._rows = {name: row for row, name in enumerate(store.names)}
        self._free = [Stay(slot, None) for slot in range(slots)][::-1]
        self._stays: dict[str, Stay] = {}
        self._changed = Condition()
        self._failed: BaseException | None = None

    def take(self, tenant: str) -> None:
        """Give a tenant a slot, with nothing in it yet."""
        before = self._free.pop()
        self._stays[tenant] = Stay(before.slot, before)

    def give_back(self, tenant: str) -> None:
        """Free a tenant's slot. What is in it stays until it is overwritten."""
        stay = self._stays.pop(tenant)
        stay.before = None
        self._free.append(stay)

    def copy(self, tenant: str, layer: int) -> float:
        """Copy a layer of a tenant into its slot; returns the seconds of the copy alone."""
        stay = self._stays[tenant]
        if (before := stay.before) is not None and before.held:
            self._until(lambda: not before.held)
        slot, its = stay.slot, self.adapters
        began, part = perf_counter(), self._store.part(self._rows[tenant], layer)
        self._device.copy(torch.from_numpy(part.flat), its.flat[slot, layer])
        if len(part.head):
            weight, bias = np.split(part.head, [its.head_weight[slot].numel()])
            self._device.copy(torch.from_numpy(weight), its.head_weight[slot].view(-1))
            self._device.copy(torch.from_numpy(bias), its.head_bias[slot])
        seconds = perf_counter() - began
        with self._changed:
            stay.there = layer + 1
            self._changed.notify_all()
        return seconds

    def hold(self, tenants: Sequence[str]) -> list[Stay]:
        """The stays of a batch's tenants, text by text; none of them is overwritten until `let_go`."""
        stays = [self._stays[tenant] for tenant in tenants]
        with self._changed:
            for stay in set(stays):
                stay.held += 1
        return stays

    def let_go(self, stays: Sequence[Stay]) -> None:
        """End what `hold` began."""
        with self._changed:
            for stay in set(stays):
                stay.held -= 1
            self._changed.notify_all()

    def wait(self, stays: Sequence[Stay], layer: int) -> float:
        """Wait until this layer of all of these is there; returns the seconds that it took."""
        if all(stay.there > layer for stay in stays):
            return 0.0
        began = perf_counter()
        self._until(lambda: all(stay.there > layer for stay in stays))
        return perf_counter() - began

    def fail(self, error: BaseException) -> None:
        """End every wait with this error: nothing will be copied any more."""
        with self._changed:
            self._failed = error
            self._changed.notify_all()

    def _until(self, done: Callable[[], bool]) -> None:
        with self._changed:
            self._changed.wait_for(lambda: done() or self._failed is not None)
            if self._failed is not None:
                raise RuntimeError(f"adapters cannot be loaded any more: {self._failed}") from self._failed
