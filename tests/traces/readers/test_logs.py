"""Logs of servers as traces: what they say of arrivals, what is left out, and what is estimated."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import numpy as np
import pytest

from traces import load
from traces.readers.tokenizing import estimated_tokens

CLOCK = "10/Oct/2026:13:55:{second:02d} +0200"
COMBINED = "10.0.0.1 - - [" + CLOCK + '] "POST /predict?a=1 HTTP/1.1" 200 612 "-" "curl/8 \\"x\\""'


def written(folder: Path, lines: list[str], name: str = "access.log", zipped: bool = False) -> Path:
    content = "".join(f"{line}\n" for line in lines).encode()
    (folder / name).write_bytes(gzip.compress(content) if zipped else content)
    return folder / name


@pytest.mark.parametrize("zipped", [False, True])
def test_combined_lines_are_spread_within_their_second_by_the_seed(tmp_path, zipped):
    path = written(tmp_path, [COMBINED.format(second=each // 4) for each in range(120)], zipped=zipped)
    trace = load(path)
    assert len(trace) == 120
    assert trace.arrival_s[0] == 0
    counted = np.histogram(trace.arrival_s, bins=3)[0]
    assert counted.sum() == 120
    assert counted.min() > 30
    assert len(set(trace.arrival_s)) == 120
    assert any("whole seconds" in note for note in trace.notes)
    assert np.array_equal(load(path).arrival_s, trace.arrival_s)
    assert not np.array_equal(load(path, seed=1).arrival_s, trace.arrival_s)


@pytest.mark.parametrize("tail", [" 2.500", ' rt=2.500 uct="0.1"', ' "-" 2.500 0.010'])
def test_nginx_logs_the_end_of_a_request(tmp_path, tail):
    """The second request ends later and began earlier; both stamps move by less than their second."""
    lines = [COMBINED.format(second=10) + " 0.001", COMBINED.format(second=12) + tail]
    arrival_s = load(written(tmp_path, lines)).arrival_s
    assert 0 < arrival_s[1] < 1.5


def test_apache_logs_the_start_of_a_request(tmp_path):
    lines = [COMBINED.format(second=10) + " 1000", COMBINED.format(second=12) + " 2500000"]
    assert 1 < load(written(tmp_path, lines)).arrival_s[1] < 3
    common = [line.partition(' "-"')[0] for line in lines]
    assert len(load(written(tmp_path, common))) == 2


def test_nginx_json_has_numbers_in_quotes_or_not(tmp_path):
    rows = [("1700000001.500", "0.250"), (1700000002.000, 1.0), ("1700000003.000", "0.500")]
    lines = [json.dumps({"msec": end, "request_time": took, "uri": "/predict"}) for end, took in rows]
    trace = load(written(tmp_path, lines))
    assert trace.arrival_s == pytest.approx([0.0, 0.25, 1.5], abs=1e-6)  # 1 - 0 = 1.0, 1.25 and 2.5 s
    assert "access-json" in trace.notes[0]


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        (['{"time_iso8601": "2026-10-10T13:55:36.5+02:00", "request_time": "0.5"}',
          '{"time_local": "10/Oct/2026:11:55:38 +0000", "request_time": "1.5"}'], [0.0, 0.5]),
        (['{"start_time": "2026-10-10T13:55:36.123Z", "duration": "900"}',
          '{"start_time": "2026-10-10T13:55:37.373Z", "duration": 4}'], [0.0, 1.25]),
        (['[2026-10-10T13:55:36.100Z] "POST /predict HTTP/2" 200 - 154 0 226 100 "-" "x" "y" "z" "10.0.0.2:80"',
          '[2026-10-10T13:55:36.700Z] "POST /predict HTTP/2" 503 UF 154 0 226 100 "-" "x" "y" "z" "-"'], [0.0, 0.6]),
        (['I1010 13:55:36.100000 1 http_server.cc:4509] "HTTP request: 2 /v2/models/bert/infer"',
          'I1010 13:55:36.350000 1 http_server.cc:4509] HTTP request: 2 /v2/models/bert/infer'], [0.0, 0.25]),
    ],
)  # fmt: skip
def test_times_of_each_log(tmp_path, lines, expected):
    assert load(written(tmp_path, lines)).arrival_s == pytest.approx(expected, abs=1e-6)


def test_a_trace_of_triton_counts_a_request_once_and_no_parts_of_ensembles(tmp_path):
    def at(number, name, ns):
        return {"id": number, "timestamps": [{"name": name, "ns": ns}]}

    path = tmp_path / "trace.json"
    path.write_text(json.dumps([
        {"id": 1, "model_name": "bert", "model_version": 1}, at(1, "REQUEST_START", 2356425054785863),
        at(1, "REQUEST_END", 2356425057643164), at(2, "REQUEST_START", 2356425154785863),
        {"id": 3, "parent_id": 2, "model_name": "part"}, at(3, "REQUEST_START", 2356425164785863),
    ]))  # fmt: skip
    assert load(path).arrival_s == pytest.approx([0.0, 0.1], abs=1e-9)


def test_broken_lines_are_counted_unless_they_are_most(tmp_path):
    good, bad = COMBINED.format(second=1), '1.2.3.4 - - [broken] "\x16\x03\x01" 400'
    trace = load(written(tmp_path, [good, bad, good, "", bad, good]))
    assert len(trace) == 3
    assert any("2 of 5 lines" in note and "line 2" in note for note in trace.notes)
    with pytest.raises(ValueError, match=r"3 of 4 lines.*line 2.*Nginx"):
        load(written(tmp_path, [good, bad, bad, bad]))


@pytest.mark.parametrize("took", ["-", "-1", "1e300", "nan", None, [1], {}])
def test_a_duration_that_cannot_be_is_a_broken_line(tmp_path, took):
    good = {"msec": "1700000001.500", "request_time": "0.250"}
    lines = [json.dumps(each) for each in (good, good, good | {"request_time": took})]
    assert len(load(written(tmp_path, lines))) == 2


def test_several_paths_are_named(tmp_path):
    health = COMBINED.format(second=2).replace("/predict?a=1", "/healthz")
    trace = load(written(tmp_path, [COMBINED.format(second=1)] * 3 + [health]))
    assert any("/predict 75.0%, /healthz 25.0%" in note for note in trace.notes)


@pytest.mark.parametrize(
    ("columns", "unit", "rows", "expected"),
    [
        ({"end": "fin", "duration_ms": "ms"}, "iso", "fin,ms\n2026-01-01 00:00:01.5,500\n2026-01-01 00:00:02,1500\n",
         [0.0, 0.5]),
        ({"end": "fin", "duration": "ms"}, "ms", "fin,ms\n1700000001500,500\n1700000002000,1500\n", [0.0, 0.5]),
        ({}, None, "end,duration,tokens\n11.5,0.5,7\n12,1.5,9\n", [0.0, 0.5]),
    ],
)  # fmt: skip
def test_ends_and_durations_become_arrivals(tmp_path, columns, unit, rows, expected):
    (tmp_path / "ends.csv").write_text(rows)
    trace = load(tmp_path / "ends.csv", columns=columns, time_unit=unit)
    assert trace.arrival_s == pytest.approx(expected, abs=1e-9)
    if not columns:
        assert trace.tokens.tolist() == [9, 7]


@pytest.mark.parametrize("rows", ["fin,ms\n5,-1\n", "fin,ms\n5,\n"])
def test_a_duration_must_be_one(tmp_path, rows):
    (tmp_path / "ends.csv").write_text(rows)
    with pytest.raises(ValueError, match=r"row 0.*duration"):
        load(tmp_path / "ends.csv", columns={"end": "fin", "duration_ms": "ms"})
    with pytest.raises(ValueError, match="duration_ms"):
        load(tmp_path / "ends.csv", columns={"end": "fin"})


@pytest.mark.parametrize("stamps", ["1700000000,1700000001", "1700000000000,1700000001000",
                                    "2026-01-01T10:00:00Z,2026-01-01T10:00:01Z"])  # fmt: skip
def test_times_and_texts_are_told_by_their_names_and_lengths_are_estimated_with_a_note(tmp_path, stamps):
    first, second = stamps.split(",")
    (tmp_path / "t.csv").write_text(f'Time,user,Query\n{first},a,"how are you?"\n{second},b,fine\n')
    (tmp_path / "t.jsonl").write_text(
        f'{{"ts": {json.dumps(first)}, "text": "how are you?"}}\n{{"ts": {json.dumps(second)}, "text": "fine"}}\n'
        if "T" in first
        else f'{{"ts": {first}, "text": "how are you?"}}\n{{"ts": {second}, "text": "fine"}}\n'
    )
    for name in ("t.csv", "t.jsonl"):
        trace = load(tmp_path / name)
        assert trace.arrival_s.tolist() == [0, 1]
        assert trace.tokens.tolist() == [2 + 5, 2 + 2]
        assert trace.text.tolist() == ["how are you?", "fine"]
        assert any("estimated" in note and "--tokenizer" in note for note in trace.notes)


def test_an_estimate_counts_words_and_marks():
    assert estimated_tokens(["", "one", "one two, three!", "x" * 50]).tolist() == [2, 4, 8, 4]
    assert estimated_tokens([" ".join(["a"] * 100)]).tolist() == [112]
