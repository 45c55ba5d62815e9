"""What fits a budget of tokens, and the kind of a batch, however requests have left."""

import numpy as np
import pytest

from profiler.table.plan import PACKED, PADDED
from simulator.endpoint.backlog import OpenBacklog
from simulator.queue.backlog import Backlog
from traces import Trace


def backlogs(rng, layout):
    """A closed and an open one with the same requests, all of which have arrived."""
    tokens = rng.integers(1, 31, 200).astype(np.int32)
    closed = Backlog(Trace(np.arange(200.0), tokens), tokens - 1, 30, 1.0, layout)
    opened = OpenBacklog(30, 1.0, 40, layout=layout)
    for number, length in enumerate(tokens.tolist()):
        opened.append(float(number), length, length - 1)
    for each in (closed, opened):
        each.admit(1e9)
    return tokens.tolist(), (closed, opened)


@pytest.mark.parametrize("layout", [PADDED, PACKED])
@pytest.mark.parametrize("seed", range(10))
def test_fitting_and_kinds_are_those_of_the_requests_that_wait(seed, layout):
    rng = np.random.default_rng(seed)
    tokens, both = backlogs(rng, layout)
    waiting = list(range(200))
    while len(waiting) > 3:
        budget = int(rng.integers(0, 300))
        expected = int(np.searchsorted(np.cumsum([tokens[each] for each in waiting]), budget, side="right"))
        assert [each.fitting(budget) for each in both] == [expected, expected]
        count = int(rng.integers(1, min(20, len(waiting)) + 1))
        chosen = sorted(rng.choice(len(waiting), count, replace=False).tolist()) if seed % 2 else list(range(count))
        batch = [waiting[at] for at in chosen]
        lengths = [tokens[each] for each in batch]
        kind = max(lengths) - 1 if layout == PADDED else -(-sum(lengths) // count) - 1
        for each in both:
            named = each.oldest(count) if not seed % 2 else batch
            assert each.kind(named) == kind
            assert each.take(named) == kind
        waiting = [each for each in waiting if each not in batch]
