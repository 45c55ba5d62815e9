"""The table of adapters: the default kind, the next measured size up, and what is refused."""

from __future__ import annotations

from dataclasses import replace

import pytest
from conftest import formula_table

from profiler.table import Adapter, AdapterTable, LatencyTable
from profiler.table.adapters import slower_beside

HEAD = "model,kind,bytes,load_us,distinct,batch,tokens,extra_us\n"
ROWS = "m,full,100,50,1,1,16,3\nm,full,100,50,1,8,16,4\nm,full,100,50,8,8,16,9\nm,top,40,20,1,1,16,1\n"
MODEL = "students-2x8"


def read(tmp_path, rows=ROWS):
    path = tmp_path / "adapters.csv"
    path.write_text(HEAD + rows)
    return AdapterTable.read(path)


def test_the_first_kind_is_the_default(tmp_path):
    table = read(tmp_path)
    assert list(table.adapters("m").items()) == [("full", Adapter(100, 50 * 1e-6)), ("top", Adapter(40, 20 * 1e-6))]
    with pytest.raises(LookupError, match="other"):
        table.adapters("other")


@pytest.mark.parametrize(
    ("distinct", "batch", "tokens", "extra_us"),
    [(1, 1, 16, 3), (1, 2, 1, 4), (2, 2, 9, 9), (8, 8, 16, 9), (2, 1, 16, 9)],
)
def test_extra_time_is_that_of_the_next_measured_size(tmp_path, distinct, batch, tokens, extra_us):
    assert read(tmp_path).extra_s("m", "full", distinct, batch, tokens) == extra_us * 1e-6


@pytest.mark.parametrize("key", [(1, 1, 17), (1, 9, 16), (9, 9, 16)])
def test_beyond_what_was_measured_is_a_miss(tmp_path, key):
    with pytest.raises(LookupError, match="profile"):
        read(tmp_path).extra_s("m", "full", *key)


@pytest.mark.parametrize(
    "row",
    [
        "m,full,0,50,1,1,16,3",
        "m,full,1.5,50,1,1,16,3",
        "m,full,100,0,1,1,16,3",
        "m,full,100,inf,1,1,16,3",
        "m,full,100,50,1,1,16,-1",
        "m,full,100,50,2,1,16,3",
        "m,full,100,50,1,1,16,3\nm,full,100,50,1,1,16,4",
        "m,full,100,50,1,1,16,3\nm,full,200,50,1,2,16,3",
        "m,full,100,50,1,1,16,3\nm,full,100,51,1,2,16,3",
    ],
)
def test_what_cannot_be_is_refused(tmp_path, row):
    with pytest.raises(ValueError, match=r"row|twice|hold numbers"):
        read(tmp_path, f"{row}\n")


def test_a_folder_may_hold_adapters_and_only_then_does_the_digest_change(tmp_path):
    plain = formula_table(lambda *_: 100)
    lines = [",".join(map(str, row)) for row in zip(*plain.columns.values(), strict=True)]
    (tmp_path / "latency.csv").write_text("\n".join([",".join(plain.columns), *lines]))
    (tmp_path / "meta.json").write_text("{}")
    assert LatencyTable.load(tmp_path).adapters is None
    assert LatencyTable.load(tmp_path).digest == plain.digest
    adapters = read(tmp_path, ROWS.replace("m,", f"{MODEL},"))
    loaded = LatencyTable.load(tmp_path)
    assert loaded.adapters.rows == adapters.rows
    assert loaded.digest == replace(plain, adapters=adapters).digest != plain.digest


def test_layers_and_the_disk_are_optional_columns(tmp_path):
    path = tmp_path / "adapters.csv"
    head, row = HEAD.strip(), "m,full,100,50,1,1,16,3"
    path.write_text(f"{head},layers,disk_us\n{row},6,900\nm,full,100,50,1,8,16,4,6,900\n")
    table = AdapterTable.read(path)
    assert table.adapters("m")["full"] == Adapter(100, 50 * 1e-6, 6, 900 * 1e-6)
    assert table.key != read(tmp_path, f"{row}\nm,full,100,50,1,8,16,4\n").key
    for cells in ("0,900", "6,-1", "6,inf"):
        path.write_text(f"{head},layers,disk_us\n{row},{cells}\n")
        with pytest.raises(ValueError, match=r"layers|disk_us"):
            AdapterTable.read(path)
    path.write_text(f"{head},layers,disk_us\n{row},6,900\nm,full,100,50,1,8,16,4,5,900\n")
    with pytest.raises(ValueError, match="another"):
        AdapterTable.read(path)


def test_how_loads_slow_batches_is_measured_per_model_checked_and_part_of_the_digest():
    plain = formula_table(lambda *_: 100)
    found = replace(plain, meta=dict(plain.meta) | {"adapters": {MODEL: {"beside": {"compute": 1.2, "load": 1.5}}}})
    assert (slower_beside(found.meta, MODEL), slower_beside(found.meta, "other")) == (1.2, 1.0)
    assert slower_beside(plain.meta, MODEL) == 1.0
    assert found.digest != plain.digest
    faster = replace(plain, meta=dict(plain.meta) | {"adapters": {MODEL: {"beside": {"compute": 0.98}}}})
    assert slower_beside(faster.meta, MODEL) == 1.0  # noise
    for wrong in (0.0, "fast", None):
        with pytest.raises(ValueError, match="compute"):
            replace(plain, meta=dict(plain.meta) | {"adapters": {MODEL: {"beside": {"compute": wrong}}}})
