"""--host-time: when the host's time counts, on every command, and what is said and kept of it."""

from __future__ import annotations

import json

import pytest
from written import Command, write_table

from analysis.comparisons.comparison import compare
from analysis.plans.planning import plan
from analysis.sweeps.grid import grid
from analysis.sweeps.sweeping import Laboratory
from profiler.table import LatencyTable
from simulator.reporting.output import read_run
from simulator.settings import Settings, prepare

HOST = {"ingress_s": 2e-4, "ingress_token_s": 1e-6, "egress_s": 1e-4}


@pytest.fixture
def command(tmp_path, capsys):
    return Command(tmp_path, capsys)


@pytest.fixture
def measured(tmp_path):
    """A table with host times, by its path."""
    return write_table(tmp_path / "with-host", host=HOST)


def test_the_host_counts_by_default_where_the_table_has_its_times(command, measured):
    assert command("--reference", "none") == 0
    assert "host" not in read_run(command.out)["settings"]["host_time"].replace("none", "")
    assert "host_busy" not in json.loads((command.out / "summary.json").read_text())
    assert command("--reference", "none", table=measured) == 0
    assert read_run(command.out)["settings"]["host_time"] == "measured"
    assert json.loads((command.out / "summary.json").read_text())["host_busy"] > 0
    assert "host busy" in command.printed
    before = (command.out / "requests.parquet").read_bytes()
    assert command.bare("--rerun", command.out) == 0
    assert (command.out / "requests.parquet").read_bytes() == before
    assert command("--reference", "none", "--host-time", "none", table=measured) == 0
    assert "host_busy" not in json.loads((command.out / "summary.json").read_text())


def test_host_times_that_are_not_valid_are_said_to_be_so(command, tmp_path):
    doubtful = write_table(tmp_path / "doubtful", host={**HOST, "valid": False, "reasons": ["rounds are 9% apart"]})
    assert command("--reference", "none", table=doubtful) == 0
    assert "rounds are 9% apart" in command.printed


def test_a_table_without_host_times_names_the_command_that_measures_them(command):
    assert command("--host-time", "measured") == 2
    assert "profiler host" in command.complained


def test_a_real_device_has_no_host_before_it(measured):
    asked = {"policy": "greedy", "table": str(measured), "trace": "poisson:duration=1", "device": "cpu"}
    assert prepare(Settings(**asked)).settings.host_time == "none"
    with pytest.raises(ValueError, match="--host-time"):
        prepare(Settings(**asked, host_time="measured"))


def test_comparisons_sweeps_and_plans_count_it(measured):
    how = {"table": str(measured), "trace": "poisson:duration=0.5", "load": 0.3, "slo_ms": 50}
    found = compare("greedy;timeout", replications=2, **how)
    without = compare("greedy;timeout", replications=2, host_time="none", **how)
    assert found.settings.host_time == "measured"
    assert (found.standings["p99_s"].to_numpy() > without.standings["p99_s"].to_numpy() + 3e-4).all()
    cells = grid({**how, "policy": "greedy", "host_time": "none;measured"})
    with Laboratory() as opened:
        none, measured_ = opened.rows(cells)
    assert (none["host_time"], measured_["host_time"]) == ("none", "measured")
    assert measured_["p50_s"] > none["p50_s"] + 3e-4


def test_one_host_limits_how_far_gpus_help(measured):
    """The host serves at most 3,300 requests per second, whatever stands behind it."""
    how = {"slo_ms": 50, "tables": str(measured), "policies": "greedy", "seeds": 1, "max_gpus": 3, "simulated": 20_000}
    fast = "poisson:rate=6000,duration=0.3"
    assert not plan(fast, **how).choices
    assert plan(fast, host_time="none", **how).choices


@pytest.mark.parametrize("wrong", [{**HOST, "ingress_s": -1}, {"egress_s": 1e-4}, {**HOST, "tea_s": 1.0}])
def test_metadata_of_a_host_that_cannot_be_is_an_error(tmp_path, wrong):
    with pytest.raises(ValueError, match="host"):
        LatencyTable.load(write_table(tmp_path / "wrong", host=wrong))


def test_host_times_change_the_digest_of_a_table(tmp_path, measured):
    assert LatencyTable.load(measured).digest != LatencyTable.load(write_table(tmp_path / "without")).digest
