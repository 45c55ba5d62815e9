"""Margin: requests stop at the first prefix that is sure, where that leaves the device less to do."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from policies import make
from policies.interface import Dispatch, Planned
from policies.machinery.wrapped import chain
from profiler.answers.recorded import Answers
from profiler.events import BatchPlan, Cut
from profiler.table import AccuracyTable, LatencyTable, Predictions
from simulator import simulate
from simulator.conformance import check_policy
from simulator.conformance.cases import formula
from simulator.core import PolicyError
from simulator.live import ran_at
from traces import Trace

MODEL = "students-2x8"


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eight prefixes; with margin m one is flipped with chance 0.3 (0.8 - m), 0 from there on; margins grow."""
    rng, texts = np.random.default_rng(0), 4000
    label = rng.integers(0, 2, texts)
    margin = np.sort(rng.random((8, texts)), axis=0).astype(np.float32)
    last = np.where(rng.random(texts) < 0.9, label, 1 - label)
    answer = np.where(rng.random((8, texts)) < 0.3 * (0.8 - margin), 1 - last, last)
    answer[-1] = last
    more = {"teacher_answer": label, "teacher_confidence": margin[0], "about": {"model": MODEL, "task": "made up"}}
    names, place = np.full(texts, "held-out", object), np.arange(texts)
    path = tmp_path_factory.mktemp("recorded") / "items.parquet"
    Answers(np.full(texts, 9, np.int32), label, names, place, answer, (1 + margin) / 2, margin, **more).write(path)
    return path


def table(batch_us: float = 0.0) -> LatencyTable:
    """Times in proportion to students and requests, but for what a batch costs as such."""
    found = formula([1, 2, 4, 8], [1, 2, 4, 8, 16], [16, 64])
    k, b, t = (found.columns[name] for name in ("students", "batch", "tokens"))
    accuracy = AccuracyTable(tuple((MODEL, count, "made up", 0.8 + count / 100) for count in (1, 2, 4, 8)))
    return LatencyTable("linear", {**found.columns, "latency_us": batch_us + 10.0 * k * b * t / 16}, {}, accuracy)


def flood(count: int = 2000, **more: object) -> Trace:
    return Trace(np.linspace(0, 0.1, count), np.full(count, 12, np.int32), **more)


def spec(recorded: Path, inner: str = "greedy", **parameters: object) -> str:
    more = "".join(f", {name}={value!r}" for name, value in parameters.items())
    return f"margin({inner}, items={str(recorded)!r}{more})"


def test_it_keeps_the_rules_around_others_with_recorded_answers(recorded: Path) -> None:
    for inner in ("greedy", "timeout"):
        check_policy(spec(recorded, inner, flips=0.05), seeds=range(8))


def test_students_fall_and_answers_change_as_seldom_as_was_asked(recorded: Path) -> None:
    items = Answers.read(recorded)
    rows = 2 * np.arange(2000)
    trace, before = flood(item=rows), 8.0
    for flips in (0.0, 0.01, 0.05):
        report = simulate(trace, spec(recorded, flips=flips), table(), slo_s=10.0)
        students = report.requests["students"]
        changed = items.answer[students - 1, rows] != items.answer[-1, rows]
        assert changed.mean() <= flips + 4 * np.sqrt(max(flips, 1e-3) / 2000)
        assert report.summary["students_mean"] == students.mean() < before
        before = students.mean()
        right = items.correct[students - 1, rows]
        reported = report.requests["correct"]
        staged = ~np.isnan(reported)
        assert staged.any()
        assert (reported[staged] == right[staged]).all()
        gained = np.where(staged, right.astype(float) - items.correct[-1, rows], 0.0)  # on the same texts
        expected = 0.88 + gained.mean()  # the level's accuracy is the table's
        assert report.summary["accuracy"] == pytest.approx(expected)
        assert report.summary["accuracy_weighted_goodput"] == pytest.approx(expected)


def test_less_work_is_less_time_and_sure_requests_leave_first(recorded: Path) -> None:
    whole, stopped = (simulate(flood(), each, table(), slo_s=10.0) for each in ("greedy", spec(recorded, flips=0.05)))
    assert stopped.batches["finish_s"].max() < 0.8 * whole.batches["finish_s"].max()
    requests = stopped.request_columns()
    first = requests["batch"] == 10
    by_students = [requests["finish_s"][first & (requests["students"] == k)] for k in np.unique(requests["students"])]
    ends = [float(each[0]) for each in by_students if len(each)]
    assert len(ends) >= 2
    assert ends == sorted(ends)
    assert ends[-1] == pytest.approx(stopped.batches["finish_s"][10])
    assert all((each == each[0]).all() for each in by_students if len(each))


def test_a_stage_takes_what_as_many_students_take(recorded: Path) -> None:
    items, row = Answers.read(recorded), None
    policy = make(spec(recorded, flips=0.05))
    for number in range(0, 4000, 2):
        report = simulate(flood(1, item=np.array([number])), policy, table(), slo_s=10.0)
        if report.requests["students"][0] == 8:
            row = number
            break
    assert row is not None
    assert report.batches["service_s"][0] == pytest.approx(8 * 10e-6)
    assert report.requests["correct"][0] == items.correct[7, row]


def test_answers_to_another_task_of_the_table_are_refused(recorded: Path) -> None:
    linear = table()
    assert linear.accuracy is not None
    both = AccuracyTable((*linear.accuracy.rows, *((MODEL, k, "other", 0.5) for k in (1, 2, 4, 8))))
    found = LatencyTable("linear", linear.columns, {}, both)
    assert "correct" in simulate(flood(), spec(recorded), found, task="made up").requests
    with pytest.raises(PolicyError, match=r"made up.*--task made"):
        simulate(flood(), spec(recorded), found, task="other")


def test_batches_that_ran_at_the_same_stages_took_the_same_time(recorded: Path) -> None:
    """This separates a slow device from batches that differ in the verdict on a live run."""
    lengths = np.random.default_rng(0).choice([12, 40], 2000).astype(np.int32)
    report = simulate(Trace(np.linspace(0, 0.1, 2000), lengths), spec(recorded, flips=0.05), table(2.0))
    taken: dict[object, list[float]] = {}
    for key, seconds in zip(ran_at(report), report.batches["service_s"].tolist(), strict=True):
        taken.setdefault(key, []).append(seconds)
    assert any(len(each) > 1 and len(stages) > 1 for (_, stages), each in taken.items())
    assert max(np.ptp(each) for each in taken.values()) < 1e-9


def test_batches_run_whole_where_stages_would_cost_more(recorded: Path) -> None:
    dear = simulate(flood(), spec(recorded, flips=0.05), table(batch_us=5000.0), slo_s=10.0)
    greedy = simulate(flood(), "greedy", table(batch_us=5000.0), slo_s=10.0)
    assert dear.summary == greedy.summary


def test_it_runs_whole_batches_at_once_where_no_answers_are_shipped() -> None:
    assert simulate(flood(), "margin(greedy)", table()).summary == simulate(flood(), "greedy", table()).summary


def test_the_level_stays_the_inner_policys(recorded: Path) -> None:
    report = simulate(flood(), spec(recorded, "fixed(students=4)", flips=0.05), table(), slo_s=10.0)
    assert report.requests["students"].max() == 4
    assert set(report.batches["students"]) == {4}


def test_wrong_parameters_and_files_are_named(recorded: Path, tmp_path: Path) -> None:
    trace = flood(5)
    with pytest.raises(ValueError, match="0 <= flips < 1"):
        simulate(trace, spec(recorded, flips=1.5), table())
    with pytest.raises(ValueError, match=r"margin: .*none\.parquet"):
        simulate(trace, f"margin(greedy, items='{tmp_path}/none.parquet')", table())
    with pytest.raises(PolicyError, match="item 4000"):
        simulate(flood(1, item=np.array([4000])), spec(recorded, flips=0.05), table(), slo_s=10.0)


@pytest.mark.parametrize("wrapper", ["{}", "admission({})", "buckets({})"])
def test_its_plans_are_all_that_it_dispatches_with(recorded: Path, wrapper: str) -> None:
    class Watched:
        needs = frozenset({"stops"})

        def __init__(self, policy) -> None:
            self.policy, self.seen = policy, set()

        def __deepcopy__(self, memo):
            return self

        def start(self, view) -> None:
            self.policy.start(view)

        def decide(self, view):
            action = self.policy.decide(view)
            if isinstance(action, Dispatch) and action.plan is not None:
                seen = Planned(action.level, view.longest(action.requests), len(action.requests), action.plan)
                self.seen.add(seen)
            return action

    rng, times = np.random.default_rng(0), table()
    trace = Trace(rng.exponential(5e-4, 500).cumsum(), rng.integers(2, 65, 500).astype(np.int32))
    watched = Watched(make(wrapper.format(spec(recorded, "adaptive", flips=0.05))))
    simulate(trace, watched, times)
    predictions = Predictions(times, times.levels(MODEL, "made up"), times.plan(MODEL))
    (margin,) = (each for each in chain(watched.policy) if hasattr(each, "plans"))
    planned = set(margin.plans(predictions.levels, predictions.service))
    assert watched.seen <= planned
    assert {each.bucket for each in watched.seen} == {0, 1}


class LooksWhereItCannot:
    """Stops where no level fits."""

    needs = frozenset({"stops"})

    def __init__(self, recorded: str, margins: tuple[tuple[int, float], ...]) -> None:
        self.plan = BatchPlan(tuple(Cut(*each) for each in margins), recorded=recorded)

    def decide(self, view):
        return Dispatch(view.oldest(1), view.levels[-1], plan=self.plan)


@pytest.mark.parametrize(
    ("margins", "wrong"),
    [(((3, 0.5), (8, 0.0)), "level.* 3"), (((1, 0.5), (4, 0.0)), "4 students")],
)
def test_stops_that_cannot_be_are_refused(recorded: Path, margins, wrong: str) -> None:
    with pytest.raises(PolicyError, match=wrong):
        simulate(flood(5), LooksWhereItCannot(str(recorded), margins), table())


@pytest.mark.parametrize("kind", ["cpu", "cuda-stock"])
def test_on_a_device_the_margins_are_its_own(recorded: Path, kind: str) -> None:
    """A GPU's executor runs what it was prepared for: batches run exactly what the plans contain."""
    torch = pytest.importorskip("torch")
    from profiler.device.seam import HostDevice
    from profiler.executors.cpu import CpuExecutor
    from profiler.executors.cuda import open_executor
    from profiler.executors.serving import Served
    from profiler.models import weights
    from profiler.models.spec import Dims
    from profiler.table import Predictions
    from simulator.executors.device import DeviceExecutor, TraceAskers, warm_plans
    from simulator.serving.clock import VirtualClock

    torch.set_num_threads(1)
    spec = Dims(MODEL, 8, 2, 8, heads=2, ffn=16, vocab=50, positions=64, outputs=3, shared_embeddings=True)
    drawn = weights.random(spec, 0).map(lambda name, tensor: tensor if "ln" in name else tensor * 20)
    times, trace, rng = table(), flood(400), np.random.default_rng(0)
    levels, plan = times.levels(MODEL), times.plan(MODEL)
    device = alone = CpuExecutor(drawn, plan)
    alone.warm()
    if kind != "cpu":
        device = open_executor(kind, drawn, plan, (1, 2, 4, 8), dtype="float32", device=HostDevice())
        device.warm()
    ids = [rng.integers(0, 50, 12, dtype=np.int32) for _ in range(400)]
    clock = VirtualClock()
    askers = TraceAskers(ids, 2)
    executor, text = (
        DeviceExecutor([{MODEL: device}], askers, clock),
        f"margin(greedy, items={str(recorded)!r}, flips=0.05)",
    )
    served = Served("a test", ({MODEL: device},), (lambda: None,), (), 0.0, 0.0)
    assert warm_plans(served, make(text), Predictions(times, levels, plan)) > 0
    report = simulate(trace, text, times, slo_s=10.0, clock=clock, executor=executor)
    students = report.requests["students"]
    assert len(np.unique(students)) == 3
    for count in np.unique(students):
        rows = np.flatnonzero(students == count)[:16]
        expected = alone.run(int(count), [ids[row] for row in rows]).logits
        np.testing.assert_allclose(askers.logits[rows], expected, atol=1e-4)
    assert report.summary["students_mean"] == students.mean()
    assert report.summary["accuracy"] is None  # the right answers are unknown


@pytest.mark.parametrize(("inner", "named"), [("lazybatching", "LazyBatching"), ("shepherd", "Shepherd")])
def test_policies_that_stages_cannot_serve_are_refused_by_name(recorded: Path, inner: str, named: str) -> None:
    with pytest.raises(ValueError, match=named):
        simulate(flood(5), spec(recorded, inner), table())
    with pytest.raises(ValueError, match=named):
        simulate(flood(5), spec(recorded, f"admission({inner})"), table())
