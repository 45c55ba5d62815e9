"""What the loop costs, the code of another commit against this one, in turn in one run: CPU time per batch.

    python benchmarks/loop_cost.py [--old 3157bd8] [--rounds 7] [--only greedy]

The old code is a git worktree in a temporary folder. Every case is run by child processes in turn, old, new, old, new,
on the same requests; a child warms up, then measures `simulate` several times and keeps the least CPU time, since other
work can only slow it down. Decisions are part of it; `none` decides the least. The ratio is new to old, pair by pair.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
TABLE = "synthetic"
#: What 64 requests of 32 tokens at the highest level let through a second, on this table.
CAPACITY = 12_500.0
#: The policy, requests per second, and how many of them; lengths fall into one bucket, or into three.
CASES = {
    "none, load 0.5, batch 1": ("none", 500.0, 200_000, "one"),
    "greedy, load 0.9": ("greedy", 0.9 * CAPACITY, 1_000_000, "one"),
    "adaptive, load 0.9": ("adaptive", 0.9 * CAPACITY, 100_000, "three"),
    "adaptive, load 1.2": ("adaptive", 1.2 * CAPACITY, 100_000, "three"),
}


def measured(case: str, times: int) -> dict[str, float]:
    """Microseconds of CPU per batch of the code that is imported here, and how many batches there were."""
    import numpy as np

    from simulator import simulate
    from traces import Trace

    policy, rate, requests, lengths = CASES[case]
    rng = np.random.default_rng(1)
    arrivals = rng.exponential(1 / rate, requests).cumsum()
    tokens = np.full(requests, 32) if lengths == "one" else rng.integers(3, 65, requests)
    trace = Trace(arrivals, tokens.astype(np.int32))
    simulate(Trace(arrivals[:5000], trace.tokens[:5000]), policy, TABLE)
    taken = []
    for _ in range(times):
        gc.collect()
        before = time.process_time()
        report = simulate(trace, policy, TABLE)
        taken.append(time.process_time() - before)
    batches = len(report.batches["batch"])
    return {"us": 1e6 * min(taken) / batches, "batches": batches}


def in_child(tree: Path, case: str, times: int) -> dict[str, float]:
    """The same, of the code in this folder."""
    command = [sys.executable, __file__, "--measure", case, "--times", str(times)]
    threads = {f"{library}_NUM_THREADS": "1" for library in ("OMP", "OPENBLAS", "MKL")}
    environment = os.environ | threads | {"PYTHONPATH": str(tree)}
    done = subprocess.run(command, cwd=tree, env=environment, stdout=subprocess.PIPE, text=True, check=True)
    found = json.loads(done.stdout)
    if not Path(found["code"]).is_relative_to(tree):
        raise RuntimeError(f"{found['code']} was measured, not the code in {tree}")
    figures: dict[str, float] = found["figures"]
    return figures


def compare(old: Path, new: Path, rounds: int, times: int, only: str) -> None:
    """Print a line per case: median and least of either side, and the ratios of the pairs."""
    print(
        f"{'us of CPU per batch':26}{'batches':>9}{'old':>9}{'least':>9}{'new':>9}{'least':>9}{'new/old':>9}  of pairs"
    )
    for case in CASES:
        if only not in case:
            continue
        pairs = [(in_child(old, case, times), in_child(new, case, times)) for _ in range(rounds)]
        before, after = ([each["us"] for each in side] for side in zip(*pairs, strict=True))
        ratios = [second / first for first, second in zip(before, after, strict=True)]
        cells = (statistics.median(before), min(before), statistics.median(after), min(after))
        print(
            f"{case:26}{pairs[-1][1]['batches']:9,.0f}"
            + "".join(f"{cell:9.2f}" for cell in cells)
            + f"{statistics.median(ratios):9.3f}  {min(ratios):.3f} to {max(ratios):.3f}",
            flush=True,
        )
        if pairs[-1][0]["batches"] != pairs[-1][1]["batches"]:
            print(f"    the old code makes {pairs[-1][0]['batches']:,} batches: it decides otherwise")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--old", default="3157bd8", metavar="REV", help="commit to compare with (default: 3157bd8)")
    parser.add_argument("--rounds", type=int, default=7, help="pairs of children per case (default: 7)")
    parser.add_argument("--times", type=int, default=3, help="measurements in a child, the least counts (default: 3)")
    parser.add_argument("--only", default="", metavar="SUBSTRING", help="of the case (default: all)")
    parser.add_argument("--measure", metavar="CASE", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.measure:
        import simulator

        figures = measured(arguments.measure, arguments.times)
        print(json.dumps({"code": simulator.__file__, "figures": figures}))
        return
    git = ["git", "-C", str(ROOT), "worktree"]
    with tempfile.TemporaryDirectory() as folder:
        old = Path(folder).resolve() / "old"
        subprocess.run([*git, "add", "--quiet", "--detach", str(old), arguments.old], check=True)
        try:
            compare(old, ROOT, arguments.rounds, arguments.times, arguments.only)
        finally:
            subprocess.run([*git, "remove", "--force", str(old)], check=True)


if __name__ == "__main__":
    main()
