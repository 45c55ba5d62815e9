"""What can still be on time, against looking at everything."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from policies import Dispatch
from policies.machinery.deadlines import Alone, hopeless, largest_all_in_time, largest_in_time, latest_start, quickest
from simulator import simulate
from simulator.conformance.cases import formula, random_case
from traces import Trace


@given(st.floats(1e-3, 1e9), st.floats(1e-6, 1e9))
def test_the_latest_start_is_on_time_and_a_moment_later_is_not(deadline, seconds):
    start = latest_start(deadline, seconds)
    assert start + seconds <= deadline
    # One step later is late, unless a step is too small to show in the sum.
    later = start + 4 * max(np.spacing(abs(start)), np.spacing(deadline))
    assert later + seconds > deadline


class Probe:
    """Serves the oldest, and compares at each decision."""

    def start(self, view):
        self.alone = Alone.fastest(view)

    def decide(self, view):
        self.compare(view, view.by_deadline(64))
        return Dispatch(view.oldest(3), view.levels[-1])


def end(view, level, batch):
    return view.now + view.seconds(level, len(batch), max(map(view.tokens, batch)))


class Hopeless(Probe):
    def compare(self, view, waiting):
        late = [r for r in waiting if view.now + self.alone.seconds[view.longest([r])] > view.deadline(r)]
        assert list(hopeless(view, self.alone)) == late


class InTime(Probe):
    def compare(self, view, waiting):
        level, until, waiting = view.levels[0], view.deadline(waiting[0]), waiting[: view.plan.max_batch]
        fitting = [n for n in range(1, len(waiting) + 1) if end(view, level, waiting[:n]) <= until]
        size = largest_in_time(view, level, waiting, until, quickest(view, level))
        assert size == 0 or size in fitting
        tried = {len(waiting), *view.plan.batches}
        assert size == max((n for n in fitting if n in tried), default=0)


@pytest.mark.parametrize("seed", range(16))
@pytest.mark.parametrize("probe", [Hopeless, InTime])
def test_what_is_found_is_what_looking_at_all_finds(probe, seed):
    case = random_case(seed)
    simulate(case.trace, probe(), case.table, gpus=case.gpus, slo_s=case.slo_s)


@pytest.mark.parametrize("seed", range(8))
def test_the_largest_batch_that_is_all_on_time_is_the_largest_of_all_subsets(seed):
    """Of one length: by deadline, the latest n are the best n to try, so their window decides for every n."""

    class Largest(Probe):
        def compare(self, view, waiting):
            level = view.levels[-1]
            row = view.service[level.index][0]
            found = largest_all_in_time(view, level, waiting, view.plan.max_batch)
            deadlines = sorted(map(view.deadline, waiting))
            most = max(
                (n for n in range(1, min(len(waiting), view.plan.max_batch) + 1) if view.now + row[n] <= deadlines[-n]),
                default=0,
            )
            assert len(found) == most
            assert all(view.now + row[max(1, len(found))] <= view.deadline(request) for request in found)
            assert list(found) == sorted(found, key=lambda request: (view.deadline(request), request))

    rng = np.random.default_rng(seed)
    times = rng.exponential(3e-4, 150).cumsum()
    trace = Trace(times, np.full(150, 9), slo_s=rng.choice([0.004, 0.01, 0.03], 150))
    simulate(trace, Largest(), formula([1, 4], [1, 2, 4, 8, 16], [16]), slo_s=0.01)
