"""How long a policy takes to decide: decisions per second, the median and the largest, by how many requests wait.

    OPENBLAS_NUM_THREADS=1 python benchmarks/policy_decisions.py [--policies "adaptive;router(greedy)"]
        [--queues 10,1000,10000]

As many requests as named wait at the start, of the built-in mix of lengths and of three classes; then as many arrive as
full batches serve. Every call of `decide` is timed, in CPU time of this thread, for all policies alike on the same
requests; the SLO is what the queue takes to serve, twice. The first decision, which meets the whole queue at once, and
planning in `start` are not timed; what a policy plans within `decide`, now and then, shows in the largest. The garbage
collector is off, as in live runs. The last column is a normal run, Poisson at load 0.9 with the default target: CPU
time per batch, of the simulator and all decisions, planning included. Exit status 1 where a policy that does not need
the future decides slower than 100 us at the longest queue, in the median.
"""

from __future__ import annotations

import argparse
import gc
import sys
import time
from dataclasses import fields
from typing import Any

import numpy as np

from policies import POLICIES, make, needs
from profiler.table import Deployment, LatencyTable
from simulator import simulate
from simulator.defaults import short_text_saturation
from traces import Trace
from traces.lengths import SHORT_TEXT

LIMIT_US = 100
CLASSES = ("gold", "silver", "bronze")
#: What is measured of a policy whose default exercises nothing, and the GPUs of those that are for more than one.
SPECS = {
    "strict": f"strict(greedy, classes={CLASSES})",
    "weighted": f"weighted(greedy, classes={CLASSES})",
}
GPUS = {"router": 4, "autoscale": 4, "hpa": 4, "tail": 4, "shepherd": 4}


class Enough(BaseException):
    """Ends a run once enough decisions were timed; no policy's error, so the loop lets it pass."""


class Timed:
    """A policy whose decisions are timed, in nanoseconds."""

    def __init__(self, spec: str, decisions: int) -> None:
        self._policy, self._decisions = make(spec), decisions
        self.needs, self.taken = needs(self._policy), list[int]()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._policy, name)

    def __deepcopy__(self, memo: dict[int, Any]) -> Timed:
        return self

    def decide(self, view: Any) -> Any:
        if len(self.taken) >= self._decisions:
            raise Enough
        before = time.thread_time_ns()
        action = self._policy.decide(view)
        self.taken.append(time.thread_time_ns() - before)
        return action


def traffic(table: LatencyTable, gpus: int, waiting: int, more: int, load: float) -> tuple[Trace, float]:
    """Requests that wait at the start, then more at this load; and the rate of the latter."""
    predictions = Deployment.of(table).predictions
    rate, rng = load * gpus * short_text_saturation(predictions), np.random.default_rng(0)
    arrivals = np.concatenate([np.zeros(waiting), rng.exponential(1 / rate, more).cumsum()])
    tokens = rng.choice(SHORT_TEXT.values.clip(max=predictions.plan.max_tokens), waiting + more)
    return Trace(arrivals, tokens, klass=rng.choice(CLASSES, waiting + more)), rate


def measured(spec: str, table: LatencyTable, queue: int, decisions: int) -> np.ndarray:
    """Microseconds per decision with about so many requests waiting."""
    gpus = GPUS.get(spec.split("(")[0], 1)
    more = decisions * table.plan(table.default_model()).max_batch
    trace, rate = traffic(table, gpus, queue, more, load=1.0)
    timed = Timed(spec, decisions)
    gc.collect()
    gc.disable()
    try:
        simulate(trace, timed, table, gpus=gpus, slo_s=2 * max(queue, 100) / rate)
    except Enough:
        pass
    finally:
        gc.enable()
    return np.array(timed.taken[1:]) / 1e3


def per_batch(spec: str, table: LatencyTable, requests: int) -> float:
    """Microseconds of CPU per batch of a whole run at load 0.9."""
    gpus = GPUS.get(spec.split("(")[0], 1)
    trace, _ = traffic(table, gpus, 0, requests, load=0.9)
    before = time.process_time()
    report = simulate(trace, spec, table, gpus=gpus)
    return 1e6 * (time.process_time() - before) / len(report.records.batches)


def specs() -> list[str]:
    """Every policy that needs no future, with its defaults; wrappers around greedy."""
    found = []
    for name, cls in POLICIES.items():
        spec = f"{name}(greedy)" if any(each.name == "inner" for each in fields(cls)) else name
        if not needs(make(spec)) & {"future", "memory"}:
            found.append(SPECS.get(name, spec))
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--policies", metavar="A;B", help="default: all, wrappers around greedy")
    parser.add_argument("--queues", default="10,1000,10000", help="how many requests wait (default: 10,1000,10000)")
    parser.add_argument("--decisions", type=int, default=300, help="timed per policy and queue (default: 300)")
    parser.add_argument("--requests", type=int, default=20_000, help="of the run at load 0.9 (default: 20000)")
    parser.add_argument("--table", default="h200-modelled")
    arguments = parser.parse_args()
    table, queues = LatencyTable.load(arguments.table), [int(each) for each in arguments.queues.split(",")]
    print(f"{table.name}; per queue: decisions per second, median and largest in us of CPU; us per batch at load 0.9")
    print(f"{'waiting':36}" + "".join(f"{queue:>30,}" for queue in queues) + f"{'at 0.9':>10}")
    slow = []
    for spec in arguments.policies.split(";") if arguments.policies else specs():
        cells = [measured(spec, table, queue, arguments.decisions) for queue in queues]
        text = [f"{1e6 / us.mean():>12,.0f} {np.median(us):>8.1f} {us.max():>8.0f}" for us in cells]
        print(f"{spec.replace(str(CLASSES), '...'):36}" + "".join(text), end="", flush=True)
        print(f"{per_batch(spec, table, arguments.requests):10.0f}", flush=True)
        if np.median(cells[-1]) > LIMIT_US:
            slow.append(spec)
    print(f"slower than {LIMIT_US} us at {queues[-1]:,}: {', '.join(slow) or 'none'}")
    return 1 if slow else 0


if __name__ == "__main__":
    sys.exit(main())
