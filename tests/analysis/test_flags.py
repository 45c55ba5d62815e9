"""The flags that commands share: several of a thing, which seeds, rows as they are asked for."""

from __future__ import annotations

import argparse
import json

import pytest
from pandas import DataFrame, read_csv

from analysis.commands.compare import _seeds
from analysis.commands.flags import add_axes, add_delivery, add_several, axes_of, deliver
from analysis.commands.plan import _tables
from analysis.sweeps.grid import grid, seeds_of
from traces.shared.flags import Flags


def test_a_flag_of_which_several_are_taken_is_repeated_or_has_semicolons_and_keeps_its_old_name():
    flags = Flags()
    add_several(flags, "policy", "policies", "policies")
    for line in (
        "--policy greedy;none",
        "--policy greedy --policy none",
        "--policies greedy --policy none",
        "--pol greedy --polic none",
    ):
        assert flags.parse_args(line.split()).policies == "greedy;none"


def test_axes_are_repeated_too():
    flags = Flags()
    add_axes(flags, without=("seed",))
    line = "--policy greedy --policies none --load 0.1:0.2:0.1 --load 0.9 --gpus 1-2 --gpus 4"
    options = flags.parse_args(line.split())
    cells = grid(axes_of(options))
    assert {each.policy for each in cells} == {"greedy", "none"}
    assert {each.load for each in cells} == {0.1, 0.2, 0.9}
    assert {each.gpus for each in cells} == {1, 2, 4}


def test_seeds_are_how_many_or_which():
    assert seeds_of("0-4") == seeds_of("5") == seeds_of(5) == seeds_of(range(5)) == [0, 1, 2, 3, 4]
    assert seeds_of("5-5") == [5]
    assert [each.seed for each in grid({"seeds": 2})] == [0, 1]
    assert [each.seed for each in grid({"seed": 2})] == [2]
    assert seeds_of("1,5,8") == [1, 5, 8]
    for wrong in ("0", 0, -1, "a", [], 10**20):
        with pytest.raises(ValueError, match="seed"):
            seeds_of(wrong)


def test_the_seeds_of_a_comparison_follow_each_other():
    def asked(seeds, seed=0):
        return _seeds(argparse.Namespace(seeds=seeds, seed=seed))

    assert asked("3") == {"seed": 0, "replications": 3}
    assert asked("3", 7) == {"seed": 7, "replications": 3}
    assert asked("4-6") == {"seed": 4, "replications": 3}
    for wrong in (("1,3", 0), ("4-6", 1)):
        with pytest.raises(ValueError, match="--seeds"):
            asked(*wrong)


def test_commas_between_tables_of_a_plan_still_work_but_for_a_spec_that_has_its_own():
    assert _tables("a,b") == "a;b"
    assert _tables("link:a,times=2;b") == "link:a,times=2;b"


@pytest.mark.parametrize("form", ["csv", "json", "text"])
def test_rows_are_printed_as_they_are_asked_for_and_nothing_else_is(tmp_path, form, capsys):
    flags = Flags()
    add_delivery(flags)
    out = tmp_path / "rows.csv"
    options = flags.parse_args([*([] if form == "text" else [f"--{form}"]), "--out", str(out)])
    deliver(DataFrame({"policy": ["greedy", "none"], "rate": [1.5, float("nan")]}), lambda: "said", options)
    printed = capsys.readouterr().out
    assert out.read_text() == "policy,rate\ngreedy,1.5\nnone,\n"
    if form == "json":
        assert json.loads(printed) == [{"policy": "greedy", "rate": 1.5}, {"policy": "none", "rate": None}]
    else:
        assert printed == ("said\n" if form == "text" else out.read_text())


def test_a_comparison_of_several_loads_is_each_of_them_with_the_values_of_every_seed(tmp_path, capsys):
    from analysis import compare_each
    from analysis.__main__ import main
    from analysis.commands.compare import text

    asked = {"trace": "poisson:duration=1", "slo_ms": 200.0, "replications": 2, "exact_requests": 0}
    found = compare_each("greedy;none", load="0.2,0.9", **asked)
    assert [each.load for each in found] == [0.2, 0.9]
    for each in found:
        for row in each.comparison.standings.itertuples():
            values = [float(value) for value in row.per_seed.split(";")]
            assert values == pytest.approx(each.comparison.values[row.policy].tolist(), rel=1e-5)
            assert sum(values) / 2 == pytest.approx(row.accuracy_weighted_goodput, rel=1e-5)
    out = tmp_path / "rows.csv"
    line = "compare --policy greedy --policy none --load 0.2 --load 0.9 --trace poisson:duration=1 --slo-ms 200"
    line += " --seeds 0-1 --exact-requests 0 --reference none"
    assert main([*line.split(), "--out", str(out)]) == 0
    assert text(found[1].comparison) in capsys.readouterr().out
    rows = read_csv(out)
    assert rows["load"].tolist() == [0.2, 0.2, 0.9, 0.9]
    assert main(["plot", "weighted", str(out), "--out", str(tmp_path / "w.png")]) == 2
