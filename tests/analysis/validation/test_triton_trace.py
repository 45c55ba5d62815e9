"""What Triton traced against its twin: a trace made by the twin itself meets every bound, a slower server does not."""

from __future__ import annotations

import json

import numpy as np
import pytest
from conftest import formula_table

from analysis.__main__ import main
from analysis.validation.triton_trace import MOMENTS, read
from profiler.table.writing import write_table
from simulator import simulate
from traces import Trace

POLICY = "triton(max_batch=4, delay_s=0.001)"


def traced(path, times):
    """A trace as Triton writes it: a line for the model, then timestamps in pieces; ns of an epoch of its own."""
    listed = [{"id": 5000, "parent_id": 1, "model_name": "part", "timestamps": [{"name": MOMENTS[0], "ns": 5}]}, "odd"]
    for number, row in enumerate(times.tolist(), 1):
        stamps = [{"name": name, "ns": 10**15 + round(at * 1e9)} for name, at in zip(MOMENTS, row, strict=True)]
        listed.append({"id": number, "model_name": "bert", "model_version": 1, "timestamps": stamps[:2]})
        listed.append({"id": number, "timestamps": stamps[2:]})
    path.write_text(json.dumps(listed))
    return path


@pytest.fixture
def table(tmp_path):
    made = formula_table(lambda k, b, t: 800.0 + 200 * b, batches=(1, 2, 4), tokens=(16,))
    write_table(tmp_path / "table", made.records(), {"device": "a formula", "kind": "modelled"})
    return tmp_path / "table"


@pytest.fixture
def times(table):
    """The moments of 2,000 requests of a Triton that is its twin; reading and writing take it no time."""
    arrival_s = np.random.default_rng(0).exponential(1e-3, 2000).cumsum()
    found = simulate(Trace(arrival_s, np.full(2000, 9, np.int32)), POLICY, table, slo_s=0.01).times
    return np.column_stack([arrival_s, arrival_s, found["start_s"], found["finish_s"], found["finish_s"]])


def command(path, table, *more):
    asked = ["validate", "--triton", str(path), "--table", str(table), "--policy", POLICY, "--slo-ms", "10"]
    return main([*asked, "--lengths", "constant:tokens=9", *more])


def test_a_server_that_is_its_twin_meets_every_bound(table, times, tmp_path, capsys):
    assert command(traced(tmp_path / "t.json", times), table, "--out", str(tmp_path / "out")) == 0
    found = json.loads((tmp_path / "out" / "triton.json").read_text())
    assert found["requests"] == 2000
    for name in ("p50_s", "p99_s", "attainment"):
        assert found["twin"][name] == pytest.approx(found["happened"][name], rel=1e-4)
    assert found["stretches"]["ingress"] == found["stretches"]["egress"] == 0
    assert found["stretches"]["queue"] == pytest.approx(found["twin_wait_s"], rel=1e-4)
    assert "missed" not in capsys.readouterr().out


def test_a_server_that_takes_longer_than_its_table_misses(table, times, tmp_path, capsys):
    times[:, 3:] += 0.001
    assert command(traced(tmp_path / "t.json", times), table) == 1
    assert "missed" in capsys.readouterr().out


def test_broken_requests_are_left_out_and_none_at_all_is_an_error(table, times, tmp_path, capsys):
    times[3] = times[3][::-1]
    assert len(read(traced(tmp_path / "t.json", times))) == 1999
    (tmp_path / "none.json").write_text('[{"id": 1, "timestamps": [{"name": "REQUEST_START", "ns": 1}]}]')
    assert command(tmp_path / "none.json", table) == 2
    assert "TIMESTAMPS" in capsys.readouterr().err
    assert main(["validate", "--triton", str(tmp_path / "t.json")]) == 2
    assert "--table" in capsys.readouterr().err
