"""How many tenants fit: against arithmetic, and what cannot be searched."""

from __future__ import annotations

import pytest

import analysis
from analysis.__main__ import main
from analysis.plans.tenants import without_count
from profiler.table import LatencyTable, as_table
from profiler.table.writing import write_table

MODEL = "teacher-1x8"


@pytest.fixture
def table(tmp_path):
    """One request at a time, 1 ms each; an adapter of 10 bytes takes 10 ms."""
    rows = [{"model": MODEL, "students": 1, "depth": 1, "hidden": 8, "batch": 1, "tokens": 512, "latency_us": 1e3}]
    own = {"model": MODEL, "kind": "toy", "bytes": 10, "load_us": 1e4, "distinct": 1, "batch": 1, "tokens": 512}
    write_table(tmp_path / "one", rows, {"device": "by hand", "kind": "measured"}, adapters=[own | {"extra_us": 0.0}])
    return str(tmp_path / "one")


def search(table, **further):
    """Requests of tenants that ask equally often, so far apart that none waits for another."""
    named = {"trace": "constant:rate=20,duration=60", "tenants": "zipf:exponent=0", "adapter_budget": "200"}
    return analysis.tenants_that_fit({**named, "table": table, "policy": "lru(none)", "slo_ms": 5}, **further)


def test_of_tenants_that_ask_alike_as_many_are_served_as_the_budget_over_the_target(table):
    # What is resident takes 1 ms, what is not 11: on time are the hits, which an LRU has by slots over tenants.
    found = search(table, attainment=0.5, seeds=1, tolerance=0.05, adapter_budget=["100", "200"])
    assert found["fit"].tolist() == [10, 20]
    assert found["most"].tolist() == pytest.approx([20, 40], rel=0.1)  # beside the first misses of each
    assert found["hit_rate"].tolist() == found["attainment"].tolist()
    assert (found["attainment"] >= 0.5).all()


def test_a_faster_link_serves_more_tenants(table):
    found = search(table, attainment=0.5, seeds=1, tolerance=0.05, link="1,0.1", most=500)
    assert found["most"][0] < found["most"][1] == 500  # 2 ms are on time, too
    assert found["limited"].tolist() == [False, True]
    assert as_table(found["table"][1]).device == "by hand (modelled)"
    assert as_table(found["table"][1]).adapters.rows[0][3] == 1e3
    assert LatencyTable.load(table).adapters.rows[0][3] == 1e4


def test_a_target_that_one_tenant_misses_is_none(table, capsys):
    command = ["tenants", "--table", table, "--trace", "constant:rate=20,duration=1", "--tenants", "zipf:exponent=0",
               "--adapter-budget", "1000", "--policy", "lru(none)", "--slo-ms", "0.5", "--seeds", "1"]  # fmt: skip
    assert main(command) == 0
    assert "none" in capsys.readouterr().out.splitlines()[-1]


def test_the_count_is_what_is_searched_for():
    assert without_count("zipf:count=5,exponent=0.9") == "zipf:exponent=0.9"
    assert without_count("zipf:count=5") == "zipf"
    assert without_count("fit:some.json,count=5") == "fit:some.json"


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"tenants": "zipf:count=5,exponent=0"}, "count"),
        ({"adapter_budget": None}, "adapter_budget"),
        ({"adapter_budget": "9"}, "9 bytes"),
        ({"link": "fast"}, "'fast'"),
        ({"link": "0"}, "times is 0"),
        ({"seed": 3}, "seeds"),
        ({"most": 1}, "most 1"),
        ({"attainment": 2}, "attainment is 2"),
    ],
)
def test_what_cannot_be_searched_is_refused(table, wrong, said):
    with pytest.raises((ValueError, LookupError), match=said):
        search(table, **wrong)


def test_a_plan_with_tenants_counts_gpus_by_their_budget(table):
    # Of 20 tenants 10 fit: half are on time with an LRU on one GPU.
    asked = {"trace": "constant:rate=20,duration=20", "tables": table, "slo_ms": 5, "seeds": 1, "max_gpus": 1}
    asked |= {"tenants": "zipf:count=20,exponent=0", "policies": "lru(none)", "attainment": 0.9}
    enough = analysis.plan(**asked, adapter_budget="200")
    assert enough.choices[0].best.gpus == 1
    assert enough.asked["adapter_budget"] == "200"
    short = analysis.plan(**asked, adapter_budget="100")
    assert not short.choices
    assert short.closest[0].best.attainment.mean == pytest.approx(0.5, abs=0.08)
    with pytest.raises(LookupError, match=r"adapters.csv"):
        analysis.plan(**{**asked, "tables": "synthetic"}, adapter_budget="1000")
