"""TenantAdapters of many tenants: a batch that mixes them answers as each tenant alone would."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from profiler.models import adapters, forward, weights
from profiler.models.adapters import WAYS, TenantAdapters
from profiler.models.rows import PaddedRows
from profiler.models.spec import parse_spec

SPEC = replace(parse_spec("teacher-4x64"), vocab=50, positions=16, classes=3, outputs=3, heads=4, ffn=96, pooler=False)
UPPER, TENANTS, WIDTH = 2, 5, 8


@pytest.fixture(autouse=True)
def _one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def pool(scale: float = 0.3) -> TenantAdapters:
    """TenantAdapters that change a lot, and heads of 2 to 3 classes."""
    rng = torch.Generator().manual_seed(1)
    flat = torch.randn(TENANTS, UPPER, adapters.parameters(SPEC.hidden, WIDTH), generator=rng) * scale
    bias = torch.randn(TENANTS, 3, generator=rng)
    bias[::2, 2] = -torch.inf
    return TenantAdapters(flat, torch.randn(TENANTS, SPEC.hidden, 3, generator=rng), bias)


def texts() -> tuple[torch.Tensor, torch.Tensor]:
    """Ids [12, 9] and the mask of texts of unequal length."""
    rng = torch.Generator().manual_seed(2)
    lengths = torch.randint(1, 10, (12, 1), generator=rng)
    mask = torch.zeros(12, 1, 1, 9).masked_fill((torch.arange(9) >= lengths)[:, None, None], -torch.inf)
    return torch.randint(0, SPEC.vocab, (12, 9), generator=rng), mask


@pytest.mark.parametrize("way", WAYS)
def test_a_mixed_batch_is_each_tenant_alone(way: str) -> None:
    own, (ids, mask) = weights.random(SPEC, 0), texts()
    every = pool()
    tenants = torch.tensor([3, 0, 3, 1, 1, 4, 0, 3, 2, 2, 4, 0])
    states = adapters.lower(own, ids, mask, SPEC.layers - UPPER)
    mixed = every.answer(own, tenants, states, mask, WAYS[way])
    for tenant in range(TENANTS):
        rows = (tenants == tenant).nonzero()[:, 0]
        alone = TenantAdapters(every.flat[[tenant]], every.head_weight[[tenant]], every.head_bias[[tenant]])
        found = alone.answer(own, torch.zeros(len(rows), dtype=torch.int64), states[rows], mask[rows], adapters.loop)
        torch.testing.assert_close(mixed[rows], found, rtol=0, atol=1e-5)
    assert torch.isinf(mixed[tenants == 0][:, 2]).all()  # a class that the tenant does not have
    other = every.answer(own, tenants.roll(1), states, mask, WAYS[way])
    changed = (other - mixed)[:, :2].abs().amax(1) > 1e-3
    assert (changed == (tenants != tenants.roll(1))).all()


def test_new_adapters_change_nothing() -> None:
    own, (ids, mask) = weights.random(SPEC, 0), texts()
    flat = adapters.fresh(1, UPPER, SPEC.hidden, seed=4, width=WIDTH)
    head = TenantAdapters(flat, own.projection_weight, own.projection_bias)
    states = adapters.lower(own, ids, mask, SPEC.layers - UPPER)
    found = head.answer(own, torch.zeros(len(ids), dtype=torch.int64), states, mask)
    torch.testing.assert_close(
        found, forward.student(own, 0, ids, PaddedRows(*ids.shape, mask), cls_only=True), rtol=0, atol=1e-5
    )
    assert flat.std() > 0


def test_the_flat_layout_is_that_of_the_published_adapter() -> None:
    assert adapters.parameters(768, 64) == 99_136  # reference/tenants.md, 2.2
    flat = torch.arange(2 * adapters.parameters(6, 3)).view(2, -1).float()
    own = adapters.parts(flat, 6)
    assert [tuple(part.shape) for part in own] == [(2, 6, 3), (2, 3), (2, 3, 6), (2, 6)]
    assert torch.equal(torch.cat([part.flatten(1) for part in own], 1), flat)
    assert all(part.untyped_storage().data_ptr() == flat.untyped_storage().data_ptr() for part in own)
    x = torch.randn(2, 4, 6)
    by_hand = x[1] + torch.nn.functional.gelu(x[1] @ own.down[1] + own.down_bias[1]) @ own.up[1] + own.up_bias[1]
    torch.testing.assert_close(adapters.adapted(x, own)[1], by_hand)
    with pytest.raises(ValueError, match="width 6"):
        adapters.parts(flat[:, 1:], 6)
