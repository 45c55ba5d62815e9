"""Exits through the whole of live mode, on a CPU: the ramps that a simulation was told of, computed for real."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from scipy.special import softmax  # noqa: E402

from profiler.answers.recorded import Answers  # noqa: E402
from profiler.events import BatchPlan, Cut, Kind  # noqa: E402
from profiler.executors import serving  # noqa: E402
from profiler.models import weights  # noqa: E402
from profiler.models.ramps import random_ramps  # noqa: E402
from profiler.models.spec import parse_spec  # noqa: E402
from profiler.table import LatencyTable  # noqa: E402
from profiler.table.writing import write_table  # noqa: E402
from simulator.executors.device import DeviceExecutor, TraceAskers, Used  # noqa: E402
from simulator.live import open_live  # noqa: E402
from simulator.serving.clock import VirtualClock  # noqa: E402
from simulator.settings import Settings, prepare  # noqa: E402
from simulator.simulate import simulate  # noqa: E402
from traces import Trace, write  # noqa: E402

MODEL, DEPTH, TEXTS = "teacher-4x64", 4, 60


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A table with layers, 60 requests that name their rows, weights and ramps, and what these answer."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    folder, rng = tmp_path_factory.mktemp("exits"), np.random.default_rng(0)
    latency, layers = [], []
    for batch in (1, 2, 4, 8):
        for tokens in (8, 16):
            row = {"model": MODEL, "students": 1, "depth": DEPTH, "hidden": 64, "batch": batch, "tokens": tokens}
            latency.append(row | {"latency_us": 500.0 * batch})
            for layer in range(1, DEPTH + 1):
                times = {"end_us": 110.0 * layer * batch, "ramp_us": 5.0, "release_us": 20.0}
                layers.append({"model": MODEL, "batch": batch, "tokens": tokens, "layer": layer, **times})
    about = {"device": "a test", "threads": 1, "dtype": "float32", "kind": "modelled"}
    write_table(folder / "table", latency, about, layers=layers)
    tokens = rng.integers(2, 17, TEXTS).astype(np.int32)
    arrivals = rng.exponential(0.001, TEXTS).cumsum()
    write(Trace(arrivals, tokens, item=np.arange(TEXTS)), folder / "traffic.parquet")
    drawn = weights.random(parse_spec(MODEL, 1), 3).map(lambda name, own: own if "ln" in name else own * 6)
    weights.save(drawn, folder / "weights.safetensors")
    ramps = random_ramps(drawn.spec, seed=2)
    replace(ramps, about={"weights": weights.digest(drawn.tensors())}).save(folder / "ramps.safetensors")
    record(folder, tokens)
    yield folder
    torch.set_num_threads(threads)


def record(folder: Path, tokens: np.ndarray) -> None:
    """What the ramps answer to the requests of the trace, one by one."""
    devices = open_live(prepare(settings(folder, "greedy", "cpu")))
    executor, ramps, finals = devices.served.executors[0][MODEL], [], []
    for ids in devices.ids:
        batch, own = executor.begin([ids]), []
        for layer in range(1, DEPTH + 1):
            batch.run(layer)
            own.append(batch.ramp()[0])
        ramps.append(own)
        finals.append(batch.end().logits[0])
    chances = np.sort(softmax(np.array(ramps, np.float64), axis=-1), axis=-1).swapaxes(0, 1).astype(np.float32)
    answer, final = np.array(ramps).argmax(-1).T, softmax(np.array(finals, np.float64), axis=-1)
    split, about = np.full(TEXTS, "made up", object), {"model": MODEL, "task": "toy"}
    more = {"teacher_confidence": final.max(-1).astype(np.float32), "about": about, "axis": "layers"}
    margin = chances[..., -1] - chances[..., -2]
    own = (tokens, np.full(TEXTS, -1), split, np.arange(TEXTS), answer, chances[..., -1], margin, final.argmax(-1))
    Answers(*own, **more).write(folder / "answers.parquet")


def settings(folder: Path, policy: str, device: str | None, **more: object) -> Settings:
    inputs = {"trace": str(folder / "traffic.parquet"), "table": str(folder / "table")}
    live = {} if device is None else {"device": device, "weights": str(folder / "weights.safetensors")}
    return Settings(policy=policy, **inputs, **live, **more)


@pytest.mark.parametrize(("mode", "more"), [("result", {}), ("compact", {"clock": "wall", "gpus": 2})])
def test_requests_leave_where_the_simulation_says(folder: Path, mode: str, more: dict[str, object]) -> None:
    policy = f"patience(greedy, streak=2, mode={mode!r}, items={str(folder / 'answers.parquet')!r})"
    devices = open_live(prepare(settings(folder, policy, "cpu", **more)))
    live = devices.run()
    table = LatencyTable.load(folder / "table")
    from traces import load

    simulated = simulate(load(folder / "traffic.parquet"), policy, table, slo_s=10.0)
    assert set(simulated.requests["exit"]) == {2, 3, 4}
    np.testing.assert_array_equal(live.requests["exit"], simulated.requests["exit"])
    if mode == "result":  # else a device never learns the final answers of those that left
        np.testing.assert_array_equal(live.requests["agrees"], simulated.requests["agrees"])
    items = Answers.read(folder / "answers.parquet", "layers")
    exits = live.requests["exit"].to_numpy().astype(int)
    expected = np.where(exits == DEPTH, items.teacher_answer, items.answer[exits - 1, np.arange(TEXTS)])
    np.testing.assert_array_equal(live.logits.argmax(1), expected)
    assert set(live.batches["ramps"]) == {"1:2x 2:2x 3:2x"} == set(simulated.batches["ramps"])
    requests, batches = live.request_columns(), live.batch_columns
    taken = (requests["finish_s"] - batches["start_s"][requests["batch"]]) / batches["service_s"][requests["batch"]]
    assert (taken[exits < DEPTH] < 1).all() or mode == "compact"  # the answer leaves before its batch is done


def test_ramps_beside_the_weights_belong_to_them_or_are_left_out(folder: Path, tmp_path: Path) -> None:
    table = LatencyTable.load(folder / "table")
    named = (table, [MODEL], table.plan(MODEL))
    whole = serving.open_devices("cpu", *named, checkpoint=folder / "weights.safetensors")
    assert whole.executors[0][MODEL].ramps == DEPTH
    assert serving.open_devices("cpu", *named).executors[0][MODEL].ramps == DEPTH  # random, as the weights
    (tmp_path / "weights.safetensors").write_bytes((folder / "weights.safetensors").read_bytes())
    bare = serving.open_devices("cpu", *named, checkpoint=tmp_path / "weights.safetensors")
    assert bare.executors[0][MODEL].ramps == 0
    assert any("profiler ramps" in note for note in bare.notes)
    random_ramps(parse_spec(MODEL, 1)).save(tmp_path / "ramps.safetensors")
    other = serving.open_devices("cpu", *named, checkpoint=tmp_path / "weights.safetensors")
    assert other.executors[0][MODEL].ramps == 0
    assert any("another model" in note for note in other.notes)


def test_whoever_asked_is_told_after_how_many_layers_an_answer_left(folder: Path) -> None:
    devices = open_live(prepare(settings(folder, "greedy", "cpu")))
    told: dict[int, Used] = {}

    class Listening(TraceAskers):
        def take(self, running, rows, logits, used, finish_s):  # type: ignore[no-untyped-def]
            told.update(dict.fromkeys(range(8) if rows is None else rows, used))

    executor = DeviceExecutor(devices.served.executors, Listening(devices.ids, 2), VirtualClock())
    level = prepare(settings(folder, "greedy", None)).deployment.levels[0]
    cuts = (Cut(2, 2, "layers", "streak"), Cut(3, 2, "layers", "streak"), Cut(DEPTH, 0.0, "layers", "streak"))
    _, events = executor.begin(0, 0, level, 1, range(8), BatchPlan(cuts, "result"), 0.0)
    released = [event for event in events if event.kind is Kind.RELEASE]
    left = {row: at for each in released for row, at in zip(each.rows, each.columns["exit"], strict=True)}
    assert {row: used.layers for row, used in told.items()} == left
    assert {used.students for used in told.values()} == {1}
    executor.begin(1, 0, level, 1, range(8), None, 0.0)
    assert {used.layers for used in told.values()} == {DEPTH}
