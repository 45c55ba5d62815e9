"""The fault world: the real loop keeps its rules, or says in one line why it ended; a seed makes it again."""

from __future__ import annotations

import shlex

import pytest
from doubles import Says, Takes, run_on, trace

from policies import Dispatch, Wait
from profiler.events import Event, Kind
from simulator.conformance.__main__ import found, main, table
from simulator.conformance.faults import ENDS, FAULTS
from simulator.conformance.host import Hang, Host, HostClock
from simulator.conformance.judging import Ending, judged
from simulator.serving import actions, events, loop

WORLDS = 300


def test_worlds_keep_all_rules_or_say_why_not():
    endings = [judged(seed) for seed in range(WORLDS)]
    assert set().union(*(each.struck for each in endings)) == set(FAULTS)
    assert {each.end for each in endings} == set(ENDS)


@pytest.mark.slow
def test_ten_thousand_worlds(capsys):
    assert main(["--worlds", "10000", "--seed", "1000", "--jobs", "2"]) == 0


@pytest.mark.parametrize("seed", range(12))
def test_a_seed_makes_the_same_world_again(seed):
    assert judged(seed) == judged(seed)


def unguarded(state, number, event):
    """`events.post` without its checks."""
    start, _, gpu, level, bucket, requests = state.batches[number]
    if event.kind is Kind.DONE:
        state.batches[number] = (start, start + event.after, gpu, level, bucket, requests)
        state.elsewhere.pop(number, None)
    state.posted += 1
    events.heappush(state.due, (start + event.after, number, state.posted, event))


def test_a_loop_that_believes_every_event_is_found_out_with_the_command_that_repeats_it(monkeypatch, capsys):
    monkeypatch.setattr(loop, "post", unguarded)
    assert main(["--worlds", "200", "--policies", "greedy"]) == 1
    (line,) = capsys.readouterr().out.splitlines()
    command = shlex.split(line)
    assert main(command[command.index("--worlds") :]) == 1
    assert capsys.readouterr().out.splitlines() == [line]


def test_a_loop_without_patience_is_found_out(monkeypatch):
    monkeypatch.setattr(loop.Server, "_look", lambda self, alarm=None: None)
    assert any("nothing will wake it" in str(found([], seed)) for seed in range(200))


def test_a_loop_that_takes_rubbish_for_a_wait_is_found_out(monkeypatch):
    monkeypatch.setattr(actions.Handlers, "__missing__", lambda self, kind: self[actions.Wait])
    assert any(isinstance(found([], seed), str) for seed in range(400))


def test_a_host_in_which_nothing_will_come_is_a_hang():
    clock = HostClock(Host(None), 0.0, None)
    clock.silence().callbacks.append(print)
    with pytest.raises(Hang):
        clock.run()


def test_time_passes_only_at_sleep_and_at_work():
    host = Host(None)
    clock = HostClock(host, 0.0, None)
    clock.start()
    rung = []
    clock.at(5.0).callbacks.append(lambda _: rung.append(clock.now))
    host.at(2.0, lambda: clock.call(lambda: rung.append(clock.now)))
    clock.run()
    assert rung == [pytest.approx(2.0, abs=1e-4), 5.0]
    host.work(7.0)
    assert clock.lateness == pytest.approx(7.0, abs=1e-4)


def test_calls_keep_their_order_when_the_clock_steps_back():
    host = Host(None)
    clock = HostClock(host, 0.0, None)
    clock.start()
    heard = []
    host.at(3.0, lambda: clock.call(lambda: heard.append("first")))
    host.at(3.0, lambda: host.step(-2.0))
    host.at(3.1, lambda: clock.call(lambda: heard.append("second")))
    clock.at(4.0).callbacks.append(lambda _: heard.append("alarm"))
    clock.run()
    assert heard == ["first", "second", "alarm"]


def test_a_loop_that_is_far_behind_sees_a_completion_without_making_up_for_every_wait():
    """A policy that looks every 10 ms, takes a second for it, and has a batch elsewhere that takes a minute."""
    host = Host(None)
    clock = HostClock(host, 0.0, None)

    def begin(batch):
        event = Event(60.0, Kind.DONE)
        host.at(host.seconds + 60.0, lambda: clock.post(batch.number, event))

    def answer(view, number):
        assert number < 200
        host.work(1.0)
        return Dispatch(view.oldest(1), view.levels[-1]) if len(view.idle) == 2 else Wait(view.now + 0.01)

    report = run_on(Takes(begin), Says(answer), trace(0, 0), gpus=2, clock=clock)
    assert len(report.batches["start_s"]) == 2


def test_the_table_counts_a_world_in_the_row_of_every_fault_that_struck():
    endings = [
        Ending("served", "", frozenset(), b""),
        Ending("OSError", "full", frozenset({"disk full", "host slow"}), b""),
    ]
    rows = {line.split("  ")[0]: line.split()[-1] for line in table(endings).splitlines()[1:]}
    assert {name for name, count in rows.items() if count != "0"} == {"nothing", "disk full", "host slow", "in all"}
    assert rows["in all"] == "2"


def test_the_command_ends_with_the_usual_statuses(monkeypatch, capsys):
    assert main(["--worlds", "3", "--seed", "7"]) == 0
    assert main(["--worlds", "0"]) == 2
    assert main(["--worlds", "1", "--policies", "greddy"]) == 2
