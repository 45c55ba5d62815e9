"""Tenants behind the endpoint: each request is answered by its own tenant's adapters, whatever moves meanwhile."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from functools import partial

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("starlette")

from serving_doubles import body, call, get, running  # noqa: E402
from tenant_doubles import MODEL, SHAPE, TOKENS, answers_of, canaries, tenant_table  # noqa: E402

from analysis.__main__ import main as analysis_main  # noqa: E402
from profiler.models import weights  # noqa: E402
from profiler.models.spec import parse_spec  # noqa: E402
from profiler.tenants.store import AdapterStore, write_store  # noqa: E402
from simulator.__main__ import main as simulator_main  # noqa: E402
from simulator.endpoint.backlog import OpenBacklog  # noqa: E402
from simulator.endpoint.command import main, parser  # noqa: E402
from simulator.endpoint.opening import opened  # noqa: E402
from simulator.queue.window import Window  # noqa: E402
from simulator.simulate import simulate  # noqa: E402
from traces import load  # noqa: E402

COUNT, SLOTS = 24, 5


pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A table and tenants that all answer otherwise; every second has two classes of three."""
    folder = tmp_path_factory.mktemp("endpoint")
    tenant_table(folder / "table")
    rng = np.random.default_rng(5)

    def numbers(row):
        found = rng.normal(0, 0.3, SHAPE.numbers).astype(np.float32)
        if row % 2:
            found[-1] = -np.inf
        return found

    write_store(folder / "store.npy", SHAPE, [f"t{row}" for row in range(COUNT)], numbers)
    return folder


def flags(folder, *more, policy="lru(greedy)"):
    return ["--device", "cpu", "--table", str(folder / "table"), "--policy", policy, *more]


@pytest.mark.parametrize("policy", ["lru(greedy)", "gdsf(balanced, prefetch='queue')"])
def test_every_request_is_answered_by_its_own_tenant(folder, policy):
    budget = ["--adapters", str(folder / "store.npy"), "--adapter-budget", str(SLOTS * SHAPE.bytes)]
    endpoint, served, _ = opened(parser().parse_args(flags(folder, *budget, policy=policy)))
    rng = np.random.default_rng(1)
    ids, tenants = rng.integers(1, 1000, (200, TOKENS)), rng.integers(0, COUNT, 200)
    store = AdapterStore.open(folder / "store.npy")
    expected = answers_of(store, weights.random(parse_spec(MODEL), 0), list(ids))
    with running(endpoint) as address, ThreadPoolExecutor(8) as clients:
        path = f"/v2/models/{MODEL}/infer"
        ask = partial(call, address, "POST", path)  # then the content
        contents = [body(row.tolist(), tenant=f"t{tenant}") for row, tenant in zip(ids, tenants, strict=True)]
        for request, (status, _, found) in enumerate(clients.map(ask, contents)):
            assert status == 200, found
            logits, tenant = found["outputs"][0]["data"], tenants[request]
            assert len(logits) == 3 - tenant % 2
            np.testing.assert_allclose(logits, expected[request, tenant][: len(logits)], rtol=0, atol=1e-4)
        for parameters, said in (({}, "tenant is needed"), ({"tenant": "t99"}, "'t99'"), ({"tenant": 3}, "'3'")):
            status, _, found = ask(body(**parameters))
            assert (status, said in found["error"]) == (400, True), found
        assert get(address, f"/v2/models/{MODEL}")[2]["parameters"]["tenants"] == COUNT
    assert endpoint.service._server.state.memory.distinct == COUNT
    assert len(endpoint.service._server.records.adapters.loads) > 2 * SLOTS
    served.close()


def test_a_record_keeps_tenants_and_is_a_trace_that_is_replayed_with_adapters(folder, tmp_path, capsys):
    names = ["t0", 'a "b", c', "t2"]
    canaries(tmp_path / "few.npy", names)
    given = ["--adapters", str(tmp_path / "few.npy"), "--adapter-budget", str(2 * SHAPE.bytes), "--slo-ms", "10000"]
    endpoint, served, recorder = opened(
        parser().parse_args(flags(folder, *given, "--record", str(tmp_path / "records")))
    )
    asked = [names[number] for number in (0, 1, 2, 1, 0, 2)]
    with running(endpoint) as address:
        for tenant in asked:
            assert call(address, content=body(tenant=tenant), path=f"/v2/models/{MODEL}/infer")[0] == 200
    served.close()
    trace = load(str(recorder.folder))
    assert trace.tenant.tolist() == asked
    report = simulate(trace, "lru(greedy)", folder / "table", adapter_budget=2 * SHAPE.bytes)
    assert report.summary["bytes_loaded"] >= 3 * SHAPE.bytes
    assert analysis_main(["validate", "--recorded", str(recorder.folder)]) == 0
    assert "6 requests" in capsys.readouterr().out


def test_a_tenant_that_is_no_line_cannot_be_recorded(folder, tmp_path, capsys):
    canaries(tmp_path / "two.npy", ["t0", "two\nlines"])
    given = ["--adapters", str(tmp_path / "two.npy"), "--record", str(tmp_path / "records")]
    assert main([*flags(folder, *given), "--port", "0"]) == 2
    assert "--record" in capsys.readouterr().err


def test_without_tenants_none_may_be_named(folder):
    endpoint, served, _ = opened(parser().parse_args(flags(folder, policy="greedy")))
    with running(endpoint) as address:
        path = f"/v2/models/{MODEL}/infer"
        assert call(address, "POST", path, body(tenant="t0"))[0] == 400
        assert call(address, "POST", path, body())[0] == 200
    served.close()


@pytest.mark.parametrize(
    ("more", "policy", "said"),
    [
        (["--adapters", "{}/store.npy"], "greedy", "lru(greedy)"),
        ([], "lru(greedy)", "--adapters"),
        (["--adapter-budget", "1MiB"], "greedy", "--adapters"),
        (["--adapters", "{}/none.npy"], "lru(greedy)", "none.npy"),
        (["--adapters", "{}/store.npy", "--adapter-budget", "9"], "lru(greedy)", "9 bytes"),
        (["--adapters", "{}/store.npy"], "belady(greedy)", "future"),
        (["--adapters", "{}/store.npy", "--device", "none"], "lru(greedy)", "--adapters"),
    ],
)
def test_what_does_not_fit_is_refused(folder, capsys, more, policy, said):
    given = [each.format(folder) for each in more]
    assert main([*flags(folder, *given, policy=policy), "--port", "0"]) == 2
    assert said in capsys.readouterr().err


@pytest.mark.parametrize("more", [["--adapters", "{}/store.npy"], ["--adapter-budget", "1MiB"], []])
def test_a_running_server_has_no_adapters_of_ours_and_is_not_even_asked(folder, capsys, more):
    """Nothing listens at that address."""
    given = [*(each.format(folder) for each in more), "--table", str(folder / "table"), "--policy", "lru(greedy)"]
    given += ["--device", "http://127.0.0.1:9"]
    for command, rest in ((main, ["--port", "0"]), (simulator_main, ["--live", "--trace", "poisson:duration=1"])):
        assert command([*given, *rest]) == 2
        assert "running server" in capsys.readouterr().err


def test_tenants_and_columns_beside_are_forgotten_with_their_requests():
    backlog, column = OpenBacklog(1, 1.0, remembered=4, tenants=True), Window(bytearray())
    backlog.beside(column, 7)
    for number in range(40):
        backlog.append(float(number), 5, 0, tenant=f"t{number}")
        backlog.admit(float(number))
        backlog.take(range(number, number + 1))
    assert len(backlog.tenants) == len(column) == 40
    assert backlog.tenants.first == column.first > 20
    assert (backlog.tenants[39], column[39]) == ("t39", 7)
    assert backlog.line("tenant", "t39").waiting == 0
