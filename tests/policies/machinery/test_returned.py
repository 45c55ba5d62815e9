"""A device that goes out with its batch: its requests wait again, and are served before that batch ends."""

from __future__ import annotations

import pytest
from devices import run

from profiler.events import Event, Execution, Kind


class GoesOut:
    """The first batch of GPU 1 is returned after 1 s, and ends after 10; all others take 1 s."""

    offers: frozenset[str] = frozenset()
    out = False

    def begin(self, number, gpu, level, bucket, requests, plan, now):
        if gpu == 1 and not self.out:
            self.out = True
            return Execution(10.0, (Event(1.0, Kind.RETURN), Event(10.0, Kind.DONE)))
        return Execution(1.0)


@pytest.mark.parametrize(
    "spec",
    [
        "buckets(greedy)",
        "strict(greedy, classes=('a', 'b'))",
        "gaps(greedy, classes=('a', 'b'))",
        "bentoml(skipped=0, refresh_s=0)",
        "infinity(max_batch=2)",
        "rayserve(timeout_s=0)",
        "torchserve(delay_s=0)",
        "tokenbudget",
    ],
)
def test_requests_of_a_device_that_went_out_are_served_elsewhere(spec):
    arrivals, klass = [0.0, 0.1, 0.2, 5.0, 15.0, 15.5], ["a", "b", "b", "a", "b", "b"]
    executor = GoesOut()
    report = run(spec, arrivals, gpus=2, klass=klass, executor=executor)
    assert executor.out
    assert (report.requests["outcome"] == "ok").all()
    assert report.times["finish_s"].max() < 20
