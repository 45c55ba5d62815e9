"""The exact optimum: equal to brute force, replayed by the simulator to the last bit, never beaten."""

from __future__ import annotations

from functools import cache
from itertools import combinations

import numpy as np
import pytest
from conftest import formula_table
from hypothesis import example, given, settings
from hypothesis import strategies as st

from policies import POLICIES, make
from policies.bounds import clairvoyant
from policies.bounds.clairvoyant import Refused, optimal_schedule
from policies.registry import needs
from simulator import simulate
from traces import Trace, load


def brute_force(arrival, deadline, service, accuracies):
    """The greatest sum of accuracies over on-time answers: every order of every batch of any of the requests."""
    largest = len(service[0]) - 1

    @cache
    def best(left, free):
        values = [0.0]  # whatever is left is dropped
        for size in range(1, min(len(left), largest) + 1):
            for batch in combinations(left, size):
                rest = tuple(request for request in left if request not in batch)
                for row, accuracy in zip(service, accuracies, strict=True):
                    finish = max(free, max(arrival[request] for request in batch)) + row[size]
                    on_time = sum(finish <= deadline[request] for request in batch)
                    if on_time:
                        values.append(on_time * accuracy + best(rest, finish))
        return max(values)

    return best(tuple(range(len(arrival))), 0.0)


@st.composite
def instances(draw):
    """Arrivals, deadlines, times and accuracies on a coarse grid, so that ties are many."""
    n = draw(st.integers(1, 6))
    arrival = np.cumsum(draw(st.lists(st.integers(0, 6), min_size=n, max_size=n))).astype(float)
    deadline = np.maximum.accumulate(arrival + draw(st.lists(st.integers(1, 14), min_size=n, max_size=n)))
    largest, levels = draw(st.integers(1, 4)), draw(st.integers(1, 3))
    steps = st.lists(st.sampled_from([0, 0, 1, 3]), min_size=largest, max_size=largest)
    service = [[0.0, *(1.0 + np.cumsum(draw(steps)))] for _ in range(levels)]
    accuracies = draw(st.lists(st.sampled_from([0.5, 0.8, 0.86, 0.955, 1.0]), min_size=levels, max_size=levels))
    return arrival, deadline, service, accuracies


@settings(max_examples=400, deadline=None)
@given(instances())
@example((np.zeros(5), np.full(5, 9.0), [[0, 2, 3, 4], [0, 3, 5, 7]], [0.8, 1.0]))
def test_it_equals_brute_force_over_all_batches_of_any_requests(instance):
    schedule = optimal_schedule(*instance)
    assert schedule.accuracy_weighted_goodput * len(instance[0]) == pytest.approx(brute_force(*instance), abs=1e-9)


@settings(max_examples=100, deadline=None)
@given(instances())
def test_the_schedule_is_one_that_a_gpu_can_run(instance):
    arrival, deadline, service, accuracies = instance
    schedule = optimal_schedule(*instance)
    free, next_request, gained = 0.0, 0, 0.0
    rows = zip(schedule.start_s, schedule.first, schedule.size, schedule.level, strict=True)
    for start, first, size, level in rows:
        assert first >= next_request
        assert start >= max(free, arrival[first + size - 1])
        free, next_request = start + service[level][size], first + size
        assert (free <= deadline[first:next_request]).all()
        gained += size * accuracies[level]
    assert schedule.accuracy_weighted_goodput == pytest.approx(gained / len(arrival))


def plain(arrival, deadline, service, accuracies):
    """The same program in its textbook form: a dictionary of losses per node, nothing left out but the later of two."""
    units = [round(accuracy * 1000) for accuracy in accuracies]
    nodes = [{0: -np.inf}] + [{} for _ in arrival]
    for j, last in enumerate(arrival, 1):
        moves = [(lost + max(units), free) for lost, free in nodes[j - 1].items()]
        for size in range(1, min(j, len(service[0]) - 1) + 1):
            for lost, free in nodes[j - size].items():
                for row, unit in zip(service, units, strict=True):
                    finish = max(free, last) + row[size]
                    if finish <= deadline[j - size]:
                        moves.append((lost + size * (max(units) - unit), finish))
        for lost, free in moves:
            nodes[j][lost] = min(free, nodes[j].get(lost, np.inf))
    return (len(arrival) * max(units) - min(nodes[-1])) / 1000


@pytest.mark.parametrize("many", [1, clairvoyant.MANY])
def test_leaving_out_dominated_states_loses_nothing(monkeypatch, many):
    """Whether a sample of the candidates is sorted first or not."""
    monkeypatch.setattr(clairvoyant, "MANY", many)
    rng = np.random.default_rng(3)
    arrival = rng.exponential(0.1, 60).cumsum()
    service = [[0.0, *(fixed + each * np.arange(1, 13))] for fixed, each in ((0.5, 0.15), (0.7, 0.3))]
    accuracies, deadline = [0.95, 1.0], arrival + 3.0
    expected = plain(arrival, deadline, service, accuracies)
    assert 0 < expected < 60 * 0.95, "too easy: nothing is dropped"
    found = optimal_schedule(arrival, deadline, service, accuracies)
    assert found.accuracy_weighted_goodput * 60 == pytest.approx(expected, abs=1e-9)


def affine(students, batch, tokens):
    return 600 + 50 * students + 15 * batch * max(1.0, students / 2)


TABLE = formula_table(
    affine, students=(1, 2, 4), batches=(1, 2, 4, 8, 16), tokens=(64,), accuracy=lambda k: 1 - 0.1 / k
)
BURSTS = "mmpp:rate=6000,duration=0.15,levels=1/4,stays=0.03/0.02"


def bursts(seed, spec=BURSTS):
    return load(spec, lengths="constant:tokens=9", seed=seed)


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("slo_s", [0.003, 0.01])
def test_the_simulator_gets_exactly_what_the_program_promises(seed, slo_s):
    policy = Watched()
    report = simulate(bursts(seed), policy, TABLE, slo_s=slo_s)
    assert report.summary["accuracy_weighted_goodput"] == policy.promised[0]
    assert report.summary["late"] == 0


class Watched(POLICIES["optimum"]):
    """Keeps what it promises, also where a run uses a copy."""

    def __init__(self):
        self.promised = []

    def __deepcopy__(self, memo):
        return self

    def start(self, view):
        super().start(view)
        self.promised.append(self.schedule.accuracy_weighted_goodput)


def online():
    """Specs of all policies that serve whole batches without knowing the future; wrappers around one of them."""
    for name, cls in POLICIES.items():
        spec = f"{name}(adaptive)" if "inner" in cls.__dataclass_fields__ else name
        if "scale" in needs(make(spec)):
            spec = f"{name}(adaptive, most=1)"
        if not needs(make(spec)) & {"future", "layers", "memory"}:
            yield spec


@pytest.mark.parametrize("spec", [*online(), "adaptive(drop='hopeless')", "slackfit(choice='batch', drop=True)"])
@settings(max_examples=4, deadline=None)
@given(st.integers(0, 1000), st.floats(1000, 20_000), st.sampled_from([0.002, 0.005, 0.02]))
def test_no_policy_beats_it(spec, seed, rate, slo_s):
    trace = load(f"mmpp:rate={rate},duration={300 / rate},stays=0.03/0.02", lengths="constant:tokens=9", seed=seed)
    reports = [simulate(trace, each, TABLE, slo_s=slo_s).summary for each in (spec, "optimum")]
    assert reports[0]["accuracy_weighted_goodput"] <= reports[1]["accuracy_weighted_goodput"] + 1e-12


def test_levels_without_accuracy_count_as_right():
    bare = formula_table(affine, students=(1, 2), tokens=(64,))
    report = simulate(bursts(0), "optimum", bare, slo_s=0.005)
    counted = simulate(bursts(0), "optimum", formula_table(affine, students=(1,), tokens=(64,)), slo_s=0.005)
    assert report.summary["attainment"] == counted.summary["attainment"]


def test_own_targets_are_fine_while_they_are_due_in_order():
    arrivals = np.array([0.0, 0.0001, 0.0002])
    trace = Trace(arrivals, np.full(3, 9, np.int32), slo_s=np.array([0.001, np.nan, 0.004]))
    report = simulate(trace, "optimum", TABLE, slo_s=0.003)
    assert report.summary["ok"] == 3


@pytest.mark.parametrize(
    ("trace", "named", "message"),
    [
        (Trace(np.zeros(2), np.array([9, 9])), {"gpus": 2}, "one GPU.* 2"),
        (Trace(np.zeros(2), np.array([9, 50])), {}, "one length.* 16 to 64 tokens"),
        (
            Trace(np.zeros(3), np.array([9, 9, 9]), slo_s=np.array([1.0, 2.0, 0.5])),
            {},
            "request 2 .*request 1",
        ),
    ],
)
def test_what_it_cannot_do_exactly_it_refuses(trace, named, message):
    table = formula_table(affine, students=(1, 2), tokens=(16, 64))
    with pytest.raises(Refused, match=message):
        simulate(trace, "optimum", table, slo_s=0.01, **named)


def test_times_that_fall_as_a_batch_grows_are_refused():
    with pytest.raises(Refused, match=r"level 0 .* 3 requests .* 2"):
        optimal_schedule(np.zeros(1), np.ones(1), [[0.0, 1.0, 2.0, 1.5]], [1.0])
