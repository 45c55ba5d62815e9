"""Skipped lower layers: a table of what they make of three neighbouring tokens, in place of what they make of a text.

After SkipBERT (ACL 2022) and vBERT's PLOT (reference/tenants.md, 2.1). An entry is a window of three tokens: previous,
own, next; its value, what the lower layers make of the three. The state of token t is the sum of what three windows
say of it: its own (place 1), the next one's (place 0), the previous one's (place 2); plus a vector of its position,
then a norm. There the lower layers and a gate are trained with the model; here they are frozen, and a least-squares
map of each place to the true states stands for the gate (`Merge`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

import torch
import torch.nn.functional as F  # noqa: N812  its usual name
from torch import Tensor

from profiler.models.adapters import lower
from profiler.models.weights import Weights

#: Bits of a token in a key: its id plus 1; 0 stands for no token, before the first and after the last.
BITS = 20
_TOKEN = (1 << BITS) - 1
#: Windows that are computed at once.
CHUNK = 512


def windows(ids: Tensor, lengths: Tensor) -> Tensor:
    """The key of every token's window, int64 [B, S], of ids [B, S] and their lengths [B]; 0 for padding.

    Raises ValueError for an id that no key can hold.
    """
    if ids.numel() and int(ids.max()) >= _TOKEN:
        raise ValueError(f"token {int(ids.max())} does not fit a key: ids up to {_TOKEN - 1} do")
    real = torch.arange(ids.shape[1], device=ids.device) < lengths[:, None]
    own = torch.where(real, ids.long() + 1, 0)
    before, after = F.pad(own, (1, 0))[:, :-1], F.pad(own, (0, 1))[:, 1:]
    return torch.where(real, before << 2 * BITS | own << BITS | after, 0)


def bigrams(keys: Tensor) -> Tensor:
    """The same windows without their previous token."""
    return keys & (1 << 2 * BITS) - 1


def unigrams(keys: Tensor) -> Tensor:
    """The same windows without their neighbours."""
    return keys & _TOKEN << BITS


def known(keys: Tensor) -> Tensor:
    """The kind of each window: 3 with a previous token, 2 without, 1 for a token alone, 0 for none."""
    return (keys > 0).long() + ((keys & ~(_TOKEN << BITS)) > 0) + (keys >> 2 * BITS > 0)


def commonest(keys: Tensor, entries: int | None = None) -> Tensor:
    """The keys that serve most tokens of these windows, the commonest first: trigrams, bigrams and unigrams alike.

    Of equals, the smaller key first. entries: so many of them at most.
    """
    own = keys[keys > 0]
    found, counts = torch.unique(torch.cat([own, bigrams(own), unigrams(own)]), return_counts=True)
    order: Tensor = counts.argsort(descending=True, stable=True)[:entries]
    return torch.index_select(found, 0, order)


def find(table: Tensor, keys: Tensor) -> tuple[Tensor, Tensor]:
    """Where windows of any shape stand in a table's keys [1 + E], and what was found: the kind, or 0 for row 0.

    The window itself where it is there, else without its previous token, else the token alone.
    """
    place, kind = torch.zeros_like(keys), torch.zeros_like(keys)
    for number, wanted in ((1, unigrams(keys)), (2, bigrams(keys)), (3, keys)):
        at = torch.searchsorted(table, wanted).clamp(max=len(table) - 1)
        there = (table[at] == wanted) & (wanted > 0)
        place, kind = torch.where(there, at, place), torch.where(there, number, kind)
    return place, kind


def compute(weights: Weights, layers: int, keys: Tensor) -> Tensor:
    """What the lower layers make of each window [N], as a text of its own: [N, 3, H], zero where there is no token."""
    tokens = torch.stack([keys >> 2 * BITS, keys >> BITS & _TOKEN, keys & _TOKEN], 1)
    real = tokens > 0
    mask = torch.zeros(len(keys), 1, 1, 3, device=keys.device).masked_fill(~real[:, None, None], -torch.inf)
    own = lower(weights, (tokens - 1).clamp(min=0), mask.to(weights.dtype), layers)
    return own * real[..., None]


def shifted(own: Tensor) -> Tensor:
    """[B, S, 3, H] by window as [B, S, 3, H] by the token that it is about: what three windows say of each token."""
    before = F.pad(own[:, 1:, 0], (0, 0, 0, 1))
    after = F.pad(own[:, :-1, 2], (0, 0, 1, 0))
    return torch.stack([before, own[:, :, 1], after], 2)


@dataclass(frozen=True, eq=False)
class Merge:
    """How windows become states. maps: [3, 3, H, H], means: [3, 3, H], by kind (`known` - 1), then place in the window,
    which goes in as (x - mean) @ map.

    positions: [P, H], added to the sum. norm_weight, norm_bias: [H], of the last lower layer's norm. A place without a
    token goes in as zero, and so does what the table lacks: as the mean.
    """

    maps: Tensor
    means: Tensor
    positions: Tensor
    norm_weight: Tensor
    norm_bias: Tensor
    eps: float

    @classmethod
    def plain(cls, weights: Weights, layers: int) -> Merge:
        """The mean of what three windows say, where nothing was fitted."""
        spec, last = weights.spec, weights.singles[0].layers[layers - 1]
        maps = torch.eye(spec.hidden, dtype=weights.dtype, device=weights.device).expand(3, 3, -1, -1) / 3
        zeros = torch.zeros_like(maps[0, :, 0])
        positions = zeros[:1].expand(spec.positions, -1)
        return cls(maps, zeros.expand(3, -1, -1), positions, last.ln2_weight, last.ln2_bias, spec.norm_eps)

    def fitted(self, keys: Tensor, own: Tensor, states: Tensor, places: Tensor, ridge: float = 1e-3) -> Merge:
        """Maps, means and positions of least squares, from whole texts, one after the other.

        keys: int64 [N], each token's window, with or without its neighbours. own: [N, 3, H], these windows computed.
        states: the true ones, [N, H]. places: of the tokens in their texts, int64 [N].
        """
        kinds = F.one_hot(known(keys) - 1, 3).to(own.dtype)
        there = (own != 0).any(-1)
        counts = torch.einsum("nk,nj->kj", kinds, there.to(own.dtype))
        means = torch.einsum("nk,njh->kjh", kinds, own) / counts.clamp(min=1)[..., None]
        centred = (own - means[known(keys) - 1]) * there[..., None]
        # No text hears of the next: where it ends, windows have no token.
        said = shifted((kinds[:, :, None, None] * centred[:, None]).transpose(1, 2).flatten(2)[None])[0]
        said = said.view(*said.shape[:2], 3, -1).transpose(1, 2).flatten(1)
        wanted = (states - self.norm_bias) / self.norm_weight
        # A position that few texts reach is drawn to the mean of all.
        whole, prior = wanted.mean(0), 10.0
        sums = torch.zeros_like(self.positions).index_add_(0, places, wanted - whole)
        reached = torch.bincount(places, minlength=len(self.positions))[:, None]
        positions = whole + sums / (reached + prior)
        gram = said.T @ said
        gram.diagonal().add_(ridge * gram.diagonal().mean())
        maps = torch.linalg.solve(gram, said.T @ (wanted - positions[places]))
        return replace(self, maps=maps.view_as(self.maps), means=means, positions=positions)

    def mapped(self, keys: Tensor, own: Tensor) -> Tensor:
        """Computed windows [N, 3, H] of these keys [N] as a table keeps them."""
        found = torch.zeros_like(own)
        for kind in range(3):
            rows = known(keys) == kind + 1
            there = (own[rows] != 0).any(-1, keepdim=True)
            found[rows] = torch.einsum("njh,jho->njo", (own[rows] - self.means[kind]) * there, self.maps[kind])
        return found

    def states(self, own: Tensor) -> Tensor:
        """States [B, S, H] of mapped windows [B, S, 3, H], without a loop over texts."""
        x = shifted(own).sum(2) + self.positions[: own.shape[1]]
        return F.layer_norm(x, x.shape[-1:], self.norm_weight, self.norm_bias, self.eps)


@dataclass(frozen=True, eq=False)
class Lookup:
    """Windows by key. keys: int64 [1 + E], ascending; the first is 0, of no window. rows: [1 + E, 3, H], mapped, in any
    float type; the first is zero. It never changes: `inserted` returns the next version, to be put in its place.
    """

    merge: Merge
    keys: Tensor
    rows: Tensor
    version: int = 0

    @classmethod
    def empty(cls, merge: Merge, dtype: torch.dtype = torch.float16) -> Lookup:
        keys = torch.zeros(1, dtype=torch.int64, device=merge.maps.device)
        return cls(merge, keys, torch.zeros(1, *merge.means.shape[1:], dtype=dtype, device=merge.maps.device))

    def inserted(self, keys: Tensor, rows: Tensor) -> Lookup:
        """With these entries too, or in place of those of the same keys. keys: [N], all different. rows: [N, 3, H]."""
        old = ~torch.isin(self.keys, keys)
        both, order = torch.cat([self.keys[old], keys]).sort()
        return replace(
            self, keys=both, rows=torch.cat([self.rows[old], rows.to(self.rows.dtype)])[order], version=self.version + 1
        )

    def kept(self, keys: Tensor) -> Lookup:
        """With the entries of these keys alone."""
        own = torch.isin(self.keys, keys)
        own[0] = True
        return replace(self, keys=self.keys[own], rows=self.rows[own], version=self.version + 1)

    def states(self, ids: Tensor, lengths: Tensor) -> Tensor:
        """States [B, S, H], in the merge's type, in place of the lower layers' of ids [B, S]."""
        place, _ = find(self.keys, windows(ids, lengths))
        return self.merge.states(self.rows[place].to(self.merge.maps.dtype))


def filled(merge: Merge, keys: Tensor, computed: Callable[[Tensor], Tensor]) -> Lookup:
    """A table of these windows, in float16. keys: [E], all different. computed: `compute` of some of them."""
    rows = [merge.mapped(own, computed(own).to(merge.maps.dtype)).half() for own in torch.split(keys, CHUNK)]
    empty = Lookup.empty(merge)
    return empty.inserted(keys, torch.cat([empty.rows[:0], *rows]))


def build(weights: Weights, layers: int, ids: Tensor, lengths: Tensor, entries: int | None = None) -> Lookup:
    """A table of the commonest windows of texts, with `Merge.plain`. entries: so many at most."""
    keys = commonest(windows(ids, lengths), entries)
    return filled(Merge.plain(weights, layers), keys, partial(compute, weights, layers))
