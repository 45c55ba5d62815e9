"""Batches without padding through the whole of live mode and the endpoint: keys, answers, filler."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from analysis.validation import recorded  # noqa: E402
from policies import make  # noqa: E402
from profiler.executors import serving  # noqa: E402
from profiler.models import weights  # noqa: E402
from profiler.models.spec import parse_spec  # noqa: E402
from profiler.table import BucketPlan, Deployment, LatencyTable  # noqa: E402
from profiler.table.plan import PACKED  # noqa: E402
from profiler.table.writing import write_table  # noqa: E402
from simulator.endpoint.recording import Recorder  # noqa: E402
from simulator.endpoint.service import Service  # noqa: E402
from simulator.live import open_live, ran_at  # noqa: E402
from simulator.settings import Settings, prepare  # noqa: E402
from traces import Trace, write  # noqa: E402

MODEL, STUDENTS = "students-1x64", (1, 2, 3)
PLANS = {
    "packed": BucketPlan.packed((1, 2, 4, 8), (*range(8, 64, 8), *range(64, 129, 16))),
    "padded": BucketPlan((1, 2, 4, 8), (4, 8, 16)),
}
POLICIES = ("greedy", "tokenbudget(budget=40)", "adaptive", "lengths")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A table of each layout, 60 requests, weights."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("packed")
    about = {"device": "a test", "threads": 1, "dtype": "float32", "kind": "modelled"}
    for layout, plan in PLANS.items():
        rows = [
            {"model": MODEL, "students": key.students, "depth": 1, "hidden": 64, "batch": key.batch,
             "tokens": key.tokens, "layout": key.layout, "latency_us": 200.0 + 10 * key.students * key.rows}
            for students in STUDENTS for key in plan.keys(students)
        ]  # fmt: skip
        accuracy = [{"model": MODEL, "students": k, "task": "toy", "accuracy": 1 - 0.2 / k} for k in STUDENTS]
        write_table(folder / layout, rows, about, accuracy=accuracy)
    rng = np.random.default_rng(0)
    write(Trace(rng.exponential(0.001, 60).cumsum(), rng.integers(2, 17, 60).astype(np.int32)), folder / "traffic.csv")
    drawn = weights.random(replace(parse_spec(MODEL, STUDENTS[-1]), outputs=5), 3)
    weights.save(drawn.map(lambda name, tensor: tensor if "ln" in name else tensor * 6), folder / "weights.safetensors")
    yield folder
    torch.set_num_threads(threads)


def settings(folder, policy, layout, **more):
    named = {"trace": str(folder / "traffic.csv"), "table": str(folder / layout), "device": "cpu"}
    return Settings(policy=policy, weights=str(folder / "weights.safetensors"), **named, **more)


@pytest.mark.parametrize("policy", POLICIES)
def test_a_live_run_runs_the_keys_that_the_simulator_charges(folder, policy):
    report = open_live(prepare(settings(folder, policy, "packed"))).run()
    assert (report.requests["outcome"] != "dropped").all()
    tokens, batches = report.trace.tokens, report.batches
    total = 0
    for number, (model, keys) in enumerate(ran_at(report)):
        own = tokens[(report.requests["batch"] == number).to_numpy()].tolist()
        assert (model, keys) == (MODEL, (PLANS["packed"].key(int(batches["students"][number]), own),))
        assert keys[0].layout == PACKED
        assert batches["padded_tokens"][number] == keys[0].tokens
        total += keys[0].tokens
    assert report.summary["padding"] == pytest.approx(1 - tokens.sum() / total)


def test_packed_and_padded_requests_are_answered_alike(folder):
    packed, padded = (
        open_live(prepare(settings(folder, "fixed(students=2)", layout))).run() for layout in ("packed", "padded")
    )
    np.testing.assert_allclose(packed.logits, padded.logits, rtol=0, atol=1e-4)


def test_several_devices_run_packed_batches_at_once(folder):
    report = open_live(prepare(settings(folder, "greedy", "packed", clock="wall", gpus=2))).run()
    assert set(report.batches["gpu"]) == {0, 1}
    assert np.isfinite(report.logits[:, :2]).all()


@pytest.mark.parametrize("policy", POLICIES)
def test_an_endpoint_answers_as_the_model_does(folder, policy):
    table = LatencyTable.load(folder / "packed")
    known = Deployment.of(table).predictions
    served = serving.open_devices("cpu", table, [MODEL], known.plan, checkpoint=folder / "weights.safetensors")
    rng = np.random.default_rng(1)
    ids = [rng.integers(0, 1000, int(length), dtype=np.int32) for length in rng.integers(2, 17, 20)]

    async def ask_all():
        service = Service(known, make(policy), served, 10.0, most=64)
        await service.open()
        answers = await service.ask(ids)
        await service.close()
        return answers

    for row, answer in zip(ids, asyncio.run(ask_all()), strict=True):
        want = served.executors[0][MODEL].run(answer.used.students, [row]).logits[0]
        np.testing.assert_allclose(answer.logits, want, rtol=0, atol=1e-4)


def test_a_recorded_session_is_simulated_at_the_keys_that_were_run(folder, tmp_path):
    table = LatencyTable.load(folder / "packed")
    known = Deployment.of(table).predictions
    served = serving.open_devices("cpu", table, [MODEL], known.plan, checkpoint=folder / "weights.safetensors")
    settings = {"policy": "greedy", "table": str(folder / "packed"), "model": MODEL, "task": "toy", "slo_ms": 1000.0}
    recorder = Recorder(tmp_path, {"settings": settings, "table": {"digest": table.digest}}, 0.1, 1 << 20)
    rng = np.random.default_rng(2)
    ids = [rng.integers(0, 1000, int(length), dtype=np.int32) for length in rng.integers(2, 17, 20)]

    async def ask_all():
        service = Service(known, make("greedy"), served, 1.0, most=64, listeners=[recorder])
        await service.open()
        await asyncio.gather(*(service.ask([row]) for row in ids))
        await service.close()

    asyncio.run(ask_all())
    recorder.close()
    session = recorded.read(recorder.folder)
    happened = session.happened
    for number, (_, _, _, level, kind, requests) in enumerate(happened.records.batches):
        key = known.plan.key(level.students, happened.trace.tokens[list(requests)].tolist())
        assert known.plan.shape(level.students, kind, len(requests)) == key
        assert happened.batches["padded_tokens"][number] == key.tokens
    found = recorded.compare(session)
    assert found["requests"] == len(ids)
    assert found["replayed_same_decisions"]
