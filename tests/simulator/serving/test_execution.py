"""What an executor may say of a batch: answers that leave early, a device that takes the next batch before the end."""

from __future__ import annotations

import numpy as np
import pyarrow.parquet
import pytest
from doubles import Says, Takes, batches, released, run, run_on, seconds_table, trace

from policies import Dispatch, Final, Release, Wait, make
from policies.batching.greedy import Greedy
from profiler.events import BatchPlan, Event, Execution, Kind
from profiler.table import Predictions
from simulator import simulate
from simulator.core import ExecutorError
from simulator.executors.table import TableExecutor
from simulator.reporting.output import save
from simulator.serving import passing
from simulator.serving.clock import VirtualClock, WallClock


def pairs(view, _):
    return Dispatch(view.oldest(2), view.levels[-1])


def accepts(after):
    """A second, of which the device is free after a part."""
    return Execution(1.0, (Event(after, Kind.ACCEPT), Event(1.0, Kind.DONE)))


def test_answers_that_are_released_early_end_then_and_the_device_later():
    executor = Takes(lambda batch: released(1.0, 0.25, 0.75))
    report = run_on(executor, Says(pairs), trace(0, 0, 0, 0))
    assert report.requests["start_s"].tolist() == [0, 0, 1, 1]
    assert report.requests["finish_s"].tolist() == [0.25, 0.75, 1.25, 1.75]
    assert report.batches["finish_s"].tolist() == [1, 2]
    assert report.summary["mean_s"] == 1
    assert report.summary["utilisation"] <= 1


def test_what_is_not_released_leaves_with_the_batch():
    report = run_on(Takes(lambda batch: released(1.0, 0.25)), Says(pairs), trace(0, 0))
    assert report.requests["finish_s"].tolist() == [0.25, 1]


def test_an_early_answer_counts_as_on_time():
    executor = Takes(lambda batch: released(1.0, 0.25, 1.0))
    report = run_on(executor, Says(pairs), trace(0, 0), slo_s=0.5)
    assert report.requests["outcome"].tolist() == ["ok", "late"]


def test_released_answers_belong_to_the_requests_in_the_order_of_the_batch():
    executor = Takes(lambda batch: released(1.0, 0.25, 0.75))
    backwards = Says(lambda view, _: Dispatch(list(view.oldest(2))[::-1], view.levels[-1]))
    report = run_on(executor, backwards, trace(0, 0))
    assert report.requests["finish_s"].tolist() == [0.75, 0.25]


def test_a_pipelined_device_takes_the_next_batch_before_the_end_of_the_last():
    report = run_on(Takes(lambda batch: accepts(0.25)), Says(pairs), trace(0, 0, 0, 0, 0))
    assert batches(report) == [(0, [0, 1]), (0.25, [2, 3]), (0.5, [4])]
    assert report.batches["finish_s"].tolist() == [1, 1.25, 1.5]
    assert report.summary["utilisation"] == 1


def test_rows_that_return_wait_again_and_the_others_are_answered():
    """The second of every pair comes back at half time, and leads the next batch."""

    def execution(batch):
        if len(batch.requests) == 1:
            return Execution(1.0)
        return Execution(1.0, (Event(0.5, Kind.RETURN, [1]), Event(1.0, Kind.DONE)))

    heard = []

    class Observes(Says):
        def observe(self, event):
            heard.append((list(event.requests), list(event.returned)))

    report = run_on(Takes(execution), Observes(pairs), trace(0, 0, 0))
    assert heard == [([0, 1], [1]), ([1, 2], [2]), ([2], [])]
    assert report.requests["batch"].tolist() == [0, 1, 2]
    assert report.requests["finish_s"].tolist() == [1, 2, 3]
    assert report.batches["size"].tolist() == [2, 2, 1]
    assert report.answers.tolist() == [1, 1, 1]
    assert report.batches["answered"].all()
    assert report.summary["ok"] == 3


def test_a_completion_is_observed_at_the_end_not_when_the_device_accepts():
    seen = []

    class Observes(Says):
        def observe(self, completion):
            seen.append((completion.start, completion.finish, len(completion.requests), self.asked))

    run_on(Takes(lambda batch: accepts(0.25)), Observes(pairs), trace(0, 0, 0, 2))
    # By the end of the first batch, at 1 s, both first batches were decided.
    assert seen == [(0, 1, 2, 2), (0.25, 1.25, 1, 2), (2, 3, 1, 3)]


def test_releases_and_final_answers_are_heard_where_uses_lists_them_and_labels_never():
    def execution(batch):
        leaves = Event(0.25, Kind.RELEASE, [1], {"students": [1], "confidence": [0.9], "correct": [0]})
        return Execution(1.0, (leaves, Event(1.0, Kind.DONE, [0, 1], {"agrees": [True, False]})))

    class Hears(Says):
        def observe(self, event):
            self.heard.append(event)

    listed = Hears(pairs, heard=[], uses=frozenset({"releases", "finals", "completions"}))
    silent = Hears(pairs, heard=[])
    for policy in (listed, silent):
        policy.__class__.__deepcopy__ = lambda self, memo: self
        report = run_on(Takes(execution), policy, trace(0, 0))
    release, final, completion = listed.heard
    assert type(release) is Release
    assert (release.time, list(release.requests), list(release.rows)) == (0.25, [0, 1], [1])
    assert release.columns == {"students": [1], "confidence": [0.9]}
    assert type(final) is Final
    assert (final.time, final.columns) == (1.0, {"agrees": [True, False]})
    assert [type(each) for each in silent.heard] == [type(completion)]
    assert report.requests["agrees"].tolist() == [1, 0]
    assert np.array_equal(report.requests["correct"], [np.nan, 0], equal_nan=True)


@pytest.mark.parametrize("wrapper", ["router", "buckets", "autoscale", "strict", "weighted"])
def test_wrappers_pass_on_what_is_heard(wrapper):
    """Each keeps its own books by completions alone, and lets the policy inside hear what that lists."""
    heard = []

    class Hears:
        uses = frozenset({"releases"})

        def decide(self, view):
            return Dispatch(view.oldest(2), view.levels[-1])

        def observe(self, event):
            heard.append(type(event))

    policy = make(f"{wrapper}(greedy)")
    policy.inner = Hears()
    report = simulate(
        trace(0, 0, 0, 5), policy, seconds_table(), slo_s=100.0, executor=_scales(lambda batch: released(1.0, 0.5))
    )
    assert report.summary["ok"] == 4
    assert heard.count(Release) == len(report.batches["size"])


def _scales(execution):
    executor = Takes(execution)
    executor.offers = frozenset({"scale"})
    return executor


def test_columns_of_the_executor_are_columns_of_the_output(tmp_path):
    def execution(batch):
        if len(batch.requests) == 1:
            return Execution(1.0)
        return released(1.0, 1.0, 1.0, students=[1, 2], exit=[3.0, 6.0])

    report = run_on(Takes(execution), Says(pairs), trace(0, 0, 5))
    assert report.requests["students"].tolist() == [1, 2, 2]
    assert report.requests["exit"].tolist() == [3, 6, -1]
    save(report, tmp_path / "run")
    saved = pyarrow.parquet.read_table(tmp_path / "run" / "requests.parquet")
    assert saved["exit"].to_pylist() == [3, 6, None]


def test_the_executor_gets_the_batch_and_the_policys_plan():
    got, plan = [], BatchPlan(span=(0, 1))
    executor = Takes(lambda batch: got.append(batch) or Execution(1.0))
    requests = trace(0, 0, 0, tokens=[9, 40, 9])
    policy = Says(lambda view, _: Dispatch(view.oldest(2), view.levels[0], view.idle[-1], plan))
    run_on(executor, policy, requests, gpus=2)
    first, second = got
    assert (first.number, first.gpu, list(first.requests), first.bucket, first.plan) == (0, 1, [0, 1], 1, plan)
    assert (second.number, second.gpu, list(second.requests), second.bucket) == (1, 0, [2], 0)
    assert first.level.students == 1


def test_a_plan_without_the_need_is_an_error():
    policy = Says(lambda view, _: Dispatch(view.oldest(2), view.levels[0], plan=BatchPlan(span=(0, 1))))
    with pytest.raises(ValueError, match="layers"):
        run(policy, trace(0))


def test_observe_hears_of_every_batch_in_order_of_its_end():
    ends = []

    class Observes(Greedy):
        def observe(self, completion):
            ends.append((completion.finish, completion.gpu))

    executor = Takes(lambda batch: Execution(3.0 if batch.gpu == 0 else 1.0))
    run_on(executor, Observes(max_batch=1), trace(0, 0, 0.5, 0.5), gpus=2)
    assert ends == [(1, 1), (2, 1), (3, 0), (3, 1)]


def test_an_executor_that_overrides_the_table_is_asked_itself():
    class Slow(TableExecutor):
        def begin(self, *batch):
            return replace_seconds(super().begin(*batch))

    def replace_seconds(execution):
        return execution._replace(seconds=9.0)

    table = seconds_table()
    levels = table.levels("students-2x8")
    executor = Slow(Predictions(table, levels, table.plan("students-2x8")))
    assert run_on(executor, Greedy(), trace(0, 0), table=table).batches["service_s"].tolist() == [9.0]


def test_a_batch_that_never_ends_elsewhere_is_not_taken_for_served():
    with pytest.raises(ExecutorError, match="1 batches"):
        run_on(Takes(lambda batch: None), Greedy(), trace(0))


def test_a_batch_elsewhere_beyond_the_patience_ends_the_run_by_name():
    clock = WallClock()
    began = clock.wall
    with pytest.raises(ExecutorError, match="batch 0 on GPU 0"):
        run_on(Takes(lambda batch: None), Greedy(), trace(0, 0.01), clock=clock, patience_s=0.05)
    assert clock.wall - began < 10


@pytest.mark.parametrize(
    ("said", "word"),
    [
        (((1.0, "done"), (1.5, "done")), "done of batch 0"),
        (((1.0, "done"), (1.5, "release")), "release of batch 0"),
        (((0.5, "accept"), (0.6, "accept"), (1.0, "done")), "accept of batch 0"),
        (((0.5, "release"), (0.6, "release"), (1.0, "done")), "release of rows"),
        (((0.5, "release"), (0.6, "return"), (1.0, "done")), "return of rows"),
        (((0.5, "release"), (0.4, "done")), "done of batch 0"),
        (((-1.0, "done"),), "done of batch 0"),
        (((np.nan, "done"),), "done of batch 0"),
        (((np.inf, "done"),), "done of batch 0"),
    ],
)
def test_events_that_cannot_be_end_the_run_by_name(said, word):
    """Of two batches on two GPUs, so that the run goes on; the events are posted, each half a second after the last."""
    clock = VirtualClock()

    def begin(batch):
        events = said if batch.number == 0 else ((9.0, "done"),)
        for place, (after, kind) in enumerate(events):
            event = Event(after, Kind(kind), [0] if kind in ("release", "return") else None)
            at = clock.at(0.5 * (place + 1) if batch.number == 0 else 9.0)
            at.callbacks.append(lambda _, event=event: clock.post(batch.number, event))

    with pytest.raises(ExecutorError, match=word):
        run_on(Takes(begin), Says(pairs), trace(0, 0, 0, 0), gpus=2, clock=clock)


def test_events_of_a_batch_that_never_began_end_the_run_by_name():
    clock = VirtualClock()
    clock.at(0.5).callbacks.append(lambda _: clock.post(3, Event(0.1, Kind.DONE)))
    with pytest.raises(ExecutorError, match="batch 3"):
        run_on(Takes(lambda batch: Execution(1.0)), Says(pairs), trace(0, 0), clock=clock)


@pytest.mark.parametrize(
    "execution",
    [
        Execution(-1.0),
        Execution(np.nan),
        Execution(np.inf),
        Execution(1.0, (Event(0.5, Kind.RELEASE, [0]),)),
        Execution(1.0, (Event(1.0, Kind.DONE), Event(1.0, Kind.DONE))),
        Execution(1.0, (Event(0.5, Kind.RELEASE, [0]), Event(0.2, Kind.RELEASE, [1]), Event(1.0, Kind.DONE))),
        Execution(1.0, (Event(2.0, Kind.RELEASE, [0]), Event(1.0, Kind.DONE))),
        Execution(1.0, (Event(0.5, Kind.RELEASE, [7]), Event(1.0, Kind.DONE))),
    ],
)
def test_an_execution_that_cannot_be_ends_the_run(execution):
    with pytest.raises(ExecutorError, match="batch 0"):
        run_on(Takes(lambda batch: execution), Says(pairs), trace(0, 0))


def test_a_policy_may_poll_while_a_batch_runs_elsewhere():
    """3,000 looks at a GPU that is idle, while the other one has a batch: as for one that runs here."""
    clock = VirtualClock()

    def begin(batch):
        clock.at(clock.now + 3.0).callbacks.append(lambda _: clock.post(batch.number, Event(3.0, Kind.DONE)))

    polls = Says(
        lambda view, _: Dispatch(view.oldest(1), view.levels[-1]) if len(view.idle) == 2 else Wait(view.now + 1e-3)
    )
    report = run_on(Takes(begin), polls, trace(0, 0), gpus=2, clock=clock)
    assert batches(report) == [(0, [0]), (3, [1])]


@pytest.mark.parametrize("kept", [1, 4])
def test_a_batch_that_outlasts_thousands_of_others_ends_well(kept, monkeypatch):
    """Records in bounded memory keep what runs."""
    monkeypatch.setattr(passing, "KEPT", kept)
    clock, ended = VirtualClock(), []

    def begin(batch):
        if batch.gpu == 1:
            return Execution(1.0)
        clock.at(50.0).callbacks.append(lambda _: clock.post(batch.number, Event(50.0, Kind.DONE)))
        return None

    records = passing.passing(passing.Sink(lambda number, row, events: ended.append((number, row[1])), print))
    one = Says(lambda view, _: Dispatch(view.oldest(1), view.levels[-1]))
    run_on(Takes(begin), one, trace(*np.arange(40.0)), gpus=2, clock=clock, records=records)
    assert len(ended) == 40
    assert ended[-1] == (0, 50)
    assert len(records.batches.values) <= 40
