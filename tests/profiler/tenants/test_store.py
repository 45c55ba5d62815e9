"""The host store of adapters: written, mapped and read part by part, and refused where it is not one."""

from __future__ import annotations

import json
import os

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from profiler.tenants.store import AdapterShape, AdapterStore, described, drawn, random_store, write_store  # noqa: E402

SHAPE = AdapterShape(layers=3, hidden=8, width=2, classes=4)
NAMES = ("acme", "beta", "zeta")


@pytest.fixture
def path(tmp_path):
    return tmp_path / "stores" / "some.npy"


def test_a_store_gives_back_what_was_written(path):
    rng = np.random.default_rng(0)
    numbers = rng.random((3, SHAPE.numbers)).astype(np.float32)
    write_store(path, SHAPE, NAMES, numbers.__getitem__)
    store = AdapterStore.open(path)
    assert path.stat().st_size >= 3 * SHAPE.bytes
    assert (store.names, store.shape) == (NAMES, SHAPE)
    for row in range(3):
        parts = [store.part(row, layer) for layer in range(3)]
        assert [len(part.head) for part in parts] == [0, 0, 9 * 4]  # the head comes with the last layer
        whole = np.concatenate([*(part.flat for part in parts), parts[-1].head])
        assert np.array_equal(whole, numbers[row])
    both = store.adapters(store.numbered(["zeta", "acme"]))
    assert both.flat.shape == (2, 3, SHAPE.parameters)
    assert both.flat[0].flatten().tolist() == numbers[2, : 3 * SHAPE.parameters].tolist()
    assert both.head_weight[1].flatten().tolist() == numbers[0, 3 * SHAPE.parameters :][:32].tolist()
    assert both.head_bias[1].tolist() == numbers[0, -4:].tolist()


def test_a_random_tenant_depends_on_the_seed_and_its_row_alone(path):
    few, many = random_store(path, SHAPE, NAMES[:2], 7), random_store(path.with_name("b.npy"), SHAPE, NAMES, 7)
    assert np.array_equal(few.rows, many.rows[:2])
    assert np.array_equal(many.rows[2], drawn(SHAPE, 7, 2))
    assert not np.array_equal(drawn(SHAPE, 8, 2), drawn(SHAPE, 7, 2))
    assert np.std(many.rows) == pytest.approx(0.02, rel=0.2)


def test_what_is_read_stays_as_it_is_in_the_file(path):
    store = random_store(path, SHAPE, NAMES, 0)
    before = path.read_bytes()
    store.rows[1, :5] = 9  # a private page
    assert path.read_bytes() == before


@pytest.mark.parametrize("classes", [1, 2, 20])
def test_the_shape_of_a_tenant_follows_from_its_bytes(classes):
    shape = AdapterShape(6, 384, 64, classes)
    assert AdapterShape.of_bytes(6, 384, 64, shape.bytes) == shape
    for wrong in (shape.bytes + 4, shape.bytes + 1, 4 * 6 * shape.parameters):
        with pytest.raises(ValueError, match=f"{wrong} bytes"):
            AdapterShape.of_bytes(6, 384, 64, wrong)


def test_the_published_tenant_has_the_published_bytes():
    assert 6 * AdapterShape(6, 768, 64, 1).parameters * 4 == pytest.approx(
        2.379e6, rel=1e-3
    )  # reference/tenants.md, 2.2


def test_what_is_no_store_is_refused(path):
    with pytest.raises(LookupError, match=r"some.npy"):
        AdapterStore.open(path)
    with pytest.raises(ValueError, match="tenant"):
        write_store(path, SHAPE, (), np.zeros)
    store = random_store(path, SHAPE, NAMES, 0)
    with pytest.raises(LookupError, match="'gamma'"):
        store.numbered(["acme", "gamma"])
    about = json.loads(described(path).read_text())
    for wrong in (
        {"format": "x"},
        {"tenants": ["a"]},
        {"shape": {"layers": 3}},
        {"shape": {**about["shape"], "width": 0}},
    ):
        described(path).write_text(json.dumps(about | wrong))
        with pytest.raises(ValueError, match="some"):
            AdapterStore.open(path)
    described(path).write_text(json.dumps(about))
    os.truncate(path, path.stat().st_size - 8)
    with pytest.raises(ValueError, match="cannot be read"):
        AdapterStore.open(path)
