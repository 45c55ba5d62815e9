"""Rules of eviction against caches that are written down otherwise, closed forms, and each other."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from adapted import BYTES, table

from policies import make
from simulator import simulate
from traces import Trace, load
from traces.locality import RULES


def one_by_one(names):
    """A trace whose requests do not meet."""
    n = len(names)
    return Trace(np.arange(n, dtype=float), np.full(n, 9, np.int32), tenant=np.asarray(names, object))


def hits(spec, requests, fit, **named):
    report = simulate(requests, spec, table(), **{"slo_s": 10.0, "adapter_budget": BYTES * fit} | named)
    return (report.requests["hit"] == "resident").tolist()


@cache
def zipf(requests=12_000, spec="zipf:count=200,exponent=0.9", seed=0):
    drawn = load(f"constant:rate=1,duration={requests}", tenants=spec, seed=seed, lengths="constant:9")
    return replace(drawn, tenant=np.array([f"t{each}" for each in drawn.tenant], object))


@pytest.mark.parametrize("fit", [1, 3, 8])
@pytest.mark.parametrize(("spec", "rule"), [("lru", "lru"), ("lfu(half_life=1e999)", "lfu"), ("belady", "belady")])
def test_one_by_one_the_hits_are_those_of_an_exact_cache_to_the_request(spec, rule, fit):
    rng = np.random.default_rng(fit)
    code = rng.choice(20, 700, p=rng.dirichlet(np.full(20, 0.5)))
    code = np.where(rng.random(700) < 0.3, np.roll(code, 2), code)
    name, _, own = spec.partition("(")
    spec = f"{name}(none, {own}" if own else f"{name}(none)"
    assert hits(spec, one_by_one([f"t{each}" for each in code]), fit) == RULES[rule](code.tolist(), fit)


def test_on_stationary_zipf_the_rules_are_where_theory_has_them():
    requests, cold, fit = zipf(), 2000, 20
    share = np.arange(1.0, 201) ** -0.9
    share /= share.sum()
    low, high = 0.0, 1e5
    for _ in range(60):  # Che's characteristic time
        middle = (low + high) / 2
        low, high = (middle, high) if (1 - np.exp(-share * middle)).sum() < fit else (low, middle)
    che = float((share * (1 - np.exp(-share * low))).sum())
    specs = ("lru", "random", "lfu", "gdsf", "tinylfu", "slo", "belady", "resident")
    assert np.mean(hits("lru(none)", requests, fit)[cold:]) == pytest.approx(che, abs=0.01)
    requests, cold = requests.take(slice(0, 5000)), 1000
    ratio = {name: np.mean(hits(f"{name}(none)", replace(requests, duration_s=None), fit)[cold:]) for name in specs}
    # One place is passed through by the others: a request finds its tenant there if the last one was the same one's.
    others = share[fit - 1 :]
    assert ratio["resident"] == pytest.approx(share[: fit - 1].sum() + (others**2).sum(), abs=0.02)
    assert ratio["belady"] >= max(ratio.values())
    assert min(ratio[name] for name in ("lfu", "gdsf", "tinylfu")) >= ratio["lru"] - 0.005 >= ratio["random"] - 0.01
    assert ratio["slo"] >= ratio["random"]


def test_after_a_rotation_counts_that_never_age_lose_to_those_that_do():
    requests = zipf(6000, "zipf:count=200,exponent=1.2,drift=2000")
    aged, never = (np.mean(hits(f"lfu(none, half_life={life})", requests, 20)[3000:]) for life in ("200", "1e999"))
    assert aged > never + 0.05


def test_adapters_of_which_nothing_is_needed_go_first_whatever_the_rule():
    """A batch's own adapters stay, though one of them is the rule's victim."""
    names = [f"t{k}" for k in (0, 1, 2, 3, 0, 4, 5, 6)]
    trace = Trace(np.repeat([0.0, 9.0], 4), np.full(8, 9, np.int32), tenant=np.array(names, object))
    for name in ("lru", "random", "lfu", "tinylfu", "gdsf", "slo", "belady", "resident"):
        report = simulate(trace, f"{name}(greedy)", table(), slo_s=99.0, adapter_budget=4 * BYTES)
        assert report.batches["size"].tolist() == [4, 4], name
        assert report.requests["hit"].tolist()[4] == "resident", name
        assert report.summary["bytes_loaded"] == 7 * BYTES, name


def test_a_batch_whose_tenants_do_not_fit_is_served_in_parts():
    trace = Trace(np.zeros(5), np.full(5, 9, np.int32), tenant=np.array(list("abcab"), object))
    report = simulate(trace, "lru(greedy)", table(), slo_s=99.0, adapter_budget=2 * BYTES)
    assert report.requests["batch"].tolist() == [0, 0, 1, 1, 2]
    assert report.requests["hit"].tolist() == ["miss", "miss", "miss", "resident", "miss"]


def test_prefetch_from_the_queue_hides_loads_and_evicts_nothing_that_waits():
    names = [f"t{k % 12}" for k in range(120)]
    trace = Trace(np.arange(120) * 0.005, np.full(120, 9, np.int32), tenant=np.array(names, object))
    run = {
        prefetch: simulate(
            trace, f"lru(greedy(max_batch=2), prefetch={prefetch!r}, window=4)", table(), slo_s=9.0, adapter_budget=80
        )
        for prefetch in ("none", "queue")
    }
    assert run["queue"].summary["overlap"] > run["none"].summary["overlap"] + 0.1
    assert run["queue"].summary["mean_s"] < run["none"].summary["mean_s"]
    # What was fetched for a waiting request was used: no adapter came twice for it.
    assert run["queue"].summary["bytes_loaded"] <= run["none"].summary["bytes_loaded"]


def test_popular_tenants_come_back_while_the_link_idles():
    names = ["hot"] * 9 + ["a", "b", "b", "hot"]
    ratio = {each: np.mean(hits(f"lru(none, prefetch={each!r})", one_by_one(names), 2)) for each in ("none", "popular")}
    assert ratio["popular"] > ratio["none"]


@pytest.mark.parametrize(("rho", "least"), [(0.25, 1.12), (1.0, 1.5)])
def test_pipelining_gains_over_loading_first(rho, least):
    """Reference page, section 5.3: at most (1 + rho) / max(1, rho) in throughput."""
    names = [f"t{k}" for k in range(400)]
    trace = Trace(np.zeros(400), np.full(400, 9, np.int32), tenant=np.array(names, object))
    # Sixteen loads take rho times as long as a batch of sixteen.
    times = table(load_s=rho * 0.01, service_s=0.16, depth=6)
    serial, pipelined = (
        simulate(trace, f"{name}(greedy)", times, slo_s=99.0, adapter_budget=40 * BYTES).batches["finish_s"].max()
        for name in ("serial", "pipelined")
    )
    assert least <= serial / pipelined <= (1 + rho) / max(1, rho) + 1e-9


def test_baselines_keep_nothing_but_what_waits():
    names = ["a", "a", "b", "a"]
    for name, expected in {"serial": 4, "pipelined": 3, "slora": 3, "lru": 2}.items():
        report = simulate(one_by_one(names), f"{name}(none)", table(), slo_s=9.0, adapter_budget=4 * BYTES)
        assert report.summary["bytes_loaded"] == expected * BYTES, name


def test_a_copy_per_tenant_does_not_mix_tenants():
    trace = Trace(np.zeros(6), np.full(6, 9, np.int32), tenant=np.array(list("abcaba"), object))
    report = simulate(trace, "full_copy(greedy)", table(), slo_s=99.0, adapter_budget=9 * BYTES)
    assert sorted(report.batches["size"].tolist()) == [1, 2, 3]


def test_what_cannot_be_is_refused():
    for spec in (
        "lru(none, prefetch='all')",
        "lru(none, window=0)",
        "lfu(none, half_life=0.0)",
        "tinylfu(none, small=2.0)",
    ):
        with pytest.raises(ValueError, match=r"must be|needs"):
            hits(spec, one_by_one(["a"]), 1)
    with pytest.raises(ValueError, match="adapter budget"):
        simulate(one_by_one(["a"]), make("lru(none)"), table(), executor=Bare())


class Bare:
    """An executor without adapters."""

    offers: frozenset[str] = frozenset()
