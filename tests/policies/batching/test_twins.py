"""The twins of servers' batchers, each beside an independent reading of the source's rule, on random traffic."""

from __future__ import annotations

from collections import deque

import numpy as np
import pytest
from devices import SIZES, batches, linear, run

from policies import make
from simulator.conformance import check_policy

SECONDS = linear(1.0, 0.25)


def took(size):
    """Seconds of a batch on the table: those of the next size up."""
    return SECONDS(1, next(each for each in SIZES if each >= size), 16)


def traffic(seed, rate, count=300):
    """Arrivals that come in ones and in bursts, rounded so that some fall together."""
    rng = np.random.default_rng(seed)
    gaps = rng.exponential(1 / rate, count) * rng.choice([0.1, 2.0], count)
    return np.round(gaps.cumsum(), 2).tolist()


def torchserve(arrivals, most, delay):
    """pollBatch with one worker: take one, then poll for what is left of the delay, at most most - 1 times."""
    free, waiting, found = 0.0, deque(arrivals), []
    while waiting:
        now = max(free, waiting.popleft())
        left, size = delay, 1
        while size < most and waiting and waiting[0] <= now + left:
            at = max(now, waiting.popleft())
            left, now, size = left - (at - now), at, size + 1
        start = now if size == most else now + left
        found.append((start, size))
        free = start + took(size)
    return found


def rayserve(arrivals, most, timeout):
    """wait_for_batch, again and again; the batches run in their order."""
    closed, free, waiting, found = 0.0, 0.0, deque(arrivals), []
    while waiting:
        began = max(closed, waiting.popleft())
        size, closed = 1, began + timeout
        while size < most and waiting and waiting[0] <= began + timeout:
            closed_if_full = max(began, waiting.popleft())
            size += 1
        if size == most:
            closed = began if most == 1 else closed_if_full
        start = max(closed, free)
        found.append((start, size))
        free = start + took(size)
    return found


def infinity(arrivals, lengths, most):
    """Its threads and their queues, each as far as it can get whenever something comes or the device is free."""
    coming, prio, held, published, tokenized = deque(range(len(arrivals))), [], [], [], []
    tokenizing, free, found, now = None, 0.0, [], 0.0
    while coming or prio or held or published or tokenizing or tokenized:
        times = ([arrivals[coming[0]]] if coming else []) + ([free] if free > now else [])
        now = max(now, min(times))
        while coming and arrivals[coming[0]] <= now:
            prio.append(coming.popleft())
        moved = True
        while moved:
            before = (len(prio), len(held), len(published), len(tokenized), tokenizing is None, free)
            if free <= now and tokenized:
                batch = tokenized.pop(0)
                found.append((now, sorted(batch)))
                free = now + took(len(batch))
            if tokenizing is not None and len(tokenized) < 3:
                tokenized.append(tokenizing)
                tokenizing = None
            if tokenizing is None and published:
                tokenizing = published.pop(0)
            if held:
                if len(published) < 8:
                    published.append(held.pop(0))
            elif prio and not (published and (len(published) == 8 or len(prio) < most * 8)):
                count = min(8, max(1, len(prio) // most))
                taken, prio = prio[: most * count], prio[most * count :]
                if count > 1:
                    taken.sort(key=lengths.__getitem__)
                held = [taken[at : at + most] for at in range(0, len(taken), most)]
            moved = before != (len(prio), len(held), len(published), len(tokenized), tokenizing is None, free)
    return found


@pytest.mark.parametrize("rate", [0.5, 2.0, 8.0])
@pytest.mark.parametrize(("most", "delay"), [(1, 0.5003), (4, 0.0), (4, 0.7003), (16, 2.0003)])
def test_torchserve_polls_as_its_model_does(rate, most, delay):
    arrivals = traffic(1, rate)
    got = batches(f"torchserve(max_batch={most}, delay_s={delay})", arrivals, seconds=SECONDS, slo_s=1e4)
    assert [size for _, size in got] == [size for _, size in torchserve(arrivals, most, delay)]
    assert [at for at, _ in got] == pytest.approx([at for at, _ in torchserve(arrivals, most, delay)])


def test_a_request_that_waited_for_the_worker_waits_for_the_whole_delay_again():
    arrivals = [0.0, 0.5]
    assert batches("torchserve(max_batch=4, delay_s=1)", arrivals) == [(1.0, 2)]
    assert batches("torchserve(max_batch=4, delay_s=0.2)", arrivals) == [(0.2, 1), (1.4, 1)]
    assert batches("timeout(max_batch=4, timeout_s=0.2)", arrivals) == [(0.2, 1), (1.2, 1)]


@pytest.mark.parametrize("rate", [0.5, 2.0, 8.0])
@pytest.mark.parametrize(("most", "timeout"), [(1, 0.5003), (4, 0.0), (4, 0.7003), (16, 2.0003)])
def test_rayserve_gathers_as_its_queue_does(rate, most, timeout):
    arrivals = traffic(2, rate)
    got = batches(f"rayserve(max_batch={most}, timeout_s={timeout})", arrivals, seconds=SECONDS, slo_s=1e4)
    assert [size for _, size in got] == [size for _, size in rayserve(arrivals, most, timeout)]
    assert [at for at, _ in got] == pytest.approx([at for at, _ in rayserve(arrivals, most, timeout)])


def test_ray_serves_batches_close_while_the_device_is_busy_and_do_not_grow():
    arrivals = [0.0, 0.3, 0.6, 0.9]
    assert batches("rayserve(timeout_s=0.2)", arrivals) == [(0.2, 1), (1.2, 1), (2.2, 1), (3.2, 1)]
    assert batches("torchserve(max_batch=10, delay_s=0.2)", arrivals) == [(0.2, 1), (1.4, 3)]


@pytest.mark.parametrize(("rate", "most"), [(0.5, 4), (4.0, 4), (40.0, 4), (40.0, 2)])
def test_infinity_forms_batches_as_its_threads_do(rate, most):
    arrivals = traffic(3, rate)
    lengths = np.random.default_rng(3).integers(1, 17, len(arrivals))
    report = run(f"infinity(max_batch={most})", arrivals, seconds=SECONDS, slo_s=1e4, lengths=lengths)
    got = [(row[0], sorted(row[5])) for row in report.records.batches]
    expected = infinity(arrivals, lengths.tolist(), most)
    assert [requests for _, requests in got] == [requests for _, requests in expected]
    assert [at for at, _ in got] == pytest.approx([at for at, _ in expected])
    by_length = any(np.diff(requests).max(initial=1) > 1 for _, requests in expected)
    assert by_length or rate < 40


@pytest.mark.parametrize(
    "spec",
    [
        "codel(infinity(max_batch=2), target_s=0.0005, interval_s=0.001)",
        "admission(infinity(ahead=0), max_waiting=5)",
        "codel(rayserve(max_batch=4, timeout_s=0.001), target_s=0.0005, interval_s=0.001)",
        "admission(torchserve(max_batch=4, delay_s=0.001), max_waiting=5)",
    ],
)
def test_they_keep_the_rules_within_policies_that_drop(spec):
    check_policy(spec, seeds=range(2))


@pytest.mark.parametrize("spec", ["torchserve(delay_s=-1)", "rayserve(timeout_s=-1)", "infinity(ahead=-1)"])
def test_values_below_zero_are_refused(spec):
    with pytest.raises(ValueError, match="0 or more"):
        run(spec, [0.0])
    assert make(spec)
