"""The figure of a study of adapters: tenants in order, and paired differences by table size."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from pandas import DataFrame
from scipy.stats import ttest_rel

from analysis.inputs import read_any
from analysis.plots import PLOTS


def test_the_cost_of_looking_up_is_paired_over_tenants(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    exact = rng.uniform(0.7, 1.0, 12)
    values = {("adapters", "computed"): exact, ("adapters", "100"): exact - rng.uniform(0, 0.2, 12)}
    values |= {("adapters", "1000"): exact - 0.05, ("adapters on look-up", "1000"): (exact - 0.01)[:5]}
    rows = [
        {"tenant": f"t{number}", "trained": trained, "states": states, "accuracy": value}
        for (trained, states), own in values.items()
        for number, value in enumerate(own)
    ]
    DataFrame(rows).to_csv(tmp_path / "accuracy.csv", index=False)
    kind, frame = read_any(tmp_path / "accuracy.csv")
    assert kind == "adapters"
    above, below = PLOTS["adapters"].draw(frame, 85.0).axes
    curves = {line.get_label(): line for line in above.lines}
    assert list(curves["adapters"].get_ydata()) == pytest.approx(100 * np.sort(exact))
    assert len(curves["adapters on look-up"].get_ydata()) == 5
    gaps = {line.get_label(): line for line in below.lines}
    assert list(gaps["_adapters"].get_xdata()) == [100, 1000]
    assert gaps["_adapters"].get_ydata()[1] == pytest.approx(-5)
    assert list(gaps["_adapters on look-up"].get_ydata()) == pytest.approx([-1])
    bar = below.collections[0].get_segments()[0][:, 1]
    ends = ttest_rel(values["adapters", "100"], exact).confidence_interval()
    assert list(bar) == pytest.approx([100 * ends.low, 100 * ends.high])
