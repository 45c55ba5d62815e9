"""The loop against an independent plain-Python implementation of DESIGN's reference semantics, bit for bit."""

from __future__ import annotations

import math
from bisect import bisect_left

import numpy as np
import pytest
from conftest import formula_table

from simulator import simulate
from simulator.conformance.cases import packed_formula
from traces import Trace


def oracle(arrivals, tokens, table, policy, gpus, largest=None, timeout_s=0.002, packed=False):
    """Start, finish and GPU of every request. Written from the text of DESIGN section 5, not from the code."""
    columns = table.columns
    top = max(columns["students"])
    cost = {
        (b, t): us * 1e-6
        for k, b, t, us in zip(
            *(columns[n].tolist() for n in ("students", "batch", "tokens", "latency_us")), strict=True
        )
        if k == top
    }
    batches, lengths = sorted({b for b, _ in cost}), sorted({t for _, t in cost})
    largest = {"none": 1}.get(policy, largest or batches[-1])
    free, n, head, now = [0.0] * gpus, len(arrivals), 0, 0.0
    start, finish, gpu_of = [0.0] * n, [0.0] * n, [0] * n
    while head < n:
        now = max(now, arrivals[head], min(free))  # one request waits and one GPU is idle
        idle = [gpu for gpu in range(gpus) if free[gpu] <= now]
        if not idle:
            now = min(free)
            continue
        waiting = sum(1 for a in arrivals[head:] if a <= now)
        if policy == "timeout" and waiting < largest and now < arrivals[head] + timeout_s:
            full = arrivals[head + largest - 1] if head + largest <= n else math.inf
            now = min(full, arrivals[head] + timeout_s)
            waiting = sum(1 for a in arrivals[head:] if a <= now)
            idle = [gpu for gpu in range(gpus) if free[gpu] <= now]
        size = min(waiting, largest)
        own, batch = tokens[head : head + size], batches[bisect_left(batches, size)]
        asked = max(own)
        if packed:  # the mean length, rounded up, for each; at least two tokens per place
            asked = max(size * math.ceil(sum(own) / size), 2 * batch)
        seconds = cost[batch, lengths[bisect_left(lengths, asked)]]
        for request in range(head, head + size):
            start[request], finish[request], gpu_of[request] = now, now + seconds, idle[0]
        free[idle[0]] = now + seconds
        head += size
    return start, finish, gpu_of


@pytest.mark.parametrize("policy", ["none", "greedy", "timeout"])
@pytest.mark.parametrize("gpus", [1, 2, 3, 4])
def test_reference_policies_equal_the_oracle_bit_for_bit(policy, gpus):
    for seed in range(12):
        rng = np.random.default_rng([seed, gpus])
        n, packed = int(rng.integers(1, 160)), seed % 3 == 2
        noise = rng.uniform(0.5, 1.5, 1000)
        table = formula_table(
            lambda k, b, t, noise=noise: (300 + 40 * b + 2.5 * b * t) * noise[(k * 97 + b * 13 + t) % 1000],
            students=(1, 3),
            batches=sorted({1, *rng.integers(1, 40, 4).tolist()}),
            tokens=sorted({64, *rng.integers(1, 64, 3).tolist()}),
        )
        if packed:
            most = int(rng.integers(16, 41))
            sizes, totals = sorted({1, *rng.integers(2, 16, 2).tolist(), most}), rng.integers(1, 64 * most, 9).tolist()
            table = packed_formula((1, 3), sizes, sorted({*totals, 64 * most}))
        scale = rng.choice([1e-4, 6e-4, 3e-3])
        arrivals = np.round(rng.exponential(scale, n).cumsum(), int(rng.choice([3, 9])))  # ties, and none
        trace = Trace(arrivals, rng.integers(1, 65, n).astype(np.int32))
        largest = min(table.plan("students-2x8").max_batch, int(rng.integers(1, 20)))
        spec = {"none": "none", "greedy": f"greedy(max_batch={largest})"}.get(policy, f"timeout(max_batch={largest})")
        report = simulate(trace, spec, table, gpus=gpus, slo_s=1.0)
        start, finish, gpu = oracle(
            arrivals.tolist(), trace.tokens.tolist(), table, policy, gpus, largest, packed=packed
        )
        assert report.requests["start_s"].tolist() == start, (policy, gpus, seed)
        assert report.requests["finish_s"].tolist() == finish, (policy, gpus, seed)
        assert report.requests["gpu"].tolist() == gpu, (policy, gpus, seed)
