"""Partial adapters in bursts: what is loaded, what that saves, what it costs, and that it is undone."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from adapted import BYTES, table
from conftest import formula_table

from profiler.table import AdapterTable
from simulator import simulate
from traces import Trace

CROWD = "partial(lru(greedy), layers=1, cost=0.25, burst=1.0)"


def served(spec, names, arrivals, times=None, **named):
    trace = Trace(np.asarray(arrivals, float), np.full(len(names), 9, np.int32), tenant=np.array(list(names), object))
    return simulate(
        trace, spec, times or table(load_s=0.4, service_s=0.04), **{"slo_s": 99.0, "adapter_budget": 40 * BYTES} | named
    )


def crowd():
    """32 tenants at once, in batches of 16."""
    return [chr(97 + number) for number in range(32)], np.zeros(32)


def test_in_a_burst_the_last_layers_alone_are_loaded():
    names, arrivals = crowd()
    part, whole = (served(spec, names, arrivals) for spec in (CROWD, "lru(greedy)"))
    # 32 wait, more than one batch: the first 16 tenants come in part, a layer of four; the rest whole.
    assert part.summary["bytes_loaded"] == 16 * (BYTES // 4) + 16 * BYTES
    assert part.summary["partial_adapters"] == 0.5
    assert "partial_adapters" not in whole.summary
    loads = part.records.adapters.loads
    assert [load.seconds for load in loads] == pytest.approx([0.1] * 16 + [0.4] * 16)
    # Sixteen loads of 0.1 s, then the last layer, which takes 0.01 s.
    assert part.batches["finish_s"][0] == pytest.approx(16 * 0.1 + 0.01, abs=1e-9)
    assert whole.batches["finish_s"][0] == pytest.approx(16 * 0.4 + 0.01, abs=1e-9)


def test_what_is_declared_is_taken_off_the_accuracy():
    names, arrivals = crowd()
    plain = formula_table(lambda k, b, t: 1e4, batches=(1, 16), accuracy=lambda k: 0.9)
    rows = tuple(("students-2x8", "toy", BYTES, 1e4, n, 16, 16, 0.0) for n in (1, 16))
    times = replace(plain, adapters=AdapterTable(rows))
    summary = served(CROWD, names, arrivals, times).summary
    assert summary["accuracy"] == pytest.approx(0.9 - 0.25 / 2)
    assert summary["accuracy_weighted_goodput"] == pytest.approx(0.9 - 0.25 / 2)
    assert served("lru(greedy)", names, arrivals, times).summary["accuracy"] == pytest.approx(0.9)


def test_after_the_burst_an_adapter_is_loaded_whole_before_its_next_batch():
    names, arrivals = crowd()
    report = served(CROWD, [*names, "a", "a"], [*arrivals, 100.0, 200.0])
    assert report.requests["hit"].tolist()[-2:] == ["miss", "resident"]
    assert report.records.adapters.loads[-1].seconds == pytest.approx(0.4)
    assert report.summary["partial_adapters"] == pytest.approx(16 / 34)
    assert len(report.records.adapters.loads) == 33


@pytest.mark.parametrize("wrong", ["", ", cost=2.0", ", cost=0.1, layers=0", ", cost=0.1, burst=0.0"])
def test_a_cost_must_be_declared(wrong):
    with pytest.raises(ValueError, match=r"cost is|must be"):
        served(f"partial(lru(greedy){wrong})", "a", [0.0])


def test_as_many_layers_as_there_are_is_a_whole_load():
    names, arrivals = crowd()
    spec = "partial(lru(greedy), layers=4, cost=0.25, burst=1.0)"
    assert served(spec, names, arrivals).summary == served("lru(greedy)", names, arrivals).summary
