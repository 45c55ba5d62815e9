"""The table of looked-up layers, and tables derived from it and from another link."""

from __future__ import annotations

from dataclasses import replace

import pytest
from conftest import formula_table

from profiler.table import AccuracyTable, AdapterTable, Deployment, LatencyTable, LookupTable, as_table
from profiler.table.skipping import skipped
from profiler.table.slower import other_link
from profiler.table.writing import as_csv

MODEL = "students-2x8"
HEAD = "model,layers,entries,batch,tokens,lookup_us,lower_us,window_us\n"
ROWS = "".join(f"{MODEL},1,{n},{b},16,{n / 10 + b},{100 * b},5\n" for n in (10, 100) for b in (1, 2))


def read(tmp_path, rows=ROWS):
    (tmp_path / "lookup.csv").write_text(HEAD + rows)
    return LookupTable.read(tmp_path / "lookup.csv")


@pytest.fixture
def table(tmp_path):
    """A batch of b takes 300 b us, its first layer of two 100 b us; adapters in the second."""
    plain = formula_table(lambda k, b, t: 300.0 * b, batches=(1, 2))
    adapters = AdapterTable(((MODEL, "toy", 10, 50.0, 1, 2, 16, 0.0), (MODEL, "toy", 10, 50.0, 2, 2, 16, 7.0)), (1, 1))
    accuracy = AccuracyTable(((MODEL, 1, "toy", 0.9),))
    return replace(plain, adapters=adapters, accuracy=accuracy, lookup=read(tmp_path))


def test_the_smallest_measured_table_that_is_large_enough_counts(tmp_path):
    found = read(tmp_path)
    assert found.layers(MODEL) == 1
    assert found.entries(MODEL) == (10, 100)
    assert found.times(MODEL, 10, 2, 16) == pytest.approx((3e-6, 200e-6, 5e-6))
    assert found.times(MODEL, 11, 2, 16) == pytest.approx((12e-6, 200e-6, 5e-6))
    for key in ((101, 2, 16), (10, 4, 16), (10, 2, 8)):
        with pytest.raises(LookupError, match="10, 100"):
            found.times(MODEL, *key)
    with pytest.raises(LookupError, match="other"):
        found.layers("other")


@pytest.mark.parametrize(
    "row", [f"{MODEL},1,10,1,16,0,1,1\n", f"{MODEL},2,10,4,16,1,1,1\n", ROWS, f"{MODEL},1,0,1,16,1,1,1\n"]
)
def test_what_cannot_be_is_refused(tmp_path, row):
    with pytest.raises(ValueError, match=r"lookup.csv"):
        read(tmp_path, ROWS + row)


def test_a_model_that_looks_up_takes_the_rest_of_its_time(table):
    found = skipped(table, 100, cost=0.25)
    name = f"{MODEL}-lookup"
    assert found.models == (MODEL, name)
    (level,) = found.levels(name, "toy")
    assert (level.depth, level.accuracy) == (1, pytest.approx(0.65))
    for size in (1, 2):
        whole = Deployment.of(table, MODEL).predictions.service[0][0][size]
        own = Deployment.of(found, name).predictions.service[0][0][size]
        assert own == pytest.approx(whole - 100e-6 * size + (10 + size) * 1e-6)
    assert found.adapters.adapters(name) == table.adapters.adapters(MODEL)
    assert found.adapters.extra_s(name, "toy", 2, 2, 16) == 7e-6
    assert found.modelled
    assert found.digest != table.digest
    assert skipped(table, 10).accuracy.of(name, "toy") == {}


def test_another_link_changes_loads_alone(table):
    found = other_link(table, 3)
    assert found.adapters.adapters(MODEL)["toy"].load_s == pytest.approx(150e-6)
    assert found.columns is not None
    assert found.seconds(found.levels(MODEL)[0], next(iter(found.plan(MODEL).keys(1)))) == 300e-6
    assert found.modelled


def test_derived_tables_are_named_on_the_command_line(table, tmp_path):
    folder = tmp_path / "mine"
    folder.mkdir()
    (folder / "latency.csv").write_text(as_csv([{**row} for row in table.records()]))
    (folder / "meta.json").write_text('{"device": "by hand", "kind": "measured"}')
    (folder / "lookup.csv").write_text(HEAD + ROWS)
    assert LatencyTable.load(folder).lookup.rows == table.lookup.rows
    assert as_table(f"lookup:{folder},entries=50").models[1] == f"{MODEL}-lookup"
    assert as_table(f"lookup:{folder},entries=50,updates=9").lookup.updates == 9
    assert as_table(f"lookup:{folder},entries=50,updates=9").digest != as_table(f"lookup:{folder},entries=50").digest
    for wrong in ("", "entries=x", "entries=0", "entries=5,cost=2", "cost=1", "entries=5,x=1", "entries=5,updates=-1"):
        with pytest.raises(ValueError, match=r"lookup:|cost|updates"):
            as_table(f"lookup:{folder},{wrong}")
    with pytest.raises(LookupError, match=r"adapters.csv"):
        as_table(f"link:{folder},times=2")
    for wrong in ("times=x", "times=0", "time=2", ""):
        with pytest.raises(ValueError, match=r"link:|times"):
            as_table(f"link:{folder},{wrong}")
    with pytest.raises(LookupError, match=r"lookup.csv"):
        skipped(replace(table, lookup=None), 10)
