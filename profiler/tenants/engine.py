"""The engine of tenants: batches that mix them, each layer as soon as its adapters are there."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from time import perf_counter
from typing import NamedTuple

import torch

from profiler.device.seam import Device
from profiler.executors.cpu import CpuExecutor
from profiler.executors.interface import BatchResult, Ids
from profiler.models.adapters import WAYS, lower
from profiler.models.rows import PaddedRows
from profiler.tenants.slots import SlotPool

#: The name of the way in WAYS to apply the adapters of so many distinct tenants in a batch padded to (texts, tokens).
ChosenWay = Callable[[int, int, int], str]


class MixedResult(NamedTuple):
    """What a batch of several tenants came to. waited_s: the part of its seconds in which it waited for adapters."""

    found: BatchResult
    waited_s: float


class TenantEngine:
    """One encoder with the adapters of a pool; runs on the pool's device.

    staging: an executor of the same encoder on the host, warm, which pads batches; it also runs the bare model. Batches
    are answered within 1e-5 (float32) of each tenant alone, whatever the way.
    """

    def __init__(self, staging: CpuExecutor, pool: SlotPool, ways: ChosenWay, device: Device) -> None:
        own, its = staging.weights, pool.adapters
        if staging.plan.totals:
            raise ValueError(f"{own.spec.name}: batches of several tenants are padded; its plan is packed")
        if own.spec.students > 1:
            raise ValueError(f"{own.spec.name} has {own.spec.students} students: adapters are of one encoder")
        if its.flat.shape[1] > own.spec.layers or its.head_weight.shape[1] != own.spec.hidden:
            raise ValueError(
                f"the store's adapters are of {its.flat.shape[1]} layers, {its.head_weight.shape[1]} wide; "
                f"{own.spec.name} has {own.spec.layers} of {own.spec.hidden}"
            )
        self._staging, self._pool, self._ways, self._device = staging, pool, ways, device
        where = device.torch_device
        self._weights = own if where.type == "cpu" else own.to(where)
        self._lower = own.spec.layers - its.flat.shape[1]

    def answer(self, ids: Sequence[Ids], tenants: Sequence[str]) -> MixedResult:
        """Answer a batch, each text by its tenant, whose slots are taken: [texts, classes], -inf beyond its classes.

        Raises LookupError and ValueError as `Engine.run`, RuntimeError where adapters cannot be loaded any more.
        """
        began, where = perf_counter(), self._device.torch_device
        key, own, types, lying = self._staging.staged(1, ids)
        mask = lying.rows.mask if isinstance(lying.rows, PaddedRows) else None
        staged, waited = perf_counter(), 0.0
        stays = self._pool.hold(tenants)
        try:
            slots = torch.tensor([stay.slot for stay in stays] + [stays[0].slot] * (key.batch - len(ids)), device=where)
            distinct = list(dict.fromkeys(stays))

            def before(layer: int) -> None:
                nonlocal waited
                waited += self._pool.wait(distinct, layer)

            way = WAYS[self._ways(len(distinct), key.batch, key.tokens)]
            with torch.inference_mode():
                mask = mask if mask is None else mask.to(where)
                x = lower(self._weights, own.to(where), mask, self._lower, types if types is None else types.to(where))
                logits = self._pool.adapters.answer(self._weights, slots, x, mask, way, before)
                answers = logits[: len(ids)].cpu().numpy()
        finally:
            self._pool.let_go(stays)
        done = perf_counter()
        return MixedResult(BatchResult(answers, key, done - began, staged - began, done - staged), waited)
