"""Tables as foreign input: each wrong value is refused in one line that names where it is."""

from __future__ import annotations

import json

import pyarrow as pa
import pyarrow.parquet
import pytest

from profiler.table import AccuracyTable, AdapterTable, Jitter, LatencyTable, as_table
from profiler.table.metadata import NO_LONGER, TableMeta
from profiler.table.reading import read_columns

LATENCY = {"model": "students-1x8", "students": 1, "depth": 1, "hidden": 8, "batch": 1, "tokens": 16, "latency_us": 9.5}
ACCURACY = {"model": "students-1x8", "students": 1, "task": "a", "accuracy": 0.5}
JITTER = {"below_us": "inf", "probability": 0.5, "ratio": 1.0}
ADAPTERS = {"model": "students-1x8", "kind": "lora", "bytes": 10, "load_us": 5.0}
ADAPTERS |= {"distinct": 1, "batch": 1, "tokens": 16, "extra_us": 0.0}
NO_COUNT = ["1e30", "-1", "0", "1.5", "nan", "inf", "-inf", "", "three", "true", "1e16", "99999999999999999999"]
NO_TIME = ["-1", "0", "nan", "inf", "-inf", "", "fast", "1e30", "1e-300"]
NO_NAME = ["", "a,b", " a", "a\nb"]


def csv(path, *rows):
    cells = [list(rows[0]), *(map(str, row.values()) for row in rows)]
    quoted = [",".join('"{}"'.format(cell.replace('"', '""')) if set(cell) & set(',"\n ') else cell for cell in row)
              for row in cells]  # fmt: skip
    path.write_text("\n".join(quoted) + "\n")
    return path


def folder(path, meta="{}", *rows):
    path.mkdir(exist_ok=True)
    csv(path / "latency.csv", *(rows or [LATENCY]))
    (path / "meta.json").write_text(meta if isinstance(meta, str) else json.dumps(meta))
    return path


def refused(read, *words):
    with pytest.raises((ValueError, LookupError)) as raised:
        read()
    text = str(raised.value)
    assert "\n" not in text
    assert all(word in text for word in words), text


BAD_CELLS = [
    *((name, value) for name in ("students", "depth", "hidden", "batch", "tokens") for value in NO_COUNT),
    *(("latency_us", value) for value in NO_TIME),
    *(("model", value) for value in NO_NAME),
    *(("device_us", value) for value in ("-1", "inf", "soon")),
]


@pytest.mark.parametrize(("name", "value"), BAD_CELLS)
def test_a_wrong_cell_of_the_latencies_is_refused(tmp_path, name, value):
    row = LATENCY | {"device_us": 1.0}
    path = csv(tmp_path / "latency.csv", row, row | {"batch": 2, name: value})
    refused(lambda: LatencyTable.load(path), name)


@pytest.mark.parametrize("value", [1e30, -1, 0, 1.5, float("nan"), None, "1", True, [1]])
def test_a_wrong_cell_of_a_parquet_table_is_refused(tmp_path, value):
    columns = {name: pa.array([cell]) for name, cell in LATENCY.items()} | {"students": pa.array([value])}
    (tmp_path / "t").mkdir()
    pa.parquet.write_table(pa.table(columns), tmp_path / "t" / "latency.parquet")
    (tmp_path / "t" / "meta.json").write_text("{}")
    refused(lambda: LatencyTable.load(tmp_path / "t"), "students")


def test_names_that_look_like_numbers_stay_as_they_are(tmp_path):
    path = csv(tmp_path / "latency.csv", LATENCY | {"model": "007"})
    assert LatencyTable.load(path).models == ("007",)
    assert AccuracyTable.read(csv(tmp_path / "a.csv", ACCURACY | {"task": "true"})).tasks == ("true",)


def test_a_folder_with_two_files_of_latencies_is_refused(tmp_path):
    pa.parquet.write_table(pa.table({"model": ["a"]}), folder(tmp_path / "t") / "latency.parquet")
    refused(lambda: LatencyTable.load(tmp_path / "t"), "both")


def test_texts_and_labels_to_learn_from_stay_as_they_are(tmp_path):
    (tmp_path / "task.csv").write_text("text,label\n007,01\n1e3,1\n")
    found = read_columns(tmp_path / "task.csv", ("text", "label"))
    assert (found["text"].tolist(), found["label"].tolist()) == (["007", "1e3"], ["01", "1"])


def test_empty_cells_of_a_further_column_are_no_values(tmp_path):
    table = LatencyTable.load(csv(tmp_path / "latency.csv", LATENCY | {"back_to_back_us": ""}))
    assert str(table.columns["back_to_back_us"].tolist()) == "[nan]"


def test_a_column_that_is_there_twice_is_refused(tmp_path):
    path = tmp_path / "latency.csv"
    path.write_text(f"{','.join(LATENCY)},tokens\n{','.join(map(str, LATENCY.values()))},32\n")
    refused(lambda: LatencyTable.load(path), "tokens", "twice")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(("students", value) for value in NO_COUNT),
        *(("accuracy", value) for value in ("-0.1", "1.1", "nan", "inf", "", "high")),
        *((name, value) for name in ("model", "task") for value in NO_NAME),
    ],
)
def test_a_wrong_cell_of_the_accuracies_is_refused(tmp_path, name, value):
    path = csv(tmp_path / "accuracy.csv", ACCURACY, ACCURACY | {"students": 2, name: value})
    refused(lambda: AccuracyTable.read(path), name)


@pytest.mark.parametrize(
    "rows",
    [
        [JITTER | {"below_us": "nan"}],
        [JITTER | {"below_us": -1.0}, JITTER],
        [JITTER | {"below_us": 5.0}],
        [JITTER | {"probability": -0.1}],
        [JITTER | {"probability": 1.1}],
        [JITTER | {"probability": "nan"}],
        [JITTER | {"ratio": 0}],
        [JITTER | {"ratio": "inf"}],
        [JITTER, JITTER],
        [JITTER, JITTER | {"probability": 0.6, "ratio": 0.9}],
    ],
)
def test_a_spread_that_is_no_quantile_function_is_refused(tmp_path, rows):
    refused(lambda: Jitter.read(csv(tmp_path / "jitter.csv", *rows)), "jitter.csv")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *((name, value) for name in ("bytes", "distinct", "batch", "tokens") for value in NO_COUNT),
        *(("load_us", value) for value in NO_TIME if value not in ("1e30", "1e-300")),
        *(("extra_us", value) for value in ("-1", "nan", "inf", "")),
    ],
)
def test_a_wrong_cell_of_the_adapters_is_refused(tmp_path, name, value):
    refused(lambda: AdapterTable.read(csv(tmp_path / "adapters.csv", ADAPTERS, ADAPTERS | {name: value})), "adapter")


@pytest.mark.parametrize(
    ("spec", "word"),
    [
        ("gpus=1,reduce_us=8", "2 GPUs"),
        (f"gpus={10**30},reduce_us=8", "10,000"),
        ("gpus=2.0,reduce_us=8", "whole number"),
        ("gpus=2,reduce_us=nan", "reduce_s"),
        ("gpus=2,reduce_us=inf", "reduce_s"),
        ("gpus=2,gpus=4,reduce_us=8", "cannot be read"),
    ],
)
def test_a_wrong_group_is_refused(spec, word):
    refused(lambda: as_table(f"split:h200-modelled,{spec}"), word)


WRONG_META = [
    ({"idle_factor": [[0, -1]]}, "idle_factor[0][1]"),
    ({"idle_factor": [[0, 0]]}, "idle_factor[0][1]"),
    ({"idle_factor": [[0, 1e7]]}, "idle_factor[0][1]"),
    ({"idle_factor": [[0, 5e-324]]}, "idle_factor[0][1]"),
    ({"idle_factor": [[-1, 1]]}, "idle_factor[0][0]"),
    ({"idle_factor": [[1, 1], [0, 2]]}, "ascending"),
    ({"idle_factor": [[1, 1], [1, 2]]}, "ascending"),
    ({"idle_factor": [[0, 1, 2]]}, "idle_factor[0]"),
    ({"idle_factor": [0, 1]}, "idle_factor[0]"),
    ({"idle_factor": 1.5}, "idle_factor"),
    ({"idle_factor": [["0", 1]]}, "idle_factor[0][0]"),
    ({"idle_factor": None}, "idle_factor"),
    *(({"cold_start_s": value}, "cold_start_s") for value in (None, -3, "abc", True, [1], "2", 10**400)),
    *(({"power_w": value}, "power_w") for value in (-1, "300", None)),
    *(({"price_per_gpu_hour": value}, "price_per_gpu_hour") for value in (-1, "2 dollars")),
    *(({"threads": value}, "threads") for value in (0, -1, 1.5, "2", True, 10**9)),
    ({"kind": "modeled"}, "kind"),
    *(({name: None}, name) for name in ("kind", "device", "dtype", "threads", "noise", "ceilings", "accuracy")),
    ({"device": 5}, "device"),
    ({"device": ""}, "device"),
    ({"dtype": "int4"}, "dtype"),
    ({"rank": "first"}, "rank"),
    ({"accuracy": "measured"}, "accuracy"),
    ({"accuracy": {"a": 1}}, "accuracy.a"),
    ({"noise": "quiet"}, "noise"),
    ({"noise": {"verdict": "loud"}}, "noise.verdict"),
    ({"noise": {}}, "noise.verdict"),
    ({"noise": {"verdict": "quiet", "reasons": "none"}}, "noise.reasons"),
    ({"ceilings": {"flops": 1}}, "ceilings"),
    ({"idle_factr": [[0, 1]]}, "idle_factor"),
    ({"cold_start_seconds": 3}, "known"),
    *(({name: 1}, name) for name in NO_LONGER),
]


@pytest.mark.parametrize(("meta", "word"), WRONG_META)
def test_wrong_metadata_is_refused_at_load(tmp_path, meta, word):
    refused(lambda: LatencyTable.load(folder(tmp_path / "t", meta)), "meta.json", word)


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ('{"cold_start_s": NaN}', "NaN"),
        ('{"cold_start_s": Infinity}', "Infinity"),
        ('{"cold_start_s": 1e999}', "1e999"),
        ('{"threads": 1, "threads": 8}', "twice"),
        ("[" * 100_000, "deep"),
        ('{"parts": ' + "[" * 60 + "]" * 60 + "}", "deep"),
        ('{"cores": ' + "9" * 5000 + "}", "JSON"),
        (b"\xff\xfe{}", "JSON"),
        ("", "JSON"),
        ("{} {}", "JSON"),
    ],
)
def test_metadata_that_is_no_strict_json_is_refused(tmp_path, text, word):
    path = folder(tmp_path / "t")
    (path / "meta.json").write_bytes(text if isinstance(text, bytes) else text.encode())
    refused(lambda: LatencyTable.load(path), "meta.json", word)


def test_metadata_is_checked_of_a_table_that_never_was_a_file(tmp_path):
    columns = LatencyTable.load(folder(tmp_path / "t")).columns
    refused(lambda: LatencyTable("made", columns, {"idle_factor": ((0, -1),)}), "idle_factor[0][1]")
    assert LatencyTable("made", columns, {"idle_factor": ((0.0, 1.0), (1.0, 3.0))}).idle_factor(0.5) == 2.0


def test_right_metadata_loads_with_a_byte_order_mark(tmp_path):
    meta = {"kind": "measured", "cold_start_s": 3, "idle_factor": [[0, 1], [0.1, 1.5]], "noise": {"verdict": "quiet"}}
    path = folder(tmp_path / "t")
    (path / "meta.json").write_bytes(b"\xef\xbb\xbf" + json.dumps(meta | {"note": "mine", "commit": None}).encode())
    assert LatencyTable.load(path).meta["cold_start_s"] == 3
    assert set(meta) < set(TableMeta.model_fields)
