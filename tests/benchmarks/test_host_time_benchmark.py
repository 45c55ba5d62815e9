"""benchmarks/host_time.py on known costs: it predicts a closed form, and says where times differ."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from conftest import formula_table
from host_time import compared, predicted_rate

from profiler.table import HostTimes
from simulator import simulate
from simulator.reporting.boundaries import BOUNDARIES, boundaries
from traces import Trace

HOST = {"ingress_s": 2e-4, "egress_s": 1e-4, "ingress_token_s": 1e-6}


def table(microseconds):
    made = formula_table(lambda k, b, t: microseconds, batches=(1, 4, 16), tokens=(64,))
    return replace(made, meta={**made.meta, "host": HOST})


def test_saturation_is_that_of_the_host_or_of_the_device_whichever_is_less():
    lengths = np.full(8, 20, np.int32)
    host = HostTimes(**HOST).rate(20, 1)
    assert predicted_rate(table(300.0), "students-2x8", lengths, 2.0) == pytest.approx(host, rel=0.01)
    assert predicted_rate(table(16e3), "students-2x8", lengths, 2.0) == pytest.approx(1000, rel=0.01)


def test_equal_times_have_no_error_and_a_slower_egress_has_its_own():
    report = simulate(
        Trace(np.arange(50) * 0.01, np.full(50, 16)), "greedy", table(500.0), slo_s=1.0, host_time="measured"
    )
    found = boundaries(report.trace.arrival_s, report.times)
    assert "-" not in compared(found, found)
    slower = {**found, "egress": found["egress"] + 1e-3}
    rows = {line.split()[0]: line for line in compared(slower, found).splitlines()[1:] if line.split()[0] in BOUNDARIES}
    assert set(rows) == set(BOUNDARIES)
    assert "-" in rows["egress"]
    assert "-" not in rows["device"]
