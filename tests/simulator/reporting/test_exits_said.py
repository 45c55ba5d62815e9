"""What a run with early exits says where no model has any."""

import numpy as np

from simulator import simulate
from simulator.conformance.cases import formula
from simulator.reporting.printing import exits
from traces import Trace


def test_a_table_without_layers_is_named():
    small, table = Trace(np.arange(3.0), np.full(3, 9, np.int32)), formula([1], [1, 4], [16, 64])
    report = simulate(small, "static(greedy)", table, slo_s=1.0)
    assert report.run["exits"] is False
    assert "formula has no layers.csv" in exits(report)
    plain = simulate(small, "greedy", table, slo_s=1.0)
    assert "exits" not in plain.run
    assert exits(plain) == ""
