"""How long a simulation with tenants takes: requests of many tenants, adapters in a tenth of their bytes.

    python benchmarks/tenants_speed.py [--requests N] [--tenants N] [--policies "A;B"]

Modelled: a batch takes 0.35 ms and 28 us per request, an adapter 21.6 us on the link (reference/tenants.md, sections
5.3 and 5.7, for an H200). Poisson arrivals at 20,000 per second, Zipf 0.9. CPU seconds of the simulation alone, without
the making of the trace.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from tempfile import TemporaryDirectory

from tenancy.runs import speed
from tenancy.tables import assumed

POLICIES = "lru(greedy);lfu(greedy);gdsf(greedy);lru(balanced)"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=1_000_000)
    parser.add_argument("--tenants", type=int, default=10_000)
    parser.add_argument("--policies", default=POLICIES, metavar="A;B")
    asked = parser.parse_args()
    with TemporaryDirectory() as folder:
        table = assumed(Path(folder), "h200")
    print(f"about {asked.requests:,} requests, {asked.tenants:,} tenants, a tenth in slots; {table.device}")
    for policy in asked.policies.split(";"):
        found = speed(table, asked.requests, asked.tenants, policy).iloc[0]
        figures = (
            f"hits {found['hit_rate']:.3f}, batches {found['batch_mean']:.1f}, overlap {found['overlap']:.3f}, "
            f"p99 {1e3 * found['p99_s']:.2f} ms"
        )
        print(f"{policy:24} {found['cpu_s']:6.1f} CPU s, {found['wall_s']:6.1f} s; {figures}", flush=True)


if __name__ == "__main__":
    main()
