"""How long the exact optimum and the bound take: CPU seconds on one core, with what they find.

    python benchmarks/optimum_speed.py [--requests 30000]

On the table `synthetic` (four levels) at one length, from light load to overload, at 5 and 20 times the full level's
batch-1 latency; then the bound on mixed lengths, ten levels and several GPUs.
"""

from __future__ import annotations

import argparse
import resource
import time

from analysis.comparisons.optimum import Ceiling, ceiling
from analysis.comparisons.replications import resolved
from simulator.settings import Settings

EXACT = ((0.5, 5), (0.9, 5), (1.5, 5), (0.9, 20), (1.5, 20), (2.5, 20))
BOUNDS = (("synthetic", 0.9, 1), ("synthetic", 1.5, 4), ("h200-modelled", 0.9, 1), ("h200-modelled", 1.5, 8))


def timed(settings: Settings, times_batch_1: float, exact_requests: int) -> tuple[Ceiling, int, float]:
    """The ceiling, how many requests there were, and the CPU seconds it took."""
    whole = resolved(settings)
    predictions = whole.deployment.predictions
    bucket = predictions.plan.buckets(whole.trace.tokens).max()
    slo_s = times_batch_1 * predictions.service[-1][bucket][1]
    start = time.process_time()
    top = ceiling(whole.trace, predictions, slo_s=slo_s, gpus=settings.gpus, exact_requests=exact_requests)
    return top, len(whole.trace), time.process_time() - start


def sized(settings: dict[str, object], requests: int) -> Settings:
    """With the duration that gives about so many requests."""
    rate = resolved(Settings(trace="poisson:duration=0.5", **settings)).settings.rate  # type: ignore[arg-type]
    assert rate is not None
    return Settings(trace=f"poisson:duration={requests / rate:.6g}", **settings)  # type: ignore[arg-type]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=30_000, help="per case (default: 30000)")
    requests = parser.parse_args().requests
    for load, factor in EXACT:
        settings = sized({"table": "synthetic", "load": load, "lengths": "constant:tokens=64"}, requests)
        for most in (10**9, 0):
            top, n, seconds = timed(settings, factor, most)
            print(f"synthetic, 4 levels, load {load}, SLO {factor} x batch 1: {say(top, n, seconds)}", flush=True)
    for table, load, gpus in BOUNDS:
        top, n, seconds = timed(sized({"table": table, "load": load, "gpus": gpus}, requests), 5, 0)
        print(f"{table}, mixed lengths, load {load}, {gpus} GPUs: {say(top, n, seconds)}", flush=True)


def say(top: Ceiling, requests: int, seconds: float) -> str:
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    found = f"{top.kind} {top.accuracy_weighted_goodput:.4f}"
    return f"{found}, {requests:,} requests in {seconds:.1f} CPU s, at most {memory} MiB so far"


if __name__ == "__main__":
    main()
