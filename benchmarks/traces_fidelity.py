"""How close fitted traffic comes to its source: the table of docs/traces.md.

    python benchmarks/traces_fidelity.py FILE|SPEC ...     # such as day01.csv.gz azure-code-like

Each source is fitted anew; figures are means over 20 seeds that the fit has not used, fitted over source (for the
autocorrelation: the difference).
"""

from __future__ import annotations

import argparse

import numpy as np
from numpy.typing import NDArray

from traces import load
from traces.processes.fit import fit_counts, sample

SEEDS = range(200, 220)


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    arguments.add_argument("sources", nargs="+")
    print(f"{'source':60s} {'IDC 1 s':>8s} {'10 s':>8s} {'60 s':>8s} {'busiest':>8s} {'lag 1':>8s} {'empty':>8s}")
    for source in arguments.parse_args().sources:
        trace = load(source)
        seconds = int(trace.seconds or 0)
        counts = np.bincount(trace.arrival_s.astype(np.int64), minlength=seconds)[:seconds].astype(np.float64)
        model = fit_counts(counts, 1.0, source)
        wanted = described(counts)
        reached = np.mean([described(sample(model, seed, seconds)) for seed in SEEDS], axis=0)
        figures = [*(reached[:4] / wanted[:4]), *(reached[4:] - wanted[4:])]
        print(f"{source[-60:]:60s} " + " ".join(f"{figure:8.3f}" for figure in figures))


def described(counts: NDArray[np.float64]) -> NDArray[np.float64]:
    """Index of dispersion at 1, 10 and 60 s, busiest over mean, lag-1 autocorrelation, share of empty seconds."""
    summed = [counts[: len(counts) // w * w].reshape(-1, w).sum(axis=1) for w in (1, 10, 60)]
    deviation = counts - counts.mean()
    lag = float((deviation[1:] * deviation[:-1]).mean() / deviation.var())
    dispersion = [float(one.var(ddof=1) / one.mean()) for one in summed]
    return np.array([*dispersion, counts.max() / counts.mean(), lag, (counts == 0).mean()])


if __name__ == "__main__":
    main()
