"""The grid of a sweep: what the axes may be, and what is refused."""

from __future__ import annotations

import re

import numpy as np
import pytest

from analysis.sweeps.grid import axis, grid, read_toml


def test_the_grid_is_the_product_of_its_axes_with_the_seed_fastest():
    cells = grid({"policy": "greedy;timeout(max_batch=8)", "load": "0.3,0.6", "seeds": "0-2", "slo_ms": 20})
    assert len(cells) == 12
    assert [(each.policy, each.load, each.seed) for each in cells[:4]] == [
        ("greedy", 0.3, 0), ("greedy", 0.3, 1), ("greedy", 0.3, 2), ("greedy", 0.6, 0)]  # fmt: skip
    assert {each.slo_ms for each in cells} == {20.0}


def test_values_text_and_arrays_mean_the_same_cells():
    assert grid({"load": "0.1:0.3:0.1", "seed": "0,1"}) == grid({"load": [0.1, 0.2, 0.3], "seed": np.arange(2)})
    assert axis("load", "0.1:1.2:0.1")[-1] == 1.2


def test_a_cell_that_is_named_twice_is_there_once():
    assert len(grid({"policy": "greedy;greedy", "seed": [0, 0]})) == 1


def test_parameters_go_to_the_policies_that_have_them():
    policies = [each.policy for each in grid({"policy": "greedy;timeout"}, {"timeout_s": "0.001,0.005"})]
    assert policies == ["greedy", "timeout(timeout_s=0.001)", "timeout(timeout_s=0.005)"]


@pytest.mark.parametrize(
    ("axes", "message"),
    [
        ({"lode": 0.5}, "lode.*table"),
        ({"load": []}, "load.*no values"),
        ({"load": " , "}, "load.*no values"),
        ({"load": "fast"}, "load is 'fast'.*number"),
        ({"load": "inf"}, "load is 'inf'.*number"),
        ({"load": "0.9:0.1:0.1"}, "0.9:0.1:0.1"),
        ({"gpus": 1.5}, r"gpus is 1\.5.*whole"),
        ({"gpus": True}, "gpus is True"),
        ({"policy": "greedy,adaptive"}, "semicolons"),
        ({"policy": "greasy"}, "greasy"),
        ({"load": 0.5, "rate": 100}, "rate and load"),
        ({"seed": "0-999999", "load": "0.1:0.9:0.1"}, "1,000,000"),
        ({"seed": "0-99999999999"}, r"seed: '0-99999999999'.*1e\+11.*1,000,000"),
        ({"load": "0.1:1:1e-12"}, r"9e\+11 values"),
        ({"load": [0.5, -0.5]}, r"load is -0\.5"),
        ({"slo_ms": 0}, "slo_ms is 0"),
        ({"gpus": "0-2"}, "gpus is 0"),
        ({"seed": -1}, "seed is -1"),
        ({"seed": {"first": 1}}, "seed is .*first"),
        ({"trace": {"path": "t.csv"}}, "trace is .*path"),
        ({"seed": "0", "seeds": "1"}, "seed is given twice"),
    ],
)
def test_an_axis_that_makes_no_sense_is_one_clear_line(axes, message):
    with pytest.raises((ValueError, LookupError)) as caught:
        grid(axes)
    assert re.search(message, caught.value.args[0])
    assert "\n" not in caught.value.args[0]


@pytest.mark.parametrize("values", [[], "", " , ", {"x": 1}, [[1]], [True], [None, "two"]])
def test_values_of_a_parameter_that_are_none_are_refused(values):
    with pytest.raises(ValueError, match="max_batch"):
        grid({"policy": "greedy"}, {"max_batch": values})


def test_a_parameter_that_no_policy_has_is_refused():
    with pytest.raises(ValueError, match=r"greedy.*timeout_s"):
        grid({"policy": "greedy"}, {"timeout_s": 0.1})


def test_a_file_gives_the_axes_and_bad_toml_is_one_line(tmp_path):
    good, bad = tmp_path / "good.toml", tmp_path / "bad.toml"
    good.write_text('policy = ["greedy", "adaptive"]\nload = [0.3, 0.6]\nseeds = "0-4"\n')
    bad.write_text("policy = [greedy\n")
    assert len(grid(read_toml(good))) == 20
    with pytest.raises(ValueError, match=r"bad\.toml.*line 1"):
        read_toml(bad)
    bad.write_text(f"policy = {'[' * 10_000}")
    with pytest.raises(ValueError, match=r"bad\.toml.*deep"):
        read_toml(bad)
    with pytest.raises(LookupError, match="no file"):
        read_toml(tmp_path / "missing.toml")
