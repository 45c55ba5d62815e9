"""The figures of docs/policies.md: accuracy-weighted goodput of every policy in five situations, in per cent.

    python benchmarks/policy_zoo.py [--policies "greedy;nexus"] [--seeds 5]

calm, busy: Poisson at 0.5 and 0.9 of what full batches at the highest level serve. burst: 3,000 a second, 10,000 for
60 ms. All on the table `synthetic`, 128 tokens, 20 ms, one GPU. four: a Markov-modulated load of 0.9 on four GPUs of
`h200-modelled` as of 2026-11-21, lengths of short texts. cpu: Poisson at 0.9 on `cpu-epyc-1thread`, measured, likewise.
All policies meet the same requests; the mean over seeds. The accuracies of all three tables are illustrative.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable

import numpy as np

from policies import POLICIES, RESIDENCY
from simulator import simulate
from simulator.reporting.report import Report
from simulator.settings import Settings, prepare
from traces import Trace

Run = Callable[[str], Report]


def burst(seed: int) -> Trace:
    """The prototype's burst, 290 ms of it."""
    rng = np.random.default_rng(seed)
    pieces = ((0.0, 0.1, 3e3), (0.1, 0.16, 1e4), (0.16, 0.29, 3e3))
    times = np.concatenate([rng.uniform(start, end, rng.poisson(rate * (end - start))) for start, end, rate in pieces])
    return Trace(np.sort(times), np.full(len(times), 128))


def situations(seed: int) -> dict[str, Run]:
    """A function of the policy's spec for each situation."""
    fixed = {"table": "synthetic", "lengths": "constant:128", "slo_ms": 20.0}
    settings = {
        "calm": Settings(trace="poisson:duration=2", load=0.5, seed=seed, **fixed),
        "busy": Settings(trace="poisson:duration=2", load=0.9, seed=seed, **fixed),
        "four": Settings(
            trace="mmpp:duration=0.1", load=0.9, seed=seed, table="tests/data/tables/h200-modelled", gpus=4
        ),
        "cpu": Settings(
            trace="poisson:duration=200", load=0.9, seed=seed, table="cpu-epyc-1thread", task="illustrative"
        ),
    }
    runs: dict[str, Run] = {name: prepare(each).run for name, each in settings.items()}
    trace = burst(seed)
    runs["burst"] = lambda spec: simulate(trace, spec, "synthetic", slo_s=0.02)
    return runs


def worth(run: Run, spec: str, refused: set[str]) -> float:
    """NaN where the policy refuses the situation, as the exact optimum refuses lengths and several GPUs."""
    try:
        value = run(spec).summary["accuracy_weighted_goodput"]
    except (ValueError, LookupError) as error:
        refused.add(f"{spec}: {error}")
        return float("nan")
    return 100 * float(value)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--policies", metavar="A;B", help="default: all; wrappers around greedy")
    parser.add_argument("--seeds", type=int, default=5)
    arguments = parser.parse_args()
    wraps = {name for name, cls in POLICIES.items() if "inner" in getattr(cls, "__dataclass_fields__", {})}
    specs = arguments.policies.split(";") if arguments.policies else None
    specs = specs or [f"{name}(greedy)" if name in wraps else name for name in POLICIES if name not in RESIDENCY]
    seeds = [situations(seed) for seed in range(arguments.seeds)]
    names = ("calm", "busy", "burst", "four", "cpu")
    print("| policy | " + " | ".join(names) + " |\n" + "|---" * (1 + len(names)) + "|")
    refused: set[str] = set()
    for spec in specs:
        means = [np.mean([worth(runs[name], spec, refused) for runs in seeds]) for name in names]
        print(f"| `{spec}` | " + " | ".join("" if mean != mean else f"{mean:.1f}" for mean in means) + " |", flush=True)
    print("\n".join(sorted(refused)), file=sys.stderr)


if __name__ == "__main__":
    main()
