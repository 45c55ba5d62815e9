"""Ramps between the layers of a real batch: whole batches stay what they are, exits follow the rule, to the request."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.special import softmax

from profiler.device.seam import HostDevice, Replay, Work
from profiler.events import BatchPlan, Cut
from profiler.executors.cpu import CpuExecutor
from profiler.executors.cuda import open_layered
from profiler.executors.exits import exits
from profiler.executors.interface import Layered
from profiler.executors.segments import SegmentedExecutor
from profiler.models import weights
from profiler.models.ramps import random_ramps
from profiler.models.spec import parse_spec
from profiler.table import BucketPlan
from profiler.table.plan import PACKED

Own = CpuExecutor | SegmentedExecutor
DEPTH = 4
SPEC = replace(parse_spec(f"teacher-{DEPTH}x64"), vocab=100, positions=32, heads=2, outputs=3, classes=3)
PLAN = BucketPlan((1, 2, 4, 8, 16), (8, 16, 32))
PACKED_PLAN = BucketPlan.packed((1, 2, 4, 8, 16), (8, 16, 32, 64, 128, 256, 512))
LENGTHS = (3, 30, 9, 12, 5, 8, 2, 20, 14, 31, 7)


@pytest.fixture(
    scope="module",
    params=[("cpu", "linear"), ("cpu", "pooler"), ("packed", "linear"), ("double", "linear")],
    ids="-".join,
)
def executor(request: pytest.FixtureRequest) -> Iterator[Own]:
    """On the CPU, padded and packed, and for a GPU on the double of its device."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    drawn = weights.random(SPEC, seed=3).map(lambda name, tensor: tensor if "ln" in name else tensor * 6)
    where, shape = request.param
    ramps = random_ramps(SPEC, shape, seed=1)
    if where in ("cpu", "packed"):
        own: Own = CpuExecutor(drawn, PACKED_PLAN if where == "packed" else PLAN, ramps=ramps)
    else:
        own = open_layered(drawn, PLAN, ramps, dtype="float32", device=HostDevice())
    own.warm()
    yield own
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def ids() -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    return [rng.integers(0, SPEC.vocab, size, dtype=np.int32) for size in LENGTHS]


def layer_by_layer(executor: Own, ids: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Chances by ramp of each request by itself, [layers - 1, requests, classes], and the whole model's, [requests,
    classes]."""
    found = []
    for row in ids:
        batch, own = executor.begin([row]), []
        for layer in range(1, DEPTH):
            batch.run(layer)
            own.append(batch.ramp()[0])
        found.append((own, batch.end().logits[0]))
    ramps = np.array([own for own, _ in found], np.float64).swapaxes(0, 1)
    return softmax(ramps, axis=-1), softmax(np.array([last for _, last in found], np.float64), axis=-1)


def plan(least: dict[int, float], sure: str = "result", by: str = "confidence", end: int = DEPTH) -> BatchPlan:
    cuts = [Cut(layer, each, "layers", by) for layer, each in least.items()]
    return BatchPlan((*cuts, Cut(end, 0.0, "layers", by)), sure)


def followed(executor: Own, own: BatchPlan, ids: list[np.ndarray]) -> tuple[list[int], list[int], list]:
    """Where each request left, what it was answered, and the stages."""
    left, given, found = [0] * len(ids), [-1] * len(ids), list(exits(executor, DEPTH, own, ids))
    for stage in found:
        for place, row in enumerate(stage.rows):
            assert left[row] == 0  # nothing is answered twice
            left[row], given[row] = stage.at, int(stage.answers.logits[place].argmax())
    return left, given, found


def test_a_batch_layer_by_layer_is_the_whole_batch_to_the_bit(executor: Own, ids: list[np.ndarray]) -> None:
    assert isinstance(executor, Layered)
    assert executor.ramps == DEPTH
    expected = executor.run(1, ids)
    batch = executor.begin(ids)
    for layer in range(1, DEPTH + 1):
        batch.run(layer)
        batch.ramp()
    assert np.array_equal(batch.end().logits, expected.logits)
    bare = list(exits(executor, DEPTH, plan({}), ids))
    assert len(bare) == 1
    assert np.array_equal(bare[0].answers.logits, expected.logits)
    assert (bare[0].rows, bare[0].answers.key) == (list(range(len(ids))), expected.key)
    assert bare[0].ramps is None


def test_a_ramp_is_a_classifier_on_what_the_books_bert_has_after_its_layer(ids: list[np.ndarray]) -> None:
    """A model cut after a layer, whose head is the ramp, answers the same."""
    drawn, ramps = weights.random(SPEC, seed=3), random_ramps(SPEC, seed=1)
    executor = CpuExecutor(drawn, PLAN, ramps=ramps)
    executor.warm()
    batch = executor.begin(ids)
    for layer in (1, 3):
        batch.run(layer)
        tensors = {name: own for name, own in drawn.tensors().items() if not name.startswith("pooler")}
        tensors = {name: own for name, own in tensors.items() if name[:7] != "layers." or int(name[7]) < layer}
        tensors |= {"projection_weight": ramps.weight[layer - 1][None], "projection_bias": ramps.bias[layer - 1][None]}
        tensors |= {"head_weight": torch.eye(3)[None], "head_bias": torch.zeros(1, 3)}
        cut = CpuExecutor(weights.assemble(replace(SPEC, layers=layer, pooler=False), tensors), PLAN)
        cut.warm()
        assert batch.ramp() == pytest.approx(cut.run(1, ids).logits, abs=2e-5)


@pytest.mark.parametrize("sure", ["result", "compact", "truncate"])
@pytest.mark.parametrize("by", ["confidence", "streak"])
def test_exits_are_those_of_brute_force(executor: Own, ids: list[np.ndarray], sure: str, by: str) -> None:
    ramps, whole = layer_by_layer(executor, ids)
    least = dict.fromkeys((1, 2, 3), 2) if by == "streak" else {1: 0.75, 2: 0.6, 3: 0.55}
    own = plan(least, sure, by)
    if sure == "compact" and isinstance(executor, SegmentedExecutor):
        with pytest.raises(ValueError, match="result"):
            followed(executor, own, ids)
        return
    if sure == "truncate":
        own = BatchPlan(own.cuts[:3], sure)
    left, given, found = followed(executor, own, ids)
    for row in range(len(ids)):
        answers = [int(ramps[k, row].argmax()) for k in range(3)]
        streaks = [1 + next((n for n in range(k) if answers[k - n - 1] != answers[k]), k) for k in range(3)]
        sureness = streaks if by == "streak" else [float(ramps[k, row].max()) for k in range(3)]
        beyond = (lambda value, bar: value >= bar) if by == "streak" else (lambda value, bar: value > bar)
        end = 3 if sure == "truncate" else DEPTH
        exit_at = next((k for k in range(1, end) if beyond(sureness[k - 1], least[k])), end)
        assert left[row] == exit_at
        assert given[row] == (int(whole[row].argmax()) if exit_at == DEPTH else answers[exit_at - 1])
    assert len(set(left)) > 1
    assert [stage.answers.seconds for stage in found] == sorted(stage.answers.seconds for stage in found)


def test_what_a_batch_tells_is_what_was_computed_and_no_more(executor: Own, ids: list[np.ndarray]) -> None:
    ramps, whole = layer_by_layer(executor, ids)
    least = {1: 0.75, 3: 0.55}
    left, given, found = followed(executor, plan(least), ids)
    told = found[-1].ramps
    assert told is not None
    assert told.layers == (1, 3)
    assert told.confidence == pytest.approx(ramps[[0, 2]].max(-1), abs=1e-5)
    assert told.answer.tolist() == ramps[[0, 2]].argmax(-1).tolist()
    assert told.left == [{1: 0, 3: 1, DEPTH: 2}[layer] for layer in left]
    assert told.final.tolist() == whole.argmax(-1).tolist()
    assert found[-1].agrees == [each == final for each, final in zip(given, told.final.tolist(), strict=True)]
    if isinstance(executor, SegmentedExecutor):
        return
    left, given, found = followed(executor, plan(least, "compact"), ids)
    told = found[-1].ramps
    assert told is not None
    early, late = np.array(left) == 1, np.array(left) == DEPTH
    assert np.isnan(told.confidence[1]).tolist() == early.tolist()
    assert (told.final >= 0).tolist() == late.tolist()
    assert found[-1].agrees is None


def test_a_confidence_that_equals_the_bar_does_not_leave(executor: Own, ids: list[np.ndarray]) -> None:
    batch = executor.begin(ids[:1])
    batch.run(2)
    bar = float(softmax(batch.ramp().astype(np.float64), axis=1).max())
    assert followed(executor, plan({2: bar}), ids[:1])[0] == [DEPTH]
    assert followed(executor, plan({2: np.nextafter(bar, 0)}), ids[:1])[0] == [2]


def test_what_is_left_goes_on_at_the_next_size_up(executor: Own, ids: list[np.ndarray]) -> None:
    if isinstance(executor, SegmentedExecutor):
        pytest.skip("a GPU keeps its batches whole")
    batch = executor.begin(ids)
    batch.run(2)
    batch.keep([4, 8, 10])
    key = executor.plan.key(1, [5, 14, 7])
    assert len(batch._x) == key.rows == (32 if key.layout == PACKED else 4 * 16)
    batch.run(3)
    batch.keep([1])
    expected = executor.run(1, [ids[8]]).logits
    assert batch.end().logits == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize(
    ("own", "wrong"),
    [
        (plan({2: 0.5}, by="agrees"), "cannot be run"),
        (plan({2: 0.5}, end=3), "4 layers"),
        (plan({5: 0.5}, end=6), "4 layers"),
        (BatchPlan((Cut(1, 0.0),)), "cannot be run"),
        (BatchPlan((Cut(4, 0.0, "layers"),), "return"), "cannot be run"),
    ],
)
def test_plans_that_a_device_cannot_follow_are_refused(
    executor: Own, ids: list[np.ndarray], own: BatchPlan, wrong: str
) -> None:
    with pytest.raises(ValueError, match=wrong):
        list(exits(executor, DEPTH, own, ids))


def test_ramps_must_fit_and_a_model_without_any_says_so(ids: list[np.ndarray]) -> None:
    drawn = weights.random(SPEC, seed=3)
    with pytest.raises(ValueError, match="do not fit"):
        CpuExecutor(drawn, PLAN, ramps=random_ramps(replace(SPEC, layers=3)))
    with pytest.raises(LookupError, match="no ramps"):
        CpuExecutor(drawn, PLAN).begin(ids)
    assert CpuExecutor(drawn, PLAN).ramps == 0
    with pytest.raises(LookupError, match="linear, pooler"):
        random_ramps(SPEC, "round")


def test_what_is_known_ahead_is_launched_before_any_answer_is_read(ids: list[np.ndarray]) -> None:
    """So a GPU never waits for the host; in the order of the layers, each ramp right after its own."""
    launched: list[int] = []

    class Noted(HostDevice):
        prepared = 0

        def prepare(self, work: Work, *, beside: bool = False) -> Replay:
            number = self.prepared
            self.prepared += 1

            def noted() -> None:
                launched.append(-number if beside else number)
                work()

            return super().prepare(noted, beside=beside)

    device = Noted()
    plan_ = BucketPlan((16,), (32,))
    own = open_layered(weights.random(SPEC, 3), plan_, random_ramps(SPEC), dtype="float32", device=device)
    own.warm()
    prepared, embed = device.prepared, 1  # 0 is the whole batch
    launched.clear()
    batch = own.begin(ids, (1, 3))
    assert launched == [embed, embed + 1, -(embed + 5), embed + 2, embed + 3, -(embed + 7), embed + 4]
    batch.run(1)
    batch.ramp()
    batch.end()
    assert len(launched) == 7  # nothing is launched twice
    assert device.prepared == prepared  # nor prepared while serving
    launched.clear()
    batch = own.begin(ids)
    batch.run(2)
    batch.ramp()
    assert launched == [embed, embed + 1, embed + 2, -(embed + 6)]
    with pytest.raises(LookupError, match="not ready"):
        open_layered(weights.random(SPEC, 3), plan_, random_ramps(SPEC), dtype="float32", device=device).begin(ids)
