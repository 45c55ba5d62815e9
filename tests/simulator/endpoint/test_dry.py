"""The endpoint on devices that compute nothing, and what the load generator says of where time went."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("starlette")
pytest.importorskip("httptools")
pytest.importorskip("prometheus_client")
pytest.importorskip("torch")

from serving_doubles import MODEL, running, table

from profiler.table.writing import write_table
from simulator.endpoint.command import parser
from simulator.endpoint.load import send
from simulator.endpoint.opening import opened
from traces import Trace


@pytest.mark.parametrize(("device", "least_s", "most_s"), [("none", 1e-9, 2.0), ("table", 2e-3, 2.0)])
def test_a_dry_device_answers_zeros_when_it_says(tmp_path, device, least_s, most_s):
    """One text takes 2.01 ms by the table, with two students."""
    write_table(tmp_path / "table", table().records(), {"device": "a formula", "kind": "modelled"})
    given = ["--device", device, "--policy", "none", "--table", str(tmp_path / "table"), "--model", MODEL]
    endpoint, served, _ = opened(parser().parse_args(given))
    with running(endpoint) as address:
        trace = Trace(np.arange(5) * 0.02, np.full(5, 7, np.int32))
        sent = send(f"http://127.0.0.1:{address.port}", trace, MODEL)
    served.close()
    assert sent.status.tolist() == [200] * 5
    assert least_s <= np.median(sent.stretches["device"]) <= most_s
    whole = sum(sent.stretches.values())
    assert whole == pytest.approx(sent.latency_s - sent.late_s, abs=1e-5)
    assert all((each >= -1e-5).all() for each in sent.stretches.values())
    assert sent.summary(None)["stretches_mean_s"].keys() == sent.stretches.keys()
