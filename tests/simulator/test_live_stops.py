"""Students per request through the whole of live mode: what a GPU's executor gives is what the CPU's gives."""

from __future__ import annotations

import shutil
from dataclasses import replace

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from profiler.answers.recorded import Answers  # noqa: E402
from profiler.device.seam import HostDevice  # noqa: E402
from profiler.executors import serving  # noqa: E402
from profiler.executors.cpu import CpuExecutor  # noqa: E402
from profiler.executors.cuda import open_executor  # noqa: E402
from profiler.executors.stages import margin  # noqa: E402
from profiler.models import weights  # noqa: E402
from profiler.models.spec import parse_spec  # noqa: E402
from profiler.table import LatencyTable, Predictions  # noqa: E402
from profiler.table.writing import write_table  # noqa: E402
from simulator.core import PolicyError  # noqa: E402
from simulator.endpoint.service import Service  # noqa: E402
from simulator.live import open_live  # noqa: E402
from simulator.settings import Settings, prepare  # noqa: E402
from traces import Trace, write  # noqa: E402

MODEL, STUDENTS = "students-1x64", (1, 2, 3)


def on_host(index, table, loaded, ramps, plan, counts):
    """In place of `serving._cuda`: the executor that it opens, on the double of its device."""
    executors = {
        model: open_executor("cuda-stock", own, plan, counts[model], dtype="float32", device=HostDevice())
        for model, own in loaded.items()
    }
    return "a double", executors, lambda: None, []


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A table in which stages always pay, 60 requests, weights, and recorded answers by which half of them go on."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("stops")
    keys = [(k, b, t) for k in STUDENTS for b in (1, 2, 4, 8) for t in (8, 16)]
    rows = [
        {"model": MODEL, "students": k, "depth": 1, "hidden": 64, "batch": b, "tokens": t, "latency_us": 100.0 * k * b}
        for k, b, t in keys
    ]
    about = {"device": "a test", "threads": 1, "dtype": "float32", "kind": "modelled"}
    write_table(folder / "table", rows, about)
    rng = np.random.default_rng(0)
    write(Trace(rng.exponential(0.001, 60).cumsum(), rng.integers(2, 17, 60).astype(np.int32)), folder / "traffic.csv")
    drawn = weights.random(replace(parse_spec(MODEL, STUDENTS[-1]), outputs=5), 3)
    weights.save(drawn.map(lambda name, tensor: tensor if "ln" in name else tensor * 6), folder / "weights.safetensors")
    recorded(folder, drawn_margins(folder))
    yield folder
    torch.set_num_threads(threads)


def drawn_margins(folder):
    """The margins of the first student for the requests of the trace, in the middle of the widest gap near the half."""
    devices = open_live(prepare(settings(folder, "greedy", "cpu")))
    executor: CpuExecutor = devices.served.executors[0][MODEL]
    own = np.sort(np.concatenate([margin(executor.run(1, [ids]).logits) for ids in devices.ids]))
    widest = int(np.diff(own[20:40]).argmax()) + 20
    return float(own[widest : widest + 2].mean())


def recorded(folder, least):
    """Answers of which those less sure than this are changed by the second student, and no others."""
    texts = 400
    own = np.repeat(np.where(np.arange(texts // 2) < 100, 0.5 * least, least), 2)
    margins = np.stack([own, own, np.ones(texts)]).astype(np.float32)
    label = np.zeros(texts, np.int64)
    answer = np.stack([own < least, own < least, label > 0]).astype(np.int64)
    split, about = np.full(texts, "made up", object), {"model": MODEL, "task": "toy"}
    tokens, rows = np.full(texts, 9, np.int32), np.arange(texts)
    items = Answers(tokens, label, split, rows, answer, (1 + margins) / 2, margins, label, margins[0], about)
    items.write(folder / "items.parquet")


def settings(folder, policy, device, **more):
    inputs = {"trace": str(folder / "traffic.csv"), "table": str(folder / "table")}
    return Settings(policy=policy, device=device, weights=str(folder / "weights.safetensors"), **inputs, **more)


@pytest.mark.parametrize("more", [{}, {"clock": "wall", "gpus": 2}])
def test_a_gpus_executor_stops_and_answers_as_the_cpus(folder, monkeypatch, more):
    monkeypatch.setitem(serving.DEVICES, "double", on_host)
    monkeypatch.setattr("simulator.devices.DEVICES", ("cpu", "double"))
    policy = f"margin(greedy, flips=0.0, items={str(folder / 'items.parquet')!r})"
    reports = []
    for device in ("cpu", "double"):
        devices = open_live(prepare(settings(folder, policy, device, **more)))
        assert devices.warm() < 0.01  # all is ready
        reports.append(devices.run())
    cpu, double = reports
    assert set(cpu.requests["students"]) == {1, 3}
    np.testing.assert_array_equal(double.requests["students"], cpu.requests["students"])
    np.testing.assert_allclose(double.logits, cpu.logits, atol=1e-4)
    for report in reports:
        requests, batches = report.request_columns(), report.batch_columns
        taken = (requests["finish_s"] - batches["start_s"][requests["batch"]]) / batches["service_s"][requests["batch"]]
        assert (taken > 0).all()
        assert (taken <= 1 + 1e-9).all()
        mixed = [set(requests["students"][requests["batch"] == number]) == {1, 3} for number in batches["batch"]]
        early = requests["students"] == 1
        assert (taken[early & np.array(mixed)[requests["batch"]]] < 1).all()


def test_margins_learned_from_another_of_the_tables_tasks_are_refused_live_too(folder, tmp_path):
    shutil.copytree(folder / "table", tmp_path / "table")
    rows = [f"{MODEL},{students},{task},0.5" for task in ("other", "toy") for students in STUDENTS]
    (tmp_path / "table" / "accuracy.csv").write_text("\n".join(["model,students,task,accuracy", *rows]) + "\n")
    policy = f"margin(greedy, flips=0.0, items={str(folder / 'items.parquet')!r})"
    its = replace(settings(folder, policy, "cpu"), table=str(tmp_path / "table"))
    with pytest.raises(PolicyError, match=r"toy.*--task toy"):
        open_live(prepare(its))
    open_live(prepare(replace(its, task="toy")))


def test_an_endpoint_makes_the_stages_ready_too(folder, monkeypatch):
    from policies import make

    monkeypatch.setitem(serving.DEVICES, "double", on_host)
    table = LatencyTable.load(folder / "table")
    levels, plan = table.levels(MODEL), table.plan(MODEL)
    served = serving.open_devices("double", table, [MODEL], plan, checkpoint=folder / "weights.safetensors")
    executor = served.executors[0][MODEL]
    with pytest.raises(LookupError, match="warm_parts"):
        executor.part(0, 1, [np.ones(4, np.int32)])
    policy = make(f"margin(greedy, flips=0.0, items={str(folder / 'items.parquet')!r})")
    Service(Predictions(table, levels, plan), policy, served, 0.1, most=8)
    executor.part(0, 1, [np.ones(4, np.int32)])
