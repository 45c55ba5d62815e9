"""How honest the intervals of a plan's windows are: how often they hold what the full run says.

Four kinds of traffic of some 100,000 requests, at several rates, each simulated in full and by its windows, drawn anew
each time. An interval of 95 % should hold the full run in 95 of 100 draws. Draws in deep overload have none: how far
their estimates are off shows why.

    python benchmarks/plan_coverage.py [--draws 20] [--seed 7] [--policy greedy]
"""

from __future__ import annotations

import argparse
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from analysis.comparisons.statistics import Interval
from analysis.plans.sampling import DEEP_OVERLOAD, estimate, windows
from analysis.sweeps.sweeping import Laboratory
from simulator import simulate
from simulator.settings import Settings
from traces import Trace, load, scale

#: 10 ms and half a millisecond per request, up to 16: 889 requests/s.
ROWS = [f"teacher-2x8,1,2,8,{batch},512,{10_000 + 500 * batch}" for batch in range(1, 17)]
SLO_S, SIMULATED = 0.06, 30_000
KINDS = {
    "mmpp, seconds": "mmpp:rate=440,duration=240,levels=1/2.2,stays=20/1",
    "mmpp, short": "mmpp:rate=440,duration=240,levels=1/3,stays=10/0.5",
    "diurnal": "diurnal:rate=440,duration=240,period=240",
    "gamma, cv 4": "gamma:rate=440,duration=240,cv=4",
}
FACTORS = (0.8, 0.9, 1.0, 1.1, 1.2, 1.3, 1.6, 2.0)
#: Of the estimates, since the reader of a plan knows nothing else.
BANDS = ((0.99, 1.01), (0.95, 0.99), (0.9, 0.95), (DEEP_OVERLOAD, 0.9), (0.7, DEEP_OVERLOAD), (0.0, 0.7))


def draw(opened: Laboratory, trace: Trace, policy: str, table: Path, seed: int, folder: Path) -> Interval:
    """The share on time by the windows that this seed chooses."""
    sample = windows(trace, SIMULATED, SLO_S, seed, folder)
    assert sample is not None, "long enough to be cut"
    assert sample.sampled, "and windows cost less than all of it"
    cells = [
        Settings(policy=policy, table=str(table), trace=each.file, slo_ms=1e3 * SLO_S, seed=each.seed)
        for each in sample.stretches
    ]
    return estimate(sample, opened.rows(cells, [each.since_s for each in sample.stretches]))


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--draws", type=int, default=20, help="of each trace (default: 20)")
    parser.add_argument("--seed", type=int, default=7, help="of the traces (default: 7)")
    parser.add_argument("--policy", default="greedy")
    options = parser.parse_args()
    found: dict[tuple[float, float], list[tuple[float, Interval]]] = {band: [] for band in BANDS}
    print("traffic        factor  in full   mean of draws  holds  without")
    with TemporaryDirectory() as scratch, Laboratory() as opened:
        table = Path(scratch) / "slow.csv"
        table.write_text("\n".join(["model,students,depth,hidden,batch,tokens,latency_us", *ROWS]))
        for kind, spec in KINDS.items():
            base = load(spec, seed=options.seed)
            assert base.rate is not None
            for factor in FACTORS:
                trace = base if factor == 1 else scale(base, factor * base.rate, seed=0)
                full = simulate(trace, options.policy, table, slo_s=SLO_S).summary["attainment"]
                if full == 1:
                    continue
                drawn = [
                    draw(opened, trace, options.policy, table, seed, Path(scratch)) for seed in range(options.draws)
                ]
                for each in drawn:
                    next(own for (low, high), own in found.items() if low <= each.mean < high).append((full, each))
                print(f"{kind:14} {factor:6} {full:8.2%} {np.mean([each.mean for each in drawn]):15.2%} "
                      f"{sum(_holds(full, each) for each in drawn):3} of {len(drawn)} "
                      f"{sum(each.low is None for each in drawn):5}", flush=True)  # fmt: skip
    print("\non time by the estimate  draws  interval holds the full run  width  mean error  greatest error")
    for (low, high), own in found.items():
        if own:
            holds = np.mean([_holds(full, each) for full, each in own])
            widths = [each.high - each.low for _, each in own if each.high is not None and each.low is not None]
            errors = [each.mean - full for full, each in own]
            interval = f"{holds:27.0%} {np.mean(widths):6.3f}" if widths else f"{'none given':>27} {'-':>6}"
            print(f"{low:6.0%} to {min(high, 1):4.0%} {len(own):15} {interval} {np.mean(errors):+11.3f} "
                  f"{max(errors, key=abs):+15.3f}")  # fmt: skip


def _holds(full: float, each: Interval) -> bool:
    return each.low is not None and each.high is not None and each.low <= full <= each.high


if __name__ == "__main__":
    main()
