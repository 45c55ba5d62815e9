"""Streams: which recorded row each request meets, even, in blocks, slowly, in jumps; tuning rows never."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.append(str(Path(__file__).parent))
from answer_doubles import made_up

from profiler.answers.streams import STREAMS, halves, sources, stream
from profiler.answers.together import concatenated

SIZES = {"tuning": 300, "sentences": 200, "phrases": 800}


def shares(items, rows, period):
    """The share of sentences in each period."""
    return (items.split[rows] == "sentences").reshape(-1, period).mean(1)


@pytest.mark.parametrize("kind", STREAMS)
def test_a_stream_follows_from_its_seed_and_meets_no_tuning_row(kind: str) -> None:
    items = made_up(SIZES)
    rows = stream(items, kind, 9000, period=500, seed=3)
    assert len(rows) == 9000
    assert not (items.split[rows] == "tuning").any()
    assert rows.tolist() == stream(items, kind, 9000, period=500, seed=3).tolist()
    assert rows.tolist() != stream(items, kind, 9000, period=500, seed=4).tolist()
    for own in (halves if kind == "hardness" else sources)(items).values():
        counts = np.bincount(rows, minlength=1300)[own]
        assert counts.max() - counts.min() <= 1  # none comes again before all have come


def test_shares_of_the_groups_are_what_the_kind_says() -> None:
    items = made_up(SIZES)
    even = shares(items, stream(items, "even", 20_000), 20_000)
    assert even == pytest.approx([0.2], abs=4 * np.sqrt(0.16 / 20_000))
    assert shares(items, stream(items, "blocks", 2000, period=250), 250).tolist() == [1, 0] * 4
    slow = shares(items, stream(items, "slow", 16_000, period=1000), 1000)
    assert slow == pytest.approx(np.abs(1 - (np.arange(16) + 0.5) / 4 % 2), abs=0.07)
    jumps = shares(items, stream(items, "jumps", 100_000, period=1000), 1000)
    assert np.std(jumps) == pytest.approx(np.sqrt(1 / 12), abs=0.07)  # of two groups: even over 0 to 1


def test_hardness_parts_the_texts_by_where_their_answer_settles() -> None:
    items = made_up(SIZES)
    parts = halves(items)
    assert sorted([*parts["easy"], *parts["hard"]]) == items.served.tolist()

    def settled(row):
        return next(k for k in range(4) if (items.answer[k:, row] == items.teacher_answer[row]).all())

    assert max(map(settled, parts["easy"])) <= min(map(settled, parts["hard"]))
    rows = stream(items, "hardness", 400, period=100)
    assert np.isin(rows.reshape(4, 100), parts["easy"]).mean(1).tolist() == [1, 0, 1, 0]


def test_tasks_put_together_are_groups_and_one_group_cannot_drift() -> None:
    first = made_up({"held-out": 100}, texts="a")
    with pytest.raises(ValueError, match="held-out"):
        stream(first, "blocks", 10)
    assert len(stream(first, "even", 10)) == 10
    second = made_up({"tuning": 40, "held-out": 60}, seed=1, task="other", texts="b")
    both = concatenated([first, second])
    rows = stream(both, "blocks", 400, period=100)
    assert (both.domain[rows].reshape(4, 100) == "toy").mean(1).tolist() == [1, 0, 1, 0]
    assert set(sources(both)) == {"toy", "other"}
    with pytest.raises(LookupError, match="even, blocks, slow, jumps, hardness"):
        stream(both, "calm", 10)
    with pytest.raises(ValueError, match="period"):
        stream(both, "even", 10, period=0)
