"""The rules of the batching policies, on devices that take whole seconds."""

from __future__ import annotations

import numpy as np
import pytest
from conftest import formula_table

from simulator import simulate
from traces import Trace

BATCHES = (1, 2, 4, 8, 16)


def run(spec, arrivals, *, seconds=lambda k, b, t: 1.0, gpus=1, slo_s=100.0, students=(1, 2), batches=BATCHES):
    """A report of these arrivals, all of one length."""
    table = formula_table(lambda *key: 1e6 * seconds(*key), students=students, batches=batches)
    return simulate(Trace(np.array(arrivals, float), np.full(len(arrivals), 9)), spec, table, gpus=gpus, slo_s=slo_s)


def batches(*arguments, **named):
    """(start, size) of every batch."""
    columns = run(*arguments, **named).batches
    return list(zip(columns["start_s"].tolist(), columns["size"].tolist(), strict=True))


def test_none_serves_one_at_a_time():
    assert batches("none", [0, 0, 0.5]) == [(0, 1), (1, 1), (2, 1)]


def test_greedy_takes_all_that_wait_up_to_its_limit():
    assert batches("greedy", [0, *[0.5] * 17]) == [(0, 1), (1, 16), (2, 1)]
    assert batches("greedy(max_batch=3)", [0, *[0.5] * 4]) == [(0, 1), (1, 3), (2, 1)]


def test_what_arrives_as_a_batch_ends_is_in_the_next_one():
    assert batches("greedy", [0, 0.5, 1.0, np.nextafter(1.0, 2)]) == [(0, 1), (1, 2), (2, 1)]


def test_reference_policies_use_the_highest_level():
    for spec in ("none", "greedy", "timeout", "triton", "aimd", "fixed"):
        assert set(run(spec, [0, 0.1, 5]).batches["students"]) == {2}, spec


def test_timeout_sends_a_full_batch_at_once_and_others_when_the_oldest_has_waited():
    full = "timeout(max_batch=2, timeout_s=0.25)"
    assert batches(full, [0, 0.125]) == [(0.125, 2)]
    assert batches(full, [0, 0.5]) == [(0.25, 1), (1.25, 1)]
    assert batches(full, [0, 0.25]) == [(0.25, 2)]
    assert batches("timeout(max_batch=4, timeout_s=0)", [0, 0]) == [(0, 2)]


def test_timeout_rings_at_its_own_alarm_whatever_the_rounding():
    rng = np.random.default_rng(0)
    arrivals = rng.uniform(0, 1e6, 500).cumsum()
    got = batches("timeout(max_batch=4, timeout_s=0.3)", arrivals, seconds=lambda *_: 1e-3)
    assert got == [(float(arrival) + 0.3, 1) for arrival in arrivals]


def test_timeout_of_a_busy_gpu_has_passed_when_it_is_free():
    assert batches("timeout(max_batch=8, timeout_s=0.25)", [0, 0.5, 0.875]) == [(0.25, 1), (1.25, 2)]


def test_triton_with_preferred_4_and_8_and_7_waiting_sends_4():
    assert batches("triton(preferred=(4, 8))", [0, *[0.5] * 7]) == [(0, 1), (1, 4), (2, 3)]


def test_triton_sends_the_largest_preferred_size_that_waits():
    assert batches("triton(preferred=(4, 8))", [0, *[0.5] * 9]) == [(0, 1), (1, 8), (2, 1)]


def test_triton_sends_all_once_the_delay_has_passed():
    arrivals = [0, *[0.5] * 7]
    assert batches("triton(preferred=(4, 8), delay_s=0.25)", arrivals) == [(0.25, 1), (1.25, 7)]
    assert batches("triton(preferred=(4, 8), delay_s=1)", arrivals) == [(0.5, 8)]


def test_triton_waits_for_the_next_preferred_size_or_the_delay():
    spec = "triton(preferred=(2, 4), delay_s=0.5)"
    assert batches(spec, [0, 0.25]) == [(0.25, 2)]
    assert batches(spec, [0, 2]) == [(0.5, 1), (2.5, 1)]
    # 2 of 3 are sent at once; the third waits its own delay out, though the GPU is free at 1.
    assert batches(spec, [0, 0, 0, 0.75]) == [(0, 2), (1, 2)]


def test_triton_without_preferred_sizes_fills_the_largest_batch():
    assert batches("triton(max_batch=4, delay_s=0.5)", [0, 0, 0.25, 0.25, 0.25]) == [(0.25, 4), (1.25, 1)]
    assert batches("triton", [0, 0, 0.5]) == [(0, 2), (1, 1)]


def test_fixed_keeps_to_its_number_of_students():
    report = run("fixed(students=1)", [0, 0.5], seconds=lambda k, b, t: k)
    assert report.batches["students"].tolist() == [1, 1]
    assert report.batches["service_s"].tolist() == [1, 1]


def test_aimd_grows_by_its_step_while_full_batches_meet_the_target():
    sizes = [size for _, size in batches("aimd(target_s=1, step=2)", [0.0] * 36)]
    assert sizes == [1, 3, 5, 7, 9, 11]


def test_aimd_grows_only_on_full_batches_and_not_beyond_the_table():
    assert batches("aimd(target_s=1)", [0, 5, 10, 10, 10]) == [(0, 1), (5, 1), (10, 2), (11, 1)]
    assert max(size for _, size in batches("aimd(target_s=1, step=9)", [0.0] * 99)) == 16


def test_aimd_backs_off_when_a_batch_misses_the_target():
    sizes = [
        size for _, size in batches("aimd(target_s=4, step=1, backoff=0.5)", [0.0] * 38, seconds=lambda k, b, t: b)
    ]
    # 5 requests run at batch 8, over the target: half of 5 is 2, and up again.
    assert sizes == [1, 2, 3, 4, 5, 2, 3, 4, 5, 2, 3, 4]
    assert sum(sizes) == 38


def test_aimd_aims_at_half_the_slo():
    assert max(size for _, size in batches("aimd", [0.0] * 40, seconds=lambda k, b, t: b, slo_s=8.0)) == 5


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("greedy(max_batch=17)", "max_batch is 17.* 1 to 16"),
        ("timeout(max_batch=0)", "max_batch is 0"),
        ("timeout(timeout_s=-1)", "timeout_s is -1"),
        ("triton(preferred=(0, 4))", r"preferred is \(0, 4\)"),
        ("triton(preferred=(4, 32))", r"preferred is \(4, 32\).*16"),
        ("triton(delay_s=-1)", "delay_s is -1"),
        ("aimd(backoff=1.0)", "aimd"),
        ("aimd(step=0)", "aimd"),
        ("aimd(target_s=0)", "aimd"),
        ("fixed(students=3)", "students is 3.*students-2x8/1, students-2x8/2"),
        ("admission(greedy, max_waiting=0)", "max_waiting is 0"),
        ("admission(greedy(max_batch=99))", "max_batch is 99"),
        ("adaptive(max_batch=99)", "max_batch is 99"),
        ("adaptive(window=0)", "adaptive"),
    ],
)
def test_parameters_out_of_range_are_errors_that_name_the_range(spec, message):
    with pytest.raises(ValueError, match=message):
        run(spec, [0])
