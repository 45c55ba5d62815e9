"""What tenants take, measured: small, and held against what is known of it."""

from __future__ import annotations

import csv
import json

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from profiler.__main__ import main  # noqa: E402
from profiler.measuring.tenants.bench import distinct_counts  # noqa: E402
from profiler.measuring.tenants.composing import pipelined  # noqa: E402
from profiler.models.adapters import WAYS  # noqa: E402
from profiler.table import LatencyTable  # noqa: E402
from profiler.table.writing import write_table  # noqa: E402
from profiler.tenants.store import AdapterShape  # noqa: E402

MODEL = "teacher-2x64"


@pytest.fixture(autouse=True)
def one_thread():
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def table(tmp_path):
    rows = [
        {"model": MODEL, "students": 1, "depth": 2, "hidden": 64, "batch": b, "tokens": t, "latency_us": 300.0 + b * t}
        for b in (1, 4)
        for t in (8, 16)
    ]
    about = {"device": "a test", "threads": 1, "dtype": "float32", "kind": "measured"}
    write_table(tmp_path / "table", rows, about)
    return tmp_path / "table"


def rows(path):
    with path.open() as file:
        return list(csv.DictReader(file))


def test_one_command_adds_adapters_loads_and_look_up_to_a_table(table, capsys):
    before = LatencyTable.load(table)
    command = ["tenants", str(table), "--layers", "1", "--width", "4", "--classes", "3", "--entries", "50,200"]
    assert main([*command, "--budget-s", "1"]) in (0, 1)  # a busy machine misses what is composed
    found, shape = LatencyTable.load(table), AdapterShape(1, 64, 4, 3)
    assert before.columns["latency_us"].tolist() == found.columns["latency_us"].tolist()
    adapter = found.adapters.adapters(MODEL)["bottleneck-4"]
    assert (adapter.bytes, adapter.layers) == (shape.bytes, 1)
    assert adapter.load_s > 0
    cells = {row[4:7] for row in found.adapters.rows}
    assert cells == {(n, b, t) for b in (1, 4) for t in (8, 16) for n in distinct_counts(b)}
    assert set(found.adapters.way) <= set(WAYS)
    assert found.adapters.applied(MODEL, "bottleneck-4", 3, 3, 9) == found.adapters.applied(
        MODEL, "bottleneck-4", 4, 4, 16
    )
    assert found.lookup.entries(MODEL) == (50, 200)
    assert found.lookup.layers(MODEL) == 1
    assert found.lookup.times(MODEL, 60, 4, 16) == found.lookup.times(MODEL, 200, 4, 16)
    with pytest.raises(LookupError, match="50, 200"):
        found.lookup.times(MODEL, 201, 4, 16)
    loads = rows(table / "loads.csv")
    assert {row["way"] for row in loads} == {"layers", "whole", "staged"}
    assert all(float(row["gb_s"]) > 0 for row in loads)
    about = json.loads((table / "meta.json").read_text())["adapters"][MODEL]
    assert set(about["beside"]) == {"compute", "load"}
    assert about["composed"]["cells"] == len(rows(table / "composed.csv")) > 10
    assert found.digest != before.digest
    shown = capsys.readouterr().out
    assert str(about["composed"]["cells"]) in shown
    assert main([*command, "--budget-s", "0.1"]) in (0, 1)  # again: its own rows are replaced
    assert len(LatencyTable.load(table).adapters.rows) == len(found.adapters.rows)


@pytest.mark.parametrize(
    "flags", [["--layers", "3"], ["--budget-s", "0"], ["--model", "teacher-9x64"], ["--width", "0"]]
)
def test_what_cannot_be_measured_is_refused(table, flags):
    assert main(["tenants", str(table), *flags]) == 2
    assert not (table / "adapters.csv").exists()


def test_the_recurrence_is_the_closed_form_of_the_reference_page():
    # All tenants miss, all layers have adapters: 6 (1 + r) / (r + 5 max(1, r) + 1), reference/tenants.md, 5.3.
    for ratio in (0.25, 0.33, 1.0, 2.0):
        serial, found = 6 * (1 + ratio), pipelined(6.0, 0.0, 6, 6, 6 * ratio / 8, 8)
        assert serial / found == pytest.approx(serial / (ratio + 5 * max(1.0, ratio) + 1), rel=1e-12)
    assert pipelined(6.0, 3.0, 6, 3, 1.0, 0) == pytest.approx(9.0)
    assert pipelined(6.0, 0.0, 6, 3, 1.0, 2, slower=1.5) == pytest.approx(3.0 + 3 + 0.5 * np.ceil(2))
