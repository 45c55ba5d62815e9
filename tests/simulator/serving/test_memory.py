"""Adapters in memory: budgets, pins and links (invariant I10), and what a batch waits for."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import pairwise
from math import inf

import numpy as np
import pytest
from conftest import formula_table
from doubles import Says, trace
from hypothesis import given, settings
from hypothesis import strategies as st

from policies import Action, Dispatch, Drop, Evict, Load, Loaded, Preempt, View, Wait, make
from policies.around.routing import Router
from profiler.table import AdapterTable, Jitter
from simulator import simulate
from simulator.conformance import check_policy
from simulator.conformance.cases import Case
from simulator.conformance.invariants import RULES, within_memory
from simulator.conformance.on_demand import OnDemand
from simulator.conformance.watching import WatchedPolicy
from simulator.executors.table import TableExecutor
from simulator.reporting.output import save
from traces import Trace

NEEDS = frozenset({"memory"})
BYTES = 10


def adapters(load_s=2.0, extra_s=0.0):
    rows = [("students-2x8", "toy", BYTES, 1e6 * load_s, n, 8, 64, 1e6 * extra_s * n) for n in (1, 8)]
    return AdapterTable(tuple(rows))


def table(load_s=2.0, extra_s=0.0):
    """Every batch takes one second, every load two; models of one layer, which waits for the whole load."""
    plain = formula_table(lambda *_: 1e6, tokens=(16, 64))
    columns = dict(plain.columns) | {"depth": np.ones_like(plain.columns["depth"])}
    return replace(plain, columns=columns, adapters=adapters(load_s, extra_s))


def tenants(names, *arrivals):
    """A trace of one request of each tenant; all at once unless times are given."""
    return trace(*(arrivals or [0.0] * len(names)), tenant=np.array(list(names)))


def run(policy, requests, *, fit=2, times=None, **named):
    """Serve where so many adapters fit on a GPU."""
    named = {"slo_s": 100.0, "adapter_budget": BYTES * fit} | named
    return simulate(requests, policy, times or table(), **named)


def steps(*actions, **attributes):
    """A policy that does these, one after the other: a number waits until then, a list dispatches these requests."""
    left = list(actions)

    def answer(view, _):
        if left and isinstance(left[0], float) and view.now >= left[0]:
            left.pop(0)
        if not left or (isinstance(left[0], list) and not view.idle):
            return Wait()
        if isinstance(left[0], float):
            return Wait(until=left[0])
        action = left.pop(0)
        return Dispatch(action, view.levels[-1]) if isinstance(action, list) else action

    return Says(answer, **{"needs": NEEDS, "every_arrival": True} | attributes)


@dataclass
class AtRandom(OnDemand):
    """Loads and evicts whatever it may, wherever it may, whenever it is asked; now and then it serves on demand."""

    seed: int = 0
    tenants: tuple[str, ...] = ("one", "two")
    running: dict[int, list[str]] = field(default_factory=dict)

    every_arrival = True
    uses = OnDemand.uses | {"waiting", "now", "completions", "loads"}

    def start(self, view: View) -> None:
        super().start(view)
        self.rng, self.heard = np.random.default_rng(self.seed), []

    def decide(self, view: View) -> Action:
        gpu = int(self.rng.integers(view.gpus))
        if self.rng.random() < 0.5:
            room, there, coming = view.room(gpu), view.resident(gpu), view.loading(gpu)
            may: list[Action] = [Evict(gpu, each) for each in there if each not in self.running.get(gpu, ())]
            for each in self.tenants:
                if each not in there and each not in coming and view.adapter(each).bytes <= room:
                    may.append(Load(gpu, each))
            if may:
                return may[self.rng.integers(len(may))]
        if not view.idle:
            return Wait()
        action = self.serve(view, int(self.rng.choice(view.idle)))
        if isinstance(action, Dispatch):
            self.running[action.gpu] = [view.tenant_of(each) for each in action.requests]
        return action

    def observe(self, event) -> None:
        if isinstance(event, Loaded):
            self.heard.append(event)
        else:
            self.running.pop(event.gpu)


def random_trace(rng, names):
    n = int(rng.integers(1, 80))
    popular = rng.dirichlet(np.full(len(names), 0.5))
    arrivals = np.round(rng.exponential(rng.choice([0.05, 0.5, 3.0]), n).cumsum(), int(rng.choice([1, 9])))
    return Trace(arrivals, rng.integers(1, 65, n).astype(np.int32), tenant=rng.choice(names, n, p=popular))


def holds(report, log, budget, gpus):
    """I10, by looking at every moment at which something may change."""
    its, names = report.records.adapters, report.trace.tenant
    evicted = [(time, *action[1:]) for time, action in log if action[0] == "Evict"]
    loads = iter(its.loads)
    stays = []  # gpu, tenant, asked, there, evicted
    for asked, action in log:
        if action[0] == "Load":
            load = next(loads)
            end = min((time for time, *of in evicted if of == [*load[:2]] and time >= load.finish), default=inf)
            stays.append((*load[:2], asked, load.start, load.finish, end))
            assert load.seconds <= load.finish - load.start + 1e-9
    assert next(loads, None) is None
    for gpu in range(gpus):
        mine = [each for each in stays if each[0] == gpu]
        for moment in sorted({each[2] for each in mine}):
            assert BYTES * sum(asked <= moment < end for _, _, asked, _, _, end in mine) <= budget
        links = sorted((start, end) for _, _, _, start, end, _ in mine if end < inf)  # of one layer: one by one
        assert all(end <= start + 1e-9 for (_, end), (start, _) in pairwise(links))
    for number, (_, finish, gpu, _, _, requests) in enumerate(report.records.batches):
        assert report.answers[number] == len(requests)
        start = report.records.batches[number][0] + its.load_wait_s[requests[0]]
        for tenant in {names[each] for each in requests}:
            ours = [each for each in stays if each[:2] == (gpu, tenant)]
            assert any(there <= start + 1e-9 and finish <= end for *_, there, end in ours)


def checked(policy, requests, *, gpus, fit, load_s=0.3):
    recorder, times = WatchedPolicy(policy), table(load_s, 0.125)
    report = run(recorder, requests, gpus=gpus, fit=fit, times=times)
    holds(report, recorder.log, fit * BYTES, gpus)
    case = Case("", requests, requests, inf, times, gpus, 100.0, fit * BYTES)
    for rule in RULES:
        assert rule(report, recorder.log, case) or (policy.every_arrival and "starve" in rule.__doc__), rule
    assert report.requests["outcome"].tolist().count("dropped") == 0
    assert (report.requests["batch"] >= 0).all()
    return report, recorder


@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.integers(0, 10**6), st.integers(1, 3), st.integers(1, 4), st.integers(1, 8))
def test_i10_holds_where_adapters_are_loaded_on_demand(seed, gpus, fit, most):
    policy = OnDemand(most)
    policy.every_arrival = False
    checked(policy, random_trace(np.random.default_rng(seed), list("abcdef")), gpus=gpus, fit=fit)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.integers(0, 10**6), st.integers(1, 3), st.integers(1, 4), st.integers(1, 8))
def test_i10_holds_where_they_come_and_go_at_random(seed, gpus, fit, most):
    requests = random_trace(np.random.default_rng(seed), list("abcdef"))
    policy = AtRandom(most, seed, tuple(sorted(set(requests.tenant.tolist()))))
    report, recorder = checked(policy, requests, gpus=gpus, fit=fit)
    loads = report.records.adapters.loads
    assert sorted(recorder.policy.heard) == sorted(load for load in loads if load.finish < inf)
    ends = [load.finish for load in recorder.policy.heard]
    assert ends == sorted(ends)


@pytest.mark.parametrize("fit", [1, 2, 3, 7])
def test_on_demand_and_one_by_one_has_exactly_the_hits_of_an_lru(fit):
    rng = np.random.default_rng(fit)
    names = rng.choice([f"t{k}" for k in range(12)], 600, p=rng.dirichlet(np.ones(12)))
    report = run(OnDemand(), Trace(rng.exponential(0.3, 600).cumsum(), np.full(600, 9), tenant=names), fit=fit)
    cache, hits = OrderedDict(), []
    for name in names:
        hits.append(name in cache)
        cache[name] = None
        cache.move_to_end(name)
        if len(cache) > fit:
            cache.popitem(last=False)
    assert (report.requests["hit"] == "resident").tolist() == hits
    assert report.summary["hit_rate"] == np.mean(hits)
    assert report.summary["bytes_loaded"] == BYTES * hits.count(False)


def test_a_batch_computes_when_its_last_load_has_ended_and_pays_for_distinct_tenants():
    policy = steps(Load(0, "a"), Load(0, "b"), [0, 1], [2])
    report = run(policy, tenants("aba"), times=table(extra_s=0.25))
    assert report.batches["start_s"].tolist() == [0, 4 + 1 + 8 * 0.25]
    assert report.batches["finish_s"].tolist() == [7, 7 + 1 + 0.25]
    assert report.records.adapters.loads == [Loaded(0, "a", 0, 2, 2), Loaded(0, "b", 2, 4, 2)]
    assert report.requests["hit"].tolist() == ["miss", "miss", "resident"]
    assert report.requests["load_wait_s"].tolist() == [4, 4, 0]
    assert report.summary["hit_rate"] == pytest.approx(1 / 3)
    assert report.summary["bytes_loaded"] == 20
    assert report.summary["link_busy"] == 4 / 8.25


def test_a_load_that_was_asked_for_before_is_neither_hit_nor_miss():
    report = run(steps(Load(0, "a"), 0.5, [0]), tenants("a"))
    assert report.requests["hit"].tolist() == ["loading"]
    assert report.requests["load_wait_s"].tolist() == [1.5]
    assert report.batches["finish_s"].tolist() == [3]


def test_every_gpu_has_a_link_of_its_own():
    report = run(steps(Load(0, "a"), Load(1, "a"), Load(1, "b"), [0], [1], Drop([2])), tenants("aab"), gpus=2)
    starts = [(load.gpu, load.start) for load in report.records.adapters.loads]
    assert starts == [(0, 0), (1, 0), (1, 2)]
    assert report.batches["gpu"].tolist() == [0, 1]
    assert report.batches["finish_s"].tolist() == [3, 3]
    assert report.requests["hit"].tolist()[:2] == ["miss", "miss"]
    assert report.requests["hit"].isna().tolist() == [False, False, True]
    assert report.summary["link_busy"] == (2 + 2 + 1) / (2 * 3)  # until the last batch
    assert report.summary["bytes_loaded"] == 30


def test_a_load_is_heard_at_its_end_and_ends_a_wait():
    heard, seen = [], []

    def answer(view, asked):
        seen.append((view.now, list(view.resident(0)), list(view.loading(0)), view.room(0), list(heard)))
        return [Load(0, "a"), Wait(), Dispatch([0], view.levels[-1])][asked - 1]

    run(Says(answer, needs=NEEDS, observe=heard.append, uses=frozenset({"loads"})), tenants("a"), fit=3)
    assert seen == [(0, [], [], 30, []), (0, [], ["a"], 20, []), (2, ["a"], [], 20, [Loaded(0, "a", 0, 2, 2)])]
    assert len(heard) == 2  # and the completion


def test_a_policy_that_does_not_list_loads_observes_completions_only():
    heard = []
    run(steps(Load(0, "a"), [0], observe=heard.append), tenants("a"))
    assert [type(each).__name__ for each in heard] == ["Completion"]


def test_behind_a_router_each_copy_hears_of_the_loads_of_its_own_gpu():
    router = WatchedPolicy(Router(AtRandom(1, 5, tuple("ab")), "round-robin"))
    report = run(router, tenants("abababab", *np.arange(8.0)), gpus=2)
    copies = router.policy._copies.policies
    for gpu, copied in enumerate(copies):
        mine = [load._replace(gpu=0) for load in report.records.adapters.loads]
        mine = [load for load, its in zip(mine, report.records.adapters.loads, strict=True) if its.gpu == gpu]
        mine = sorted((load for load in mine if load.finish < inf), key=lambda load: load.finish)
        assert copied.heard == mine != []


WRONG = {
    "names tenant 'z'": [Load(0, "z")],
    "names tenant None": [Load(0, None)],
    "named GPU 1": [Load(1, "a")],
    "is loading already": [Load(0, "a"), Load(0, "a")],
    "is resident already": [Load(0, "a"), 2.0, Load(0, "a")],
    "10 bytes onto GPU 0, where 0 are free": [Load(0, "a"), Load(0, "b"), Load(0, "c")],
    "is loading": [Load(0, "a"), Evict(0, "a")],
    "not there": [Evict(0, "a")],
    "needed by a batch": [Load(0, "a"), [0], 2.5, Evict(0, "a")],
    "neither resident nor loading": [Load(0, "a"), [0, 1]],
}


@pytest.mark.parametrize("message", WRONG)
def test_what_breaks_a_rule_of_memory_ends_the_run(message):
    with pytest.raises(ValueError, match=message.replace("names", "named")):
        run(steps(*WRONG[message]), tenants("abc"))


def test_an_adapter_may_go_once_its_batch_is_done():
    report = run(steps(Load(0, "a"), [0], 3.0, Evict(0, "a"), Load(0, "b"), [1]), tenants("ab"), fit=1)
    assert report.batches["start_s"].tolist() == [0, 3]
    assert report.batches["finish_s"].tolist() == [3, 6]


def test_a_preempted_batch_lets_go_of_its_adapters():
    actions = [Load(0, "a"), [0], 2.5, Preempt(0), Evict(0, "a"), Load(0, "b"), [1], 5.5]
    policy = steps(*actions, Evict(0, "b"), Load(0, "a"), [0], needs=NEEDS | {"preempt"})
    report = run(policy, tenants("ab"), fit=1)
    assert report.batches["finish_s"].tolist() == [2.5, 5.5, 8.5]
    assert report.requests["batch"].tolist() == [2, 1]
    assert report.requests["hit"].tolist() == ["miss", "miss"]


def test_the_predicted_end_of_a_busy_gpu_counts_its_loads():
    seen = []

    def answer(view, asked):
        seen.append((view.now, view.free_at(0)))
        if not view.idle:
            return Wait()
        return Load(0, "a") if asked == 1 else Dispatch(view.oldest(1), view.levels[-1])

    run(Says(answer, needs=NEEDS, every_arrival=True), tenants("aa"))
    assert seen == [(0, 0), (0, 0), (0, 3), (2, 3), (3, 3)]


def test_noise_is_on_the_service_alone():
    noisy = replace(table(extra_s=0.25), jitter=Jitter((inf,), ((0.0, 1.0),), ((1.5, 1.5),)))
    report = run(steps(Load(0, "a"), [0]), tenants("a"), times=noisy, service_noise="profiled")
    assert report.batches["finish_s"].tolist() == [2 + 1.5 + 0.25]


def test_a_policy_that_loads_and_evicts_for_ever_is_stopped():
    def restless(view, _):
        if view.loading(0):
            return Wait()
        return Evict(0, "a") if view.resident(0) else Load(0, "a")

    with pytest.raises(ValueError, match="does not settle"):
        run(Says(restless, needs=NEEDS), tenants("a"))


def test_without_a_budget_a_tenant_is_a_label():
    requests = random_trace(np.random.default_rng(3), list("abc"))
    plain = formula_table(lambda *_: 1e6, tokens=(16, 64))
    reports = [simulate(requests, make("greedy"), each, slo_s=9.0) for each in (plain, table())]
    assert reports[0].summary == reports[1].summary
    assert list(reports[0].requests) == list(reports[1].requests)
    assert "hit" not in reports[1].requests


def test_runs_that_cannot_bind_adapters_are_refused():
    for expected, named in {
        "host budget": {"host_budget": 10},
        "no adapters.csv": {"times": formula_table(lambda *_: 1e6)},
        "no column tenant": {"requests": trace(0)},
        "takes 10": {"adapter_budget": 9},
        "2 distinct tenants": {"times": replace(table(), adapters=AdapterTable(adapters().rows[:1]))},
        "adapter budget": {"executor": TableExecutor.__new__(TableExecutor), "policy": make("greedy")},
        "needs 'scale'": {"policy": steps(needs=NEEDS | {"scale"})},
        "needs 'stops'": {"policy": steps(needs=NEEDS | {"stops"})},
    }.items():
        with pytest.raises((ValueError, LookupError), match=expected):
            run(**{"policy": OnDemand(), "requests": tenants("abcdefgh"), "fit": 1} | named)
    with pytest.raises(ValueError, match="neither resident nor loading"):
        run(make("greedy"), tenants("a"))
    for asks in (lambda view, _: view.resident(0), lambda view, _: Load(0, "a")):
        with pytest.raises(ValueError, match="needs = frozenset"):
            run(Says(asks), tenants("a"), adapter_budget=None)


def test_i4_equal_runs_write_equal_bytes(tmp_path):
    requests = random_trace(np.random.default_rng(5), list("abcdef"))
    for name in ("one", "two"):
        names = tuple(sorted(set(requests.tenant.tolist())))
        save(run(AtRandom(3, 7, names), requests, gpus=2), tmp_path / name)
    for file in ("requests.parquet", "batches.parquet", "summary.json"):
        assert (tmp_path / "one" / file).read_bytes() == (tmp_path / "two" / file).read_bytes()


@pytest.mark.parametrize("policy", [OnDemand, partial(OnDemand, 4), partial(Router, OnDemand(4), "shortest")])
def test_policies_of_adapters_pass_the_suite(policy):
    check_policy(policy, seeds=range(3))


def test_the_suite_sees_a_broken_rule():
    requests = tenants("abab", 0, 4, 8, 12)
    recorder = WatchedPolicy(OnDemand())
    report = run(recorder, requests, fit=1)
    case = Case("", requests, requests, inf, table(), 1, 100.0, BYTES)
    log, its = recorder.log, report.records.adapters
    assert within_memory(report, log, case)
    assert not within_memory(report, log, replace(case, adapter_budget=9))
    assert not within_memory(report, [each for each in log if each[1][0] != "Evict"], case)
    early = [(time - 0.5 if action[0] == "Evict" else time, action) for time, action in log]
    assert within_memory(report, early, case)  # nothing ran then
    early = [(time - 1.5 if action[0] == "Evict" else time, action) for time, action in log]
    assert not within_memory(report, early, case)
    its.loads[1] = its.loads[1]._replace(start=1.0)
    assert not within_memory(report, log, case)


def test_a_policy_that_needs_memory_has_room_for_all_where_no_budget_is_given():
    report = run(OnDemand(), tenants("abcabc"), adapter_budget=None)
    assert report.summary["hit_rate"] == 0.5
    assert "adapter_budget" not in report.run
