"""What an executor may say of a batch: answers that leave early, a device that takes the next batch before the end."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pyarrow.parquet
from doubles import Says, Takes, batches, run_on, seconds_table, trace

from policies import Dispatch
from policies.batching.greedy import Greedy
from profiler.table import Predictions
from simulator.executors.table import Execution, TableExecutor
from simulator.reporting.output import save


def pairs(view, _):
    return Dispatch(view.oldest(2), view.levels[-1])


def test_answers_that_are_released_early_end_then_and_the_device_later():
    executor = Takes(lambda batch: Execution(1.0, released=[0.25, 0.75][: len(batch.requests)]))
    report = run_on(executor, Says(pairs), trace(0, 0, 0, 0))
    assert report.requests["start_s"].tolist() == [0, 0, 1, 1]
    assert report.requests["finish_s"].tolist() == [0.25, 0.75, 1.25, 1.75]
    assert report.batches["finish_s"].tolist() == [1, 2]
    assert report.summary["mean_s"] == 1
    assert report.summary["utilisation"] <= 1


def test_an_early_answer_counts_as_on_time():
    executor = Takes(lambda batch: Execution(1.0, released=[0.25, 1.0]))
    report = run_on(executor, Says(pairs), trace(0, 0), slo_s=0.5)
    assert report.requests["outcome"].tolist() == ["ok", "late"]


def test_released_answers_belong_to_the_requests_in_the_order_of_the_batch():
    executor = Takes(lambda batch: Execution(1.0, released=[0.25, 0.75]))
    backwards = Says(lambda view, _: Dispatch(list(view.oldest(2))[::-1], view.levels[-1]))
    report = run_on(executor, backwards, trace(0, 0))
    assert report.requests["finish_s"].tolist() == [0.75, 0.25]


def test_a_pipelined_device_takes_the_next_batch_before_the_end_of_the_last():
    executor = Takes(lambda batch: Execution(1.0, accepts=0.25))
    report = run_on(executor, Says(pairs), trace(0, 0, 0, 0, 0))
    assert batches(report) == [(0, [0, 1]), (0.25, [2, 3]), (0.5, [4])]
    assert report.batches["finish_s"].tolist() == [1, 1.25, 1.5]


def test_a_completion_is_observed_at_the_end_not_when_the_device_accepts():
    seen = []

    class Observes(Says):
        def observe(self, completion):
            seen.append((completion.start, completion.finish, len(completion.requests), self.asked))

    executor = Takes(lambda batch: Execution(1.0, accepts=0.25))
    run_on(executor, Observes(pairs), trace(0, 0, 0, 2))
    # By the end of the first batch, at 1 s, both batches of the beginning had been decided.
    assert seen == [(0, 1, 2, 2), (0.25, 1.25, 1, 2), (2, 3, 1, 3)]


def test_columns_of_the_executor_are_columns_of_the_output(tmp_path):
    def execution(batch):
        if len(batch.requests) == 1:
            return Execution(1.0)
        return Execution(1.0, columns={"students": [1, 2], "exit": [3.0, 6.0]})

    report = run_on(Takes(execution), Says(pairs), trace(0, 0, 5))
    assert report.requests["students"].tolist() == [1, 2, 2]
    assert np.array_equal(report.requests["exit"], [3, 6, np.nan], equal_nan=True)
    save(report, tmp_path / "run")
    saved = pyarrow.parquet.read_table(tmp_path / "run" / "requests.parquet")
    assert saved["exit"].to_pylist() == [3, 6, None]


def test_the_executor_gets_the_batch_and_the_policys_plan():
    got = []
    executor = Takes(lambda batch: got.append(batch) or Execution(1.0))
    requests = trace(0, 0, 0, tokens=[9, 40, 9])
    policy = Says(lambda view, _: Dispatch(view.oldest(2), view.levels[0], view.idle[-1], "plan"))
    run_on(executor, policy, requests, gpus=2)
    first, second = got
    assert (first.gpu, list(first.requests), first.bucket, first.plan) == (1, [0, 1], 1, "plan")
    assert (second.gpu, list(second.requests), second.bucket) == (0, [2], 0)
    assert first.level.students == 1


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
        def run(self, batch, now):
            return replace(super().run(batch, now), seconds=9.0)

    table = seconds_table()
    levels = table.levels("students-2x8")
    executor = Slow(Predictions(table, levels, table.plan("students-2x8")))
    assert run_on(executor, Greedy(), trace(0, 0), table=table).batches["service_s"].tolist() == [9.0]
