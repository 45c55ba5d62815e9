"""What a plan depends on: ends against plans made by hand, in columns that a tornado draws."""

from __future__ import annotations

import pytest

from analysis.__main__ import main
from analysis.plans.planning import plan
from analysis.plans.sensitivity import sensitivity

TRACE = "constant:rate=9000,duration=0.02"
ASKED = {"slo_ms": 3.0, "policies": "greedy", "seeds": 1}


@pytest.fixture(scope="module")
def found():
    return sensitivity(TRACE, table="synthetic", by=0.5, **ASKED)


def test_each_end_is_the_plan_with_that_assumption(found):
    ends = {name: (low, high) for name, low, high in zip(found["assumption"], found["low"], found["high"], strict=True)}
    assert set(ends) == {"traffic", "latency target", "on time", "service times"}
    gpus = [plan(TRACE, tables="synthetic", growth=growth, **ASKED).choices[0].best.gpus for growth in (0.5, 1, 1.5)]
    assert ends["traffic"] == (gpus[0], gpus[2])
    assert set(found["base"]) == {gpus[1]}
    assert ends["service times"][0] <= gpus[1] <= ends["service times"][1]
    assert ends["on time"][0] <= gpus[1] <= ends["on time"][1]


def test_the_command_writes_what_the_tornado_draws(tmp_path, capsys):
    out, store = tmp_path / "depends.csv", ["--jobs", "1", "--store", str(tmp_path / "store")]
    flags = [
        "--trace",
        "constant:rate=2500,duration=0.02",
        "--slo-ms",
        "3",
        "--policies",
        "greedy",
        "--seeds",
        "1",
        "--table",
        "synthetic",
    ]
    assert main(["sensitivity", *flags, *store, "--by", "0.5", "--out", str(out)]) == 0
    assert "service times" in capsys.readouterr().out
    assert main(["plot", "tornado", str(out), "--out", str(tmp_path / "tornado.png")]) == 0
    assert "bar,traffic -50%" in (tmp_path / "tornado.csv").read_text()


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"by": 1.5}, r"by is 1\.5.* 0 and 1"),
        ({"slo_ms": 1e-4}, "plan.* 64 GPUs"),
    ],
)
def test_what_cannot_be_varied_is_an_error(changed, message):
    with pytest.raises(ValueError, match=message):
        sensitivity(TRACE, table="synthetic", **ASKED | changed)
