"""How good policies are: accuracy-weighted goodput (and attainment, mean students) on traffic from idle to overload.

    python benchmarks/policy_quality.py [--tables cpu-epyc-1thread,h200-modelled] [--policies "greedy;adaptive"]

Loads are shares of what full batches with all students serve; every policy meets the same arrivals and lengths.
"""

from __future__ import annotations

import argparse

from profiler.table import Deployment, shipped
from simulator.defaults import short_text_saturation
from simulator.settings import Settings, prepare

#: Trace and load; durations in SLOs are long enough for some ten thousand requests.
CASES = (("poisson", 0.05), ("poisson", 0.3), ("poisson", 0.75), ("poisson", 1.5), ("mmpp", 0.75), (None, None))


def saturated(name: str) -> float:
    """Requests per second that the table's default model serves with all students."""
    return short_text_saturation(Deployment.of(name).predictions)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tables", default=",".join(shipped()))
    parser.add_argument("--policies", default="greedy;fixed(students=1);adaptive;admission(adaptive)", metavar="A;B")
    parser.add_argument("--requests", type=int, default=20_000, help="per case (default: 20000)")
    arguments = parser.parse_args()
    for table in arguments.tables.split(","):
        inputs = []
        for trace, load in CASES:
            seconds = arguments.requests / (saturated(table) * (load or 1))
            source = trace and f"{trace}:duration={seconds:.6g}"
            inputs.append(prepare(Settings(trace=source, load=load, table=table)))
        names = [f"{trace or 'built-in'} {load or ''}".strip() for trace, load in CASES]
        print(f"{table} on {inputs[0].deployment.table.device}: weighted goodput, attainment, students")
        print(" " * 36 + "".join(f"{name:>24}" for name in names))
        for spec in arguments.policies.split(";"):
            summaries = [each.run(spec).summary for each in inputs]
            cells = [
                [s[name] for name in ("accuracy_weighted_goodput", "attainment", "students_mean")] for s in summaries
            ]
            print(f"{spec:36}" + "".join(f"  {w:8.4f} {on_time:7.4f} {k:5.2f}" for w, on_time, k in cells), flush=True)


if __name__ == "__main__":
    main()
