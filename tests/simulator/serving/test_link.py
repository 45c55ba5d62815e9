"""The link and the layers that come over it: the pipelining recurrence, priorities, the disk behind the host."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import replace

import numpy as np
import pytest
from conftest import formula_table
from doubles import Says, trace
from hypothesis import given, settings
from hypothesis import strategies as st

from policies import Dispatch, Load, Wait
from profiler.table import Adapter, AdapterTable, LookupTable
from profiler.table.skipping import skipped
from simulator import simulate
from simulator.conformance.on_demand import OnDemand
from simulator.serving.link import Background, Link, Transfer, slowed
from traces import Trace

NEEDS = frozenset({"memory"})


def layered(depth, layers=0, load_s=6.0, service_s=6.0, disk_s=0.0):
    """A model of so many layers, the last of which have adapters; a load and a batch of any size take so long."""
    plain = formula_table(lambda *_: 1e6 * service_s)
    columns = dict(plain.columns) | {"depth": np.full_like(plain.columns["depth"], depth)}
    rows = tuple(("students-2x8", "toy", 10, 1e6 * load_s, n, 8, 16, 0.0) for n in (1, 8))
    more = {"layers": (layers,) * 2 if layers else (), "disk_us": (1e6 * disk_s,) * 2 if disk_s else ()}
    return replace(plain, columns=columns, adapters=AdapterTable(rows, **more))


def at_once(*, every=()):
    """Loads what all that wait need, then dispatches them as one batch; every: loads before."""
    todo = list(every)

    def answer(view, _):
        if todo:
            return todo.pop(0)
        requests = view.oldest(8)
        for tenant in dict.fromkeys(map(view.tenant_of, requests)):
            if tenant not in view.loading(0) and tenant not in view.resident(0):
                return Load(0, tenant)
        return Dispatch(requests, view.levels[-1])

    return Says(answer, needs=NEEDS)


def latency(table, names="a", **named):
    requests = trace(*[0.0] * len(names), tenant=np.array(list(names)))
    return simulate(requests, at_once(**named), table, slo_s=100.0)


@pytest.mark.parametrize("rho", [0.2, 0.25, 1 / 3, 1.0, 2.0])
@pytest.mark.parametrize("depth", [1, 6, 12])
def test_a_batch_gains_what_the_closed_form_says(rho, depth):
    """Reference page, section 5.3: L (1 + rho) / (rho + (L - 1) max(1, rho) + 1) in a batch whose adapters all miss."""
    report = latency(layered(depth, load_s=rho * 6))
    serial = 6 * (1 + rho)
    gain = depth * (1 + rho) / (rho + (depth - 1) * max(1, rho) + 1)
    assert report.batches["finish_s"][0] == pytest.approx(serial / gain, abs=1e-9)
    assert report.requests["load_wait_s"][0] == pytest.approx(serial / gain - 6, abs=1e-9)
    assert report.summary["overlap"] == pytest.approx(1 - (serial / gain - 6) / (rho * 6), abs=1e-9)


def test_the_recurrence_layer_by_layer_for_several_adapters_and_for_those_of_the_last_layers_alone():
    c, sends, many, depth, layers = 6.0 / 12, 4.0 / 5, 3, 12, 5
    time, load = c * (depth - layers), 0.0
    for _ in range(layers):
        load += many * sends
        time = max(time, load) + c
    report = latency(layered(depth, layers, load_s=4.0), "abc")
    assert report.batches["finish_s"][0] == pytest.approx(time, abs=1e-9)
    loads = report.records.adapters.loads
    assert [load.finish for load in loads] == pytest.approx([12 - 2 * sends, 12 - sends, 12])  # layers of all in turn
    assert [load.start for load in loads] == pytest.approx([0, sends, 2 * sends])


def test_a_prefetch_makes_way_at_the_end_of_a_layer():
    """It has sent a layer of one second when b is needed; b goes first, layer by layer, and the prefetch goes on."""
    requests = trace(0.0, 0.5, tenant=np.array(["a", "b"]))
    said = [Load(0, "a", True), Load(0, "b"), Dispatch([1], None)]

    def answer(view, _):
        if view.now < 0.5 and len(said) < 3:
            return Wait(until=0.5)
        if not said or not view.idle:
            return Dispatch([0], view.levels[-1]) if view.idle else Wait()
        action = said.pop(0)
        return Dispatch([1], view.levels[-1]) if isinstance(action, Dispatch) else action

    report = simulate(requests, Says(answer, needs=NEEDS, every_arrival=True), layered(6, service_s=0.6), slo_s=100.0)
    first, second = report.records.adapters.loads
    assert (second.start, second.finish) == pytest.approx((1, 7))
    assert (first.start, first.finish, first.seconds) == pytest.approx((0, 12, 6))
    assert report.batches["finish_s"].tolist() == pytest.approx([7.1, 12.1])
    assert report.requests["hit"].tolist() == ["loading", "miss"]


def test_a_load_in_time_costs_nothing_and_a_late_one_only_what_is_left():
    def answer(view, asked):
        if asked == 1:
            return Load(0, "a", True)
        return Wait(until=4.5) if view.now < 4.5 else Dispatch([0], view.levels[-1])

    requests = trace(0.0, tenant=np.array(["a"]))
    report = simulate(requests, Says(answer, needs=NEEDS), layered(6), slo_s=100.0)
    # Four layers are there; the fifth comes at 5, the sixth at 6, long before their turn.
    assert report.requests["load_wait_s"].tolist() == [0.0]
    assert report.summary["overlap"] == 1.0


def sent(link, until):
    """End what ends by then."""
    ended = []
    while link.next_s <= until:
        ended.append(link.end())
    return ended


@settings(max_examples=200, deadline=None, derandomize=True)
@given(st.integers(0, 10**6))
def test_the_link_sends_every_layer_once_and_one_at_a_time(seed):
    rng, link, now = np.random.default_rng(seed), Link(), 0.0
    layers = int(rng.integers(1, 7))
    loads, done, waiting = [], [], []
    for number in range(int(rng.integers(1, 12))):
        now += float(rng.exponential(rng.choice([0.1, 1.0, 5.0])))
        done += sent(link, now)
        adapter = Adapter(10, float(rng.choice([1.0, 2.0])), layers)
        there = now + float(rng.choice([0.0, 0.0, 1.5]))
        load = Transfer(number, str(number), adapter, now, bool(rng.random() < 0.5), there)
        link.add(load, now)
        loads.append((load, adapter.load_s, now))
        waiting = [each for each, _, _ in loads if each not in done]
        if rng.random() < 0.5:
            some = [each for each in waiting if rng.random() < 0.5]
            if some:
                ready = link.gather(some, now)
                assert list(ready) == sorted(ready)
                assert ready[-1] == pytest.approx(max(max(each.finish for each in some), now))
                assert len(ready) == max(each.left for each in some)
    done += sent(link, 1e12)
    assert sorted(each.number for each in done) == list(range(len(loads)))
    assert [each.finish for each in done] == sorted(each.finish for each in done)
    for load, seconds, asked in loads:
        assert asked <= load.start
        assert load.finish - load.start >= seconds * (1 - 1e-9)
    for begin in {load.start for load, _, _ in loads}:
        inside = sorted((load.finish, seconds) for load, seconds, _ in loads if load.start >= begin)
        assert (np.cumsum([s for _, s in inside]) <= np.array([f for f, _ in inside]) - begin + 1e-9).all()


def test_the_host_is_an_lru_before_the_disk():
    rng = np.random.default_rng(7)
    names = rng.choice([f"t{k}" for k in range(12)], 400)
    requests = Trace(rng.exponential(30.0, 400).cumsum(), np.full(400, 9), tenant=names)
    table = layered(6, load_s=0.6, service_s=0.6, disk_s=3.0)
    how = {"slo_s": 100.0, "adapter_budget": 20, "host_budget": 50}
    report = simulate(requests, OnDemand(), table, **how)
    gpu, host, read = OrderedDict(), OrderedDict(), 0
    for name in names:
        if name not in gpu:
            read += name not in host
            host[name] = None
            host.move_to_end(name)
            if len(host) > 5:
                host.popitem(last=False)
        gpu[name] = None
        gpu.move_to_end(name)
        if len(gpu) > 2:
            gpu.popitem(last=False)
    assert report.summary["bytes_read"] == 10 * read
    waits = report.requests["load_wait_s"]
    assert waits.max() >= 3.0  # the disk, and a layer
    assert (waits > 2).sum() >= read
    with pytest.raises(ValueError, match="disk_us"):
        simulate(requests, OnDemand(), layered(6), **how)


def beside(factor, **named):
    """Batches take so many times as long while the link loads, by metadata."""
    plain = layered(6, **named)
    return replace(plain, meta=dict(plain.meta) | {"adapters": {"students-2x8": {"beside": {"compute": factor}}}})


@pytest.mark.parametrize(("asked", "took"), [(-2, 22 / 3), (0, 8.0), (2, 8.0), (4, 7.0), (6, 6.0)])
def test_a_load_slows_the_batch_that_runs_beside_it_whenever_it_is_asked_for(asked, took):
    """Half as long again: a batch of 6 s begins at 10, a load of 6 s for another one is asked for before or after."""
    served = []

    def answer(view, _):
        if "a" not in view.resident(0) and "a" not in view.loading(0):
            return Load(0, "a")
        if view.now >= 10 + asked and "b" not in view.resident(0) and "b" not in view.loading(0):
            return Load(0, "b", True)
        if view.idle and view.now >= 10 and len(served) < 2 and (not served or view.now > 10):
            served.append(len(served))
            return Dispatch([served[-1]], view.levels[-1])
        later = [time for time in (10.0, 10.0 + asked) if time > view.now]
        return Wait(until=min(later)) if later else Wait()

    requests = trace(0.0, 0.0, tenant=np.array(["a", "b"]))
    report = simulate(requests, Says(answer, needs=NEEDS, every_arrival=True), beside(1.5), slo_s=100.0)
    first = report.batches.iloc[0]
    assert first["finish_s"] - first["start_s"] == pytest.approx(took, abs=1e-9)
    assert report.requests["load_wait_s"][0] == pytest.approx(took - 6, abs=1e-9)


def test_a_batch_is_slowed_by_its_own_loads_layer_by_layer():
    """A layer a second, there and computed: 1, then 1.5 each until the last load ends at 6, then 1."""
    report = latency(beside(1.5))
    assert report.batches["finish_s"][0] == pytest.approx(26 / 3, abs=1e-9)
    assert latency(beside(1.0)).batches["finish_s"][0] == latency(layered(6)).batches["finish_s"][0]


@given(st.floats(0, 9), st.floats(0, 9), st.floats(0, 9), st.floats(1, 3))
def test_slowed_work_is_what_small_steps_of_it_come_to(begin, seconds, until, factor):
    end, half = slowed(begin, seconds, until, factor), slowed(begin, seconds / 2, until, factor)
    assert slowed(half, seconds / 2, until, factor) == pytest.approx(end, abs=1e-9)
    done = max(0.0, min(end, until) - begin) / factor + (end - max(begin, until) if end > until else 0.0)
    assert done == pytest.approx(seconds, abs=1e-9)


def test_what_is_sent_in_the_background_goes_behind_loads_but_a_piece_that_has_begun_is_finished():
    link = Link(Background(2.0, 1.5))  # due at 3, 5, 7 and so on
    first, second = (Transfer(n, "ab"[n], Adapter(10, 4.0, 1), at, False, at) for n, at in enumerate((3.0, 9.0)))
    link.add(first, 3.0)
    assert (first.start, link.end()) == (3.0, first)
    link.add(second, 9.0)  # from 7 and from 8.5 a piece was sent
    assert (second.start, link.background.sent, link.end()) == (10.0, 2, second)
    link.leave(18.0)  # from 14, from 15.5, and one that began at 17
    assert link.background.sent == 5


def test_inserts_into_the_look_up_table_are_reported():
    """512 windows every 10 s for 101 s; a piece takes 0.6 s of the link and 2.56 ms of the host."""
    model, plain = "students-2x8", layered(6)
    adapters = AdapterTable(tuple((model, "toy", 286_720, 6e6, n, 8, 16, 0.0) for n in (1, 8)), (5, 5))
    lookup = LookupTable(tuple((model, 1, 10, b, 16, 1e6, 1e6, 5.0) for b in (1, 2, 4, 8)))
    table = skipped(replace(plain, adapters=adapters, lookup=lookup), 10, updates=51.2)
    requests = trace(0.0, 95.0, tenant=np.array(["a", "a"]))
    how = {"model": f"{model}-lookup", "slo_s": 100.0, "adapter_budget": 286_720}
    summary = simulate(requests, OnDemand(), table, **how).summary
    assert summary["windows_inserted"] == 11 * 512
    assert summary["insert_link_busy"] == pytest.approx(6.6 / 101)
    assert summary["insert_host_busy"] == pytest.approx(11 * 512 * 5e-6 / 101)
    plain = replace(plain, adapters=adapters)
    assert "windows_inserted" not in simulate(requests, OnDemand(), plain, **how | {"model": model}).summary
