"""Bottleneck adapters of many tenants on one frozen encoder: a flat layout, and ways to apply them to mixed batches.

An adapter stands in each upper layer after attention and its norm, before the feed-forward, as in vBERT
(reference/tenants.md, 2.2): what it adds passes the layer's last norm, so that the layer above meets states of the
length that it knows, and the last layer's feed-forward still sees what the tenant made of [CLS].
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import torch
import torch.nn.functional as F  # noqa: N812  its usual name
from torch import Tensor

from profiler.models.forward import after_layer, embedded
from profiler.models.rows import PaddedRows
from profiler.models.weights import Weights

#: Width of the bottleneck.
WIDTH = 64


class Bottleneck(NamedTuple):
    """An adapter's tensors, views of its flat parameters, any axes before: x + GELU(x @ down + bias) @ up + bias.

    down: [..., H, W]. down_bias: [..., W]. up: [..., W, H]. up_bias: [..., H].
    """

    down: Tensor
    down_bias: Tensor
    up: Tensor
    up_bias: Tensor


def parameters(hidden: int, width: int = WIDTH) -> int:
    """How many numbers P one layer's adapter has."""
    return 2 * hidden * width + width + hidden


def parts(flat: Tensor, hidden: int) -> Bottleneck:
    """The tensors of flat parameters [..., P], in the order of `Bottleneck`. Raises ValueError for another P."""
    width, rest = divmod(flat.shape[-1] - hidden, 2 * hidden + 1)
    if rest or width < 1:
        raise ValueError(f"{flat.shape[-1]} numbers are no adapter of width {hidden}: it takes {parameters(hidden)}")
    down, down_bias, up, up_bias = torch.split(flat, [hidden * width, width, width * hidden, hidden], -1)
    before = flat.shape[:-1]
    return Bottleneck(down.view(*before, hidden, width), down_bias, up.view(*before, width, hidden), up_bias)


def fresh(tenants: int, layers: int, hidden: int, seed: int, width: int = WIDTH) -> Tensor:
    """New adapters [T, L, P] that change nothing yet: the way down is drawn (normal, 0.02), the way up is zero."""
    flat = torch.zeros(tenants, layers, parameters(hidden, width))
    flat[..., : hidden * width].normal_(0.0, 0.02, generator=torch.Generator().manual_seed(seed))
    return flat


def adapted(x: Tensor, own: Bottleneck) -> Tensor:
    """Rows [..., M, H] through adapters of the same axes before."""
    inner = F.gelu(x @ own.down + own.down_bias.unsqueeze(-2))
    return x + (inner @ own.up + own.up_bias.unsqueeze(-2))


#: Applies one layer's adapters: rows [B, M, H], flat parameters of all tenants [T, P], the tenant of each text [B].
Way = Callable[[Tensor, Tensor, Tensor], Tensor]


def loop(x: Tensor, flat: Tensor, tenants: Tensor) -> Tensor:
    """One product per distinct tenant of the batch."""
    found = torch.empty_like(x)
    for tenant in torch.unique(tenants).tolist():
        rows = (tenants == tenant).nonzero().squeeze(1)
        own = adapted(x[rows].flatten(0, 1), parts(flat[tenant], x.shape[-1]))
        found[rows] = own.view(len(rows), *x.shape[1:])
    return found


def gather_bmm(x: Tensor, flat: Tensor, tenants: Tensor) -> Tensor:
    """A copy of the parameters per text, and one batched product."""
    return adapted(x, parts(flat[tenants], x.shape[-1]))


def grouped_bmm(x: Tensor, flat: Tensor, tenants: Tensor) -> Tensor:
    """A copy of the parameters per distinct tenant, and one batched product of texts sorted by tenant.

    Groups are padded to the largest: where one tenant has most texts, that is most of the product.
    """
    found, group, counts = torch.unique(tenants, return_inverse=True, return_counts=True)
    order, most = group.argsort(stable=True), int(counts.max())
    own = group[order]
    first = counts.cumsum(0) - counts
    at = own * most + torch.arange(len(tenants), device=x.device) - first[own]
    rows = x.new_zeros(len(found) * most, *x.shape[1:])
    rows[at] = x[order]
    grouped = adapted(rows.view(len(found), -1, x.shape[-1]), parts(flat[found], x.shape[-1])).view_as(rows)
    answered = torch.empty_like(x)
    answered[order] = grouped[at]
    return answered


#: How adapters are applied to a batch of several tenants, after the names of reference/tenants.md, 6.2.
WAYS: dict[str, Way] = {"loop": loop, "gather_bmm": gather_bmm, "grouped_bmm": grouped_bmm}
#: Called with the number of a layer that has adapters, from 0, before they are read.
Before = Callable[[int], object]


def at_once(layer: int) -> None:
    """Wait for nothing: all adapters are there."""


@dataclass(frozen=True, eq=False)
class TenantAdapters:
    """T tenants of one encoder. flat: [T, L, P], the lowest of the L upper layers first.

    head_weight: [T, H, C] and head_bias: [T, C], on the last layer's [CLS]; C is the most classes that a tenant has,
    and the bias is -inf beyond a tenant's own.
    """

    flat: Tensor
    head_weight: Tensor
    head_bias: Tensor

    def answer(
        self,
        weights: Weights,
        tenants: Tensor,
        x: Tensor,
        mask: Tensor | None,
        way: Way = gather_bmm,
        before: Before = at_once,
    ) -> Tensor:
        """Logits [B, C] of the states [B, S, H] below the upper layers, each text by its tenant of `tenants` [B].

        weights: one frozen encoder, whose own head is not used. mask: as of `PaddedRows`. A class that a tenant does
        not have is -inf. before: what to wait for; the head comes with the last layer.
        """
        single, rows = weights.singles[0], PaddedRows(x.shape[0], x.shape[1], mask)
        x = x.reshape(-1, x.shape[-1])
        first = weights.spec.layers - self.flat.shape[1]
        for number in range(first, weights.spec.layers):
            before(number - first)
            add = partial(_applied, way, self.flat[:, number - first], tenants)
            x = after_layer(single, number, x, rows, between=add)
        return torch.baddbmm(self.head_bias[tenants][:, None], x[:, None], self.head_weight[tenants])[:, 0]


def _applied(way: Way, flat: Tensor, tenants: Tensor, x: Tensor) -> Tensor:
    """Rows [B * S, H], or [B, H] of [CLS] alone, through their texts' adapters."""
    return way(x.view(len(tenants), -1, x.shape[-1]), flat, tenants).view_as(x)


def lower(weights: Weights, ids: Tensor, mask: Tensor | None, layers: int, types: Tensor | None = None) -> Tensor:
    """The states [B, S, H] after the first `layers` layers of ids [B, S]: what all tenants share."""
    single, rows = weights.singles[0], PaddedRows(ids.shape[0], ids.shape[1], mask)
    x = embedded(single, ids, rows, types)
    for number in range(layers):
        x = after_layer(single, number, x, rows, cls_only=False)
    return x.view(*ids.shape, weights.spec.hidden)
