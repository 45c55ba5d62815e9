"""Speed of traces: 10M requests from every generator, a 1-GB CSV file, statistics of 10M requests.

    python benchmarks/traces_speed.py            # all; about two minutes and 1 GB of temporary disk
    python benchmarks/traces_speed.py --requests 1e6 --bytes 1e8

Seconds are CPU seconds of the process (user and system). Each part runs in a process of its own, so that memory can be
told apart: the peak is that of the process, less what it had after its imports.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from traces import GENERATORS, NAMED, Trace, load, write
from traces.statistics import statistics

MILLION = 1_000_000


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    arguments.add_argument("--requests", type=float, default=1e7)
    arguments.add_argument("--bytes", type=float, default=1e9)
    arguments.add_argument("--part", help=argparse.SUPPRESS)
    given = arguments.parse_args()
    if given.part:
        kind, _, rest = given.part.partition(" ")
        {"generate": generate, "read": read, "stats": stats}[kind](rest, int(given.requests))
        return
    sources = [f"{name}:rate={given.requests / 100},duration=100" for name in GENERATORS if name != "fit"]
    # Fitted traffic at its own rate has many more bins per request than scaled up.
    sources += [f"{name}:rate={given.requests / 1000},duration=1000" for name in NAMED]
    sources += [f"{name}:duration={given.requests / load(name).rate}" for name in NAMED]
    for source in sources:
        part(f"generate {source}", given.requests)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "trace.csv"
        big_file(file, given.bytes)
        part(f"read {file}", given.requests)
    part("stats", given.requests)


def part(name: str, requests: float) -> None:
    subprocess.run([sys.executable, __file__, "--requests", str(requests), "--part", name], check=True)


def generate(source: str, requests: int) -> None:
    started = time.process_time()
    trace = load(source)
    seconds = time.process_time() - started
    print(
        f"{source:60s} {len(trace) / MILLION:6.2f} M requests {seconds:6.2f} s  {seconds * 1e7 / len(trace):6.2f} s/10M"
    )


def read(file: str, requests: int) -> None:
    before = peak_bytes()
    started = time.process_time()
    trace = load(file)
    seconds = time.process_time() - started
    size, arrays = Path(file).stat().st_size, trace.arrival_s.nbytes + trace.tokens.nbytes
    print(
        f"read CSV: {size / 1e6:.0f} MB, {len(trace) / MILLION:.1f} M requests, {seconds:.2f} s, "
        f"{size / 1e6 / seconds:.0f} MB/s, peak memory {(peak_bytes() - before) / arrays:.2f} x the arrays"
    )


def stats(_: str, requests: int) -> None:
    trace = load(f"poisson:rate={requests / 1000},duration=1000")
    started = time.process_time()
    statistics(trace)
    print(f"statistics of {len(trace) / MILLION:.1f} M requests: {time.process_time() - started:.2f} s")


def big_file(file: Path, size: float) -> None:
    piece = load("poisson:rate=10000,duration=100")
    write(piece, file)
    copies = max(1, round(size / file.stat().st_size))
    arrivals = np.concatenate([piece.arrival_s + 100 * copy for copy in range(copies)])
    write(Trace(arrivals, np.tile(piece.tokens, copies)), file)


def peak_bytes() -> int:
    # Of this program alone: getrusage would begin with what the process had before it became this program.
    status = Path("/proc/self/status").read_text()
    return 1024 * int(re.search(r"VmHWM:\s+(\d+)", status).group(1))  # type: ignore[union-attr]


if __name__ == "__main__":
    main()
