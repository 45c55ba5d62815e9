"""Two clocks, the same bytes: simulated time, and a dry run that is paced by the wall."""

from __future__ import annotations

from threading import Thread
from time import monotonic, sleep

import numpy as np
import pandas
import pytest
from conftest import formula_table
from doubles import trace

from profiler.events import Event, Kind
from simulator import simulate
from simulator.serving.clock import VirtualClock, WallClock


def visits(clock, times):
    """When a process that sleeps until each of these times wakes up."""
    seen = []

    def process():
        for time in times:
            yield clock.at(time)
            seen.append(clock.now)

    clock.process(process())
    clock.start()
    clock.run()
    return seen


def test_an_alarm_rings_at_the_very_time_that_was_asked_for():
    times = np.random.default_rng(0).exponential(0.1, 2000).cumsum().tolist()
    assert visits(VirtualClock(), times) == times


def test_simulated_time_is_never_late():
    clock = VirtualClock()
    visits(clock, [5.0])
    assert clock.lateness == 0


def test_the_wall_clock_takes_real_time_and_knows_how_late_it_is():
    clock, begin = WallClock(), monotonic()
    assert visits(clock, [0.02, 0.05, 0.05]) == [0.02, 0.05, 0.05]
    assert monotonic() - begin >= 0.05
    assert 0 <= clock.lateness < 1


def test_the_wall_clocks_time_begins_at_its_start_not_when_it_is_made():
    clock = WallClock()
    sleep(0.05)
    begin = monotonic()
    visits(clock, [0.04])
    assert monotonic() - begin >= 0.04


def test_a_wall_clock_that_begins_later_does_not_sleep_until_then():
    begin = monotonic()
    visits(WallClock(1000.0), [1000.01])
    assert monotonic() - begin < 5


@pytest.mark.parametrize(
    ("policy", "gpus"), [("greedy", 1), ("timeout(max_batch=3, timeout_s=0.03)", 2), ("adaptive", 1)]
)
def test_a_paced_dry_run_gives_the_bytes_of_the_simulation(policy, gpus):
    table = formula_table(lambda k, b, t: 1e3 * (20 + 3 * b * k), students=(1, 2), accuracy=lambda k: 0.8 + 0.05 * k)
    requests = trace(*np.random.default_rng(1).exponential(0.012, 40).cumsum())
    named = {"gpus": gpus, "slo_s": 0.1}
    begin = monotonic()
    paced = simulate(requests, policy, table, clock=WallClock(), **named)
    elapsed = monotonic() - begin
    simulated = simulate(requests, policy, table, **named)
    pandas.testing.assert_frame_equal(paced.requests, simulated.requests, check_exact=True)
    assert paced.summary == simulated.summary
    assert elapsed >= simulated.batches["finish_s"].max()


def test_what_another_thread_posts_ends_the_sleep_and_happens_when_it_was_posted():
    clock, seen = WallClock(), []
    clock.receive = lambda number, event: seen.append((clock.now, number, event)) or silence.callbacks.clear()
    silence, done = clock.silence(), Event(0.05, Kind.DONE)
    silence.callbacks.append(print)
    clock.start()
    thread = Thread(target=lambda: (sleep(0.05), clock.post(7, done)))
    thread.start()
    clock.run()
    thread.join()
    assert seen[0][1:] == (7, done)
    assert 0.05 <= seen[0][0] < 5


def test_a_failure_that_was_posted_is_raised_in_the_clocks_thread():
    clock = WallClock()
    clock.start()

    def fails():
        raise RuntimeError("device lost")

    clock.call(fails)
    with pytest.raises(RuntimeError, match="device lost"):
        clock.run()


def test_an_alarm_without_callbacks_does_not_keep_a_run_going():
    clock, begin = WallClock(), monotonic()
    alarm = clock.at(30.0)
    alarm.callbacks.append(print)
    alarm.callbacks.clear()
    clock.start()
    clock.run()
    assert monotonic() - begin < 5
