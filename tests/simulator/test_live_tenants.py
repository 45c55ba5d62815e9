"""Tenants on a real device: the policies, the memory and the loop of the simulation, and adapters that really move."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from tenant_doubles import MODEL, SHAPE, TOKENS, answers_of, canaries, tenant_table, timed  # noqa: E402

from profiler.executors import tokens  # noqa: E402
from profiler.models import weights  # noqa: E402
from profiler.models.spec import parse_spec  # noqa: E402
from profiler.table import LatencyTable  # noqa: E402
from profiler.tenants import opening  # noqa: E402
from profiler.tenants.slots import SlotPool  # noqa: E402
from profiler.tenants.store import AdapterStore  # noqa: E402
from simulator.__main__ import main  # noqa: E402
from simulator.core import ExecutorError  # noqa: E402
from simulator.live import open_live  # noqa: E402
from simulator.reporting.output import read_run  # noqa: E402
from simulator.settings import Settings, prepare  # noqa: E402
from traces import Trace, write  # noqa: E402

COUNT = 500


pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tenants")
    tenant_table(folder / "table")
    canaries(folder / "store.npy", [f"t{number}" for number in range(COUNT)])
    return folder


def requests(path, arrivals, tenants):
    names = np.array([f"t{each}" for each in tenants])
    write(Trace(np.asarray(arrivals, float), np.full(len(names), TOKENS, np.int32), tenant=names), path)
    return path


def live(folder, traffic, **settings):
    named = {"trace": str(traffic), "table": str(folder / "table"), "device": "cpu", "clock": "wall", "slo_ms": 1e6}
    named |= {"adapters": str(folder / "store.npy"), "adapter_budget": str(SHAPE.bytes * COUNT // 10)}
    return open_live(prepare(Settings(**{**named, **settings})))


@pytest.fixture(scope="module")
def told_apart(folder):
    """Whose answer each request of a run got: the number of a tenant, or COUNT where it is the bare model's."""
    own = weights.random(parse_spec(MODEL), 0)
    texts = tokens.synthetic(np.full(tokens.TEXTS, TOKENS, np.int32), own.spec.vocab, 0)
    expected = answers_of(AdapterStore.open(folder / "store.npy"), own, texts)
    number = {ids.tobytes(): place for place, ids in enumerate(texts)}

    def whose(report, devices):
        asked = np.array([number[ids.tobytes()] for ids in devices.ids])
        found = np.empty(len(asked), np.int64)
        for place in range(len(texts)):
            rows = np.flatnonzero(asked == place)
            distance = np.abs(report.logits[rows][:, None] - expected[place]).max(2)
            found[rows] = distance.argmin(1)
            assert (distance.min(1, initial=np.inf) <= 1e-4).all()
        return found

    return whose


#: The requests that each serves, and the evictions that there are at least.
POLICIES = {
    "lru(greedy)": (20_000, 2_000),
    "lru(greedy, prefetch='queue')": (3_000, 200),
    "pipelined(greedy)": (3_000, 200),
    "serial(greedy)": (3_000, 200),
}
CASES = [(policy, *counts) for policy, counts in POLICIES.items()]
MANY = pytest.param("lru(greedy)", 100_000, 10_000, marks=pytest.mark.slow)


@pytest.mark.parametrize(("policy", "count", "least"), [*CASES, MANY])
def test_no_request_is_answered_by_another_tenant(folder, tmp_path, told_apart, policy, count, least):
    rng = np.random.default_rng(0)
    popular = np.arange(1, COUNT + 1) ** -1.3
    tenants = rng.choice(COUNT, count, p=popular / popular.sum())
    traffic = requests(tmp_path / "traffic.parquet", np.zeros(count), tenants)
    devices = live(folder, traffic, policy=policy)
    report = devices.run()
    loads = report.records.adapters.loads
    assert np.array_equal(told_apart(report, devices), tenants)
    evictions = len(loads) - COUNT // 10
    print(f"{policy}: {len(loads)} loads, at least {evictions} evictions, {report.summary['p99_s']:.1f} s")
    assert evictions >= least
    assert report.summary["bytes_loaded"] == SHAPE.bytes * len(loads)
    assert 0 < report.summary["link_busy"] <= 1
    done = [load for load in loads if load.finish < np.inf]
    assert all(load.start < load.finish and 0 < load.seconds <= load.finish - load.start for load in done)


def drawn(rng, count, rate=4000.0):
    """Arrivals of tenants of an uneven popularity."""
    popular = np.arange(1, 201) ** -1.1
    return rng.exponential(1 / rate, count).cumsum(), rng.choice(200, count, p=popular / popular.sum())


@pytest.mark.parametrize("policy", ["lru(greedy)", "gdsf(balanced, prefetch='queue')", "slora(greedy)"])
def test_on_the_virtual_clock_hits_and_loads_are_those_of_the_simulation(
    folder, tmp_path, monkeypatch, told_apart, policy
):
    monkeypatch.setattr(opening, "TenantEngine", timed(LatencyTable.load(folder / "table")))
    traffic = requests(tmp_path / "traffic.parquet", *drawn(np.random.default_rng(1), 800))
    settings = {"policy": policy, "clock": "virtual", "adapter_budget": str(20 * SHAPE.bytes), "slo_ms": 50.0}
    devices = live(folder, traffic, **settings)
    report, simulated = devices.run(), devices.prepared.run()
    own, theirs = report.records.adapters, simulated.records.adapters
    assert own.hits == theirs.hits
    assert [load[:2] for load in own.loads] == [load[:2] for load in theirs.loads]
    assert len(own.loads) > 100
    for name in ("start_s", "finish_s", "load_wait_s"):
        np.testing.assert_allclose(report.requests[name], simulated.requests[name], rtol=0, atol=1e-9)
    for name in ("hit_rate", "bytes_loaded", "overlap", "link_busy"):
        assert report.summary[name] == pytest.approx(simulated.summary[name], rel=1e-9)
    assert np.array_equal(told_apart(report, devices), drawn(np.random.default_rng(1), 800)[1])


def test_a_store_that_cannot_be_read_ends_the_run(folder, tmp_path, monkeypatch):
    copies, copy = [], SlotPool.copy

    def failing(pool, tenant, layer):
        copies.append(tenant)
        if len(copies) > 50:
            raise OSError("the disk is away")
        return copy(pool, tenant, layer)

    monkeypatch.setattr(SlotPool, "copy", failing)
    traffic = requests(tmp_path / "traffic.parquet", *drawn(np.random.default_rng(1), 500))
    with pytest.raises(ExecutorError, match="the disk is away"):
        live(folder, traffic, policy="lru(greedy)").run()


def test_without_a_store_random_tenants_are_written_and_the_run_says_so(folder, tmp_path, capsys):
    traffic = requests(tmp_path / "traffic.parquet", *drawn(np.random.default_rng(2), 200))
    command = ["--live", "--device", "cpu", "--table", str(folder / "table"), "--trace", str(traffic), "--seed", "4"]
    command += ["--adapter-budget", str(30 * SHAPE.bytes), "--policy", "lru(greedy)", "--attempts", "1"]
    assert main([*command, "--out", str(tmp_path / "out")]) == 0
    shown = capsys.readouterr().out
    assert "hits" in shown
    run = read_run(tmp_path / "out")
    assert any("adapters are random (seed 4)" in note for note in run["live"]["notes"])
    assert (tmp_path / "out" / "loads.parquet").exists()


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"adapters": "no/such.npy"}, "such.npy"),
        ({"host_budget": "1MiB"}, "host-budget"),
        ({"adapter_budget": "100"}, "100 bytes"),
        ({"policy": "greedy", "adapter_budget": None}, "adapter-budget"),
        ({"device": None}, "--live"),
        ({"policy": "greedy", "adapter_budget": None, "adapters": None}, None),
    ],
)
def test_what_does_not_fit_is_refused_before_the_run(folder, tmp_path, settings, said):
    traffic = requests(tmp_path / "traffic.parquet", *drawn(np.random.default_rng(2), 20))
    if said is None:  # a tenant is a label then
        assert live(folder, traffic, **settings).tenants is None
        return
    with pytest.raises((ValueError, LookupError), match=said):
        live(folder, traffic, **{"policy": "lru(greedy)", **settings})


def test_packed_batches_with_adapters_are_refused(folder, tmp_path):
    tenant_table(tmp_path / "packed", layout="packed", tokens=128 * TOKENS)
    traffic = requests(tmp_path / "traffic.parquet", [0.0], [1])
    with pytest.raises(ValueError, match="packed"):
        live(folder, traffic, policy="lru(greedy)", table=str(tmp_path / "packed"))


def test_a_tenant_that_the_store_lacks_is_named(folder, tmp_path):
    traffic = requests(tmp_path / "traffic.parquet", [0.0], [COUNT])
    with pytest.raises(LookupError, match=f"'t{COUNT}'"):
        live(folder, traffic, policy="lru(greedy)")
