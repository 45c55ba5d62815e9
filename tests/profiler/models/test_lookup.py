"""The look-up: exact where the table is complete, a chain of fall-backs where it is not, never a loop over texts."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest
import torch

from profiler.models import lookup, weights
from profiler.models.lookup import Lookup, Merge
from profiler.models.spec import parse_spec

SPEC = replace(parse_spec("teacher-3x64"), vocab=30, positions=16, heads=4, ffn=96, pooler=False)
LAYERS = 2
Window = tuple[int, int, int]


@pytest.fixture(autouse=True)
def _one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def texts(count: int, seed: int = 0, vocab: int = SPEC.vocab) -> tuple[torch.Tensor, torch.Tensor]:
    """Ids [count, 12], of random length from 1 to 12, with rubbish beyond."""
    rng = torch.Generator().manual_seed(seed)
    lengths = torch.randint(1, 13, (count,), generator=rng)
    lengths[:2] = torch.tensor([1, 12])
    return torch.randint(0, vocab, (count, 12), generator=rng), lengths


def of(row: list[int], place: int) -> Window:
    """A token's window; -1 where there is no token."""
    return row[place - 1] if place else -1, row[place], row[place + 1] if place + 1 < len(row) else -1


def packed(window: Window) -> int:
    return sum((token + 1) << lookup.BITS * place for token, place in zip(window, (2, 1, 0), strict=True))


def test_a_complete_table_is_the_computation_of_its_windows() -> None:
    own, (ids, lengths) = weights.random(SPEC, 0), texts(40)
    table = lookup.build(own, LAYERS, ids, lengths)
    keys = lookup.windows(ids, lengths)
    computed = lookup.compute(own, LAYERS, keys.flatten())
    mapped = table.merge.mapped(keys.flatten(), computed).view(*keys.shape, 3, -1)
    real = keys > 0
    exact, found = table.merge.states(mapped)[real], table.states(ids, lengths)[real]
    assert (found - exact).norm() / exact.norm() < 2e-3  # the table is float16
    assert (lookup.find(table.keys, keys)[1][real] == 3).all()


def test_texts_are_merged_as_token_after_token_would_be() -> None:
    own, (ids, lengths) = weights.random(SPEC, 0), texts(12)
    table = lookup.build(own, LAYERS, ids, lengths)
    whole = table.states(ids, lengths)
    for text, length in enumerate(lengths.tolist()):
        row = ids[text, :length].tolist()
        at = [int((table.keys == packed(of(row, place))).nonzero()) for place in range(length)]
        for place in range(length):
            total = table.rows[at[place], 1].float() + table.merge.positions[place]
            total = total + (table.rows[at[place - 1], 2].float() if place else 0)
            total = total + (table.rows[at[place + 1], 0].float() if place + 1 < length else 0)
            norm = torch.nn.functional.layer_norm(total, (64,), table.merge.norm_weight, table.merge.norm_bias)
            torch.testing.assert_close(whole[text, place], norm, rtol=0, atol=1e-3)


@pytest.mark.parametrize("entries", [0, 60, 400])
def test_the_fall_backs_are_those_of_a_dictionary(entries: int) -> None:
    ids, lengths = texts(10_000, vocab=12)
    keys = lookup.windows(ids, lengths)
    known = torch.cat([torch.zeros(1, dtype=torch.int64), lookup.commonest(keys[:200], entries).sort().values])
    places, kinds = lookup.find(known, keys)
    row_of = {key: row for row, key in enumerate(known.tolist()) if key}
    expected = []
    for row, length in zip(ids.tolist(), lengths.tolist(), strict=True):
        own = [of(row[:length], place) for place in range(length)]
        for before, token, after in own:
            chain = ((before, token, after), (-1, token, after), (-1, token, -1))
            found = [(row_of[key], 3 - level) for level, key in enumerate(map(packed, chain)) if key in row_of]
            expected.append(found[0] if found else (0, 0))
        expected += [(0, 0)] * (12 - length)
    assert torch.stack([places, kinds], -1).flatten(0, 1).tolist() == [list(pair) for pair in expected]


def test_the_commonest_windows_serve_most_tokens() -> None:
    ids, lengths = texts(300, vocab=6)
    counts: Counter[int] = Counter()
    for row, length in zip(ids.tolist(), lengths.tolist(), strict=True):
        for place in range(length):
            before, token, after = of(row[:length], place)
            counts.update(map(packed, [(before, token, after), (-1, token, after), (-1, token, -1)]))
    expected = sorted(counts, key=lambda key: (-counts[key], key))
    assert lookup.commonest(lookup.windows(ids, lengths)).tolist() == expected
    assert lookup.commonest(lookup.windows(ids, lengths), 7).tolist() == expected[:7]


def test_insertion_gives_a_new_version_and_leaves_the_old_one() -> None:
    own, (ids, lengths) = weights.random(SPEC, 0), texts(30)
    whole = lookup.build(own, LAYERS, ids, lengths)
    keys, rows = whole.keys[1:], whole.rows[1:]
    some = Lookup.empty(whole.merge).inserted(keys[::3], rows[::3])
    before = some.states(ids, lengths)
    both = some.inserted(keys.flip(0), rows.flip(0))
    assert (some.version, both.version) == (1, 2)
    assert torch.equal(both.keys, whole.keys)
    assert torch.equal(both.rows, whole.rows)
    assert torch.equal(some.states(ids, lengths), before)
    assert torch.equal(both.kept(keys[::3]).states(ids, lengths), before)
    assert not Lookup.empty(whole.merge).rows.any()


def test_the_maps_find_a_linear_law_and_an_unseen_place_is_neutral() -> None:
    rng = torch.Generator().manual_seed(0)
    base = Merge.plain(weights.random(SPEC, 0), LAYERS)
    ids, lengths = texts(900)
    keys = lookup.windows(ids, lengths)
    keys = keys[keys > 0]
    shorter = torch.rand(len(keys), generator=rng)
    keys = torch.where(shorter < 0.2, lookup.unigrams(keys), torch.where(shorter < 0.5, lookup.bigrams(keys), keys))
    tokens = torch.stack([keys >> 2 * lookup.BITS, keys >> lookup.BITS & 0xFFFFF, keys & 0xFFFFF], 1)
    own = torch.randn(len(keys), 3, 64, generator=rng) + 2
    own *= (tokens > 0)[..., None]
    law = replace(base, maps=torch.randn(3, 3, 64, 64, generator=rng) / 8, means=torch.full((3, 3, 64), 2.0))
    summed = lookup.shifted(law.mapped(keys, own)[None])[0].sum(1)
    places = torch.cat([torch.arange(length) for length in lengths])
    fitted = base.fitted(keys, own, summed * base.norm_weight + base.norm_bias, places, ridge=1e-6)
    again = lookup.shifted(fitted.mapped(keys, own)[None])[0].sum(1) + fitted.positions[places]
    assert (again - summed).square().mean() < 0.02 * summed.square().mean()
    assert not fitted.mapped(keys, own)[tokens == 0].any()


def test_a_token_beyond_the_keys_is_refused() -> None:
    with pytest.raises(ValueError, match="does not fit"):
        lookup.windows(torch.tensor([[1 << 20]]), torch.tensor([1]))
