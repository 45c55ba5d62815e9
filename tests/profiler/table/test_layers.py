"""The table of layers: exact keys, whole models, and what is refused."""

from __future__ import annotations

from dataclasses import replace
from itertools import product

import pytest
from conftest import formula_table

from profiler.table import LatencyTable, LayerTable, Level, Predictions

HEAD = "model,batch,tokens,layer,end_us,ramp_us,release_us\n"
ROWS = "m,1,16,2,20,3,5\nm,1,16,1,10,2,4\nm,4,16,1,15,2,4\nm,4,16,2,31,3,5\n"
LEVEL = Level(0, "m", 1, 2, 8)


def read(tmp_path, rows=ROWS):
    path = tmp_path / "layers.csv"
    path.write_text(HEAD + rows)
    return LayerTable.read(path)


def test_layers_are_found_by_exact_key_in_their_order(tmp_path):
    times = read(tmp_path).times(LEVEL, 1, 16)
    assert times == ((10 * 1e-6, 20 * 1e-6), (2 * 1e-6, 3 * 1e-6), (4 * 1e-6, 5 * 1e-6))


@pytest.mark.parametrize("key", [(2, 16), (1, 8), (1, 17)])
def test_another_key_is_a_miss(tmp_path, key):
    with pytest.raises(LookupError, match="profile"):
        read(tmp_path).times(LEVEL, *key)


def test_a_model_of_another_depth_is_refused(tmp_path):
    with pytest.raises(ValueError, match="3"):
        read(tmp_path).times(replace(LEVEL, depth=3), 1, 16)


@pytest.mark.parametrize(
    "rows",
    [
        "m,1,16,1,0,0,0\n",
        "m,1,16,1,1,-1,0\n",
        "m,1,16,1,1,0,-1\n",
        "m,1,16,1,inf,0,0\n",
        "m,1,16,0,1,0,0\n",
        "m,1,16,2,1,0,0\n",
        "m,1,16,1,1,0,0\nm,1,16,1,2,0,0\n",
        "m,1,16,1,1,0,0\nm,1,16,2,1,0,0\n",
        "m,1,16,1,1,0,0\nm,1,16,3,2,0,0\n",
    ],
)
def test_what_cannot_be_is_refused(tmp_path, rows):
    with pytest.raises(ValueError, match="layer"):
        read(tmp_path, rows)


def whole(model, depth, batches, tokens):
    """A layers.csv of these keys: layer l of a batch of b ends after 10 l b us."""
    keys = product(batches, tokens, range(1, depth + 1))
    return "".join(f"{model},{batch},{length},{layer},{10 * layer * batch},1,2\n" for batch, length, layer in keys)


def test_a_table_carries_its_layers_and_a_hole_is_found(tmp_path):
    table = formula_table(lambda students, batch, tokens: 10.0 * batch * students)
    model = table.models[0]
    plan, levels = table.plan(model), table.levels(model)
    full = read(tmp_path, whole(model, levels[0].depth, plan.batches, plan.tokens))
    with_layers = replace(table, layers=full)
    assert with_layers.digest != table.digest
    layers = Predictions(with_layers, levels, plan).layers
    for size in range(1, plan.max_batch + 1):
        assert layers[0][-1][size].end_s[0] == 10 * plan.padded_batch(size) * 1e-6
    assert Predictions(table, levels, plan).layers == [[] for _ in levels]
    holed = replace(table, layers=LayerTable(full.rows[levels[0].depth :]))
    with pytest.raises(LookupError, match="profile"):
        Predictions(holed, levels, plan).layers  # noqa: B018


def test_a_folder_with_layers_is_loaded_with_them(tmp_path):
    (tmp_path / "latency.csv").write_text("model,students,depth,hidden,batch,tokens,latency_us\nm,1,2,8,1,16,30\n")
    (tmp_path / "meta.json").write_text('{"device": "toy", "kind": "modelled"}')
    read(tmp_path, ROWS)
    layers = LatencyTable.load(tmp_path).layers
    assert layers is not None
    assert layers.models == ("m",)
