"""A picture of what `adaptive` chooses, by how many wait and how much time the oldest has left.

    python benchmarks/adaptive_map.py [--out docs/images/adaptive.png]

One GPU, requests of one length, the shipped CPU table. No run is needed: it is asked for every state at two arrival
rates, in calm traffic and in a burst.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import matplotlib as mpl

mpl.use("agg")
import numpy as np
from matplotlib import pyplot

from analysis.plots.figures import save
from policies.interface import View
from policies.pruning.adaptive.choices import Choices
from policies.pruning.adaptive.traffic import Traffic
from profiler.table import Deployment
from simulator.defaults import default_slo_s, saturation

TOKENS, LOADS, WAITING, ROWS = 32, (0.3, 1.5), 24, 96


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("docs/images/adaptive.png"))
    out = parser.parse_args().out
    predictions = Deployment.of("cpu-epyc-1thread").predictions
    tokens = np.array([TOKENS], np.int32)
    bucket, slo_s = int(predictions.plan.buckets(tokens)[0]), default_slo_s(predictions, tokens)
    full = saturation(predictions, predictions.plan.buckets(tokens))
    its: dict[str, Any] = {"slo_s": slo_s, "gpus": 1, "service": predictions.service}
    view = cast(View, SimpleNamespace(**its, levels=predictions.levels, plan=predictions.plan))
    counts = [int(each == bucket) for each in range(len(predictions.plan.tokens))]
    figure, axes = pyplot.subplots(1, 2, figsize=(7.2, 3.1), sharey=True, layout="constrained")
    most = max(level.students for level in predictions.levels)
    colours = pyplot.get_cmap("viridis", most)
    for axis, load in zip(axes, LOADS, strict=True):
        choices = Choices(view, predictions.plan.max_batch, view.slo_s)
        choices.learn(counts)
        choices.attend(Traffic.of(load * full * slo_s, 1.0))
        slacks = (np.arange(ROWS) + 0.5) / ROWS * slo_s
        chosen = np.full((ROWS, WAITING), np.nan)
        for row, slack in enumerate(slacks.tolist()):
            for waiting in range(1, WAITING + 1):
                found = choices.best(bucket, waiting, waiting, slack, slack)
                if found.seconds <= slack:
                    chosen[row, waiting - 1] = predictions.levels[found.level].students
        drawn = axis.pcolormesh(
            np.arange(WAITING + 1) + 0.5, np.linspace(0, slo_s * 1e3, ROWS + 1), chosen, cmap=colours,
            vmin=0.5, vmax=most + 0.5,
        )  # fmt: skip
        axis.set_title(f"load {load:g}", fontsize=9)
        axis.set_xlabel("requests that wait")
    axes[0].set_ylabel("time that the oldest has left, ms")
    figure.colorbar(drawn, ax=axes, label="students that answer", ticks=range(1, most + 1))
    save(figure, out)


if __name__ == "__main__":
    main()
