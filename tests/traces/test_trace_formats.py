"""Readers of public formats, on small literal files and on the real ones; and their errors about bad files."""

from __future__ import annotations

import gzip
import re
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from traces import FORMATS, Trace, load, write
from traces.streams import Stream, stream

SAMPLES = {
    "csv": 'arrival_s,tokens,tenant,klass,slo_s,text,item\n0.5,12,a,gold,0.1,hello,0\n0.75,7,b,,,"x, ""y""",4\n',
    "azure-llm": "TIMESTAMP,ContextTokens,GeneratedTokens\n"
    "2023-11-16 18:15:46.6805900,374,44\n2023-11-16 18:15:50.9951690,396,109\n",
    "burstgpt": "Timestamp,Session ID,Elapsed time,Model,Request tokens,Response tokens,Total tokens,Log Type\n"
    "5,1,2.5,ChatGPT,472,18,490,Conversation log\n45,2,1.5,GPT-4,1087,230,1317,API log\n",
    "mooncake": '{"timestamp": 0, "input_length": 6755, "output_length": 500, "hash_ids": [0, 1, 2]}\n'
    '{"timestamp": 1500, "input_length": 7319, "output_length": 490, "hash_ids": [0]}\n',
    "counts": "count\n2\n0\n3\n",
    "azure-functions-2021": "app,func,end_timestamp,duration\na1,f1,10.5,0.5\na2,f2,4.25,0.25\n",
    "gentd26": "arrival_s,tenant,base_model,adapters\n0,G0000,M0000,0\n4704,G0001,M0001,1\n",
    "aiperf": '{"metadata": {"benchmark_phase": "warmup", "request_start_ns": 1700000000000000000}, "metrics": {}}\n'
    '{"metadata": {"benchmark_phase": "profiling", "request_start_ns": 1700000009250000001}, '
    '"metrics": {"input_sequence_length": {"value": 40, "unit": "tokens"}}, "error": null}\n'
    '{"metadata": {"benchmark_phase": "profiling", "request_start_ns": 1700000009000000001}, '
    '"metrics": {"input_sequence_length": {"value": 17, "unit": "tokens"}}, "error": null}\n'
    '{"metadata": {"request_start_ns": 1700000009500000001}, "metrics": {}, "error": {"message": "429"}}\n',
    "guidellm": '{"benchmarks": [{"requests": {"successful": [{"request_start_time": 1700000001.5, '
    '"prompt_tokens": 9}], "errored": [{"request_start_time": 1700000000.0, "prompt_tokens": 8}], "incomplete": []}}]}',
    "access": '::1 - - [10/Oct/2026:13:55:36 +0000] "POST /a HTTP/1.1" 200 1 "-" "-" 0.250\n',
    "access-json": '{"msec": "1700000001.500", "request_time": "0.5"}\n'
    '{"msec": "1700000002.500", "request_time": "0"}\n',
    "triton-log": "I1010 13:55:36.1 1 http_server.cc:1] HTTP request: 2 /v2/models/bert/infer\n",
    "triton-trace": '[{"id": 1, "timestamps": [{"name": "REQUEST_START", "ns": 7}]}]',
    "completions": "end,duration\n11.5,0.5\n12,1.5\n",
    "texts": "timestamp,text\n5,hello\n6,you\n",
}
ARRIVALS = {
    "csv": [0.5, 0.75],
    "azure-llm": [0.0, 4.314579],
    "burstgpt": [5.0, 45.0],
    "mooncake": [0.0, 1.5],
    "azure-functions-2021": [4.0, 10.0],
    "gentd26": [0.0, 4704.0],
    "aiperf": [0.0, 0.25],
    "guidellm": [0.0, 1.5],
    "access": [0.0],
    "access-json": [0.0, 1.5],
    "triton-log": [0.0],
    "triton-trace": [0.0],
    "completions": [0.0, 0.5],
    "texts": [0.0, 1.0],
}
TOKENS = {"csv": [12, 7], "azure-llm": [374, 396], "burstgpt": [472, 1087], "mooncake": [6755, 7319]}
TOKENS |= {"aiperf": [17, 40], "guidellm": [8, 9]}


def sample(folder: Path, name: str, *, zipped: bool = False) -> Path:
    suffix = ".jsonl" if name == "mooncake" else ".csv"
    path = folder / (name + suffix + ".gz" * zipped)
    text = SAMPLES[name].encode()
    path.write_bytes(gzip.compress(text) if zipped else text)
    return path


def file(folder: Path, text: str | bytes, name: str = "bad.csv") -> Path:
    path = folder / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


@pytest.mark.parametrize("zipped", [False, True])
@pytest.mark.parametrize("name", SAMPLES)
def test_format_is_detected_and_noted(tmp_path: Path, name: str, zipped: bool) -> None:
    assert load(sample(tmp_path, name, zipped=zipped)).notes[0].startswith(f"format {name}: it ")


@pytest.mark.parametrize("name", ARRIVALS)
def test_arrivals_are_read_in_seconds(tmp_path: Path, name: str) -> None:
    for format in (name, "auto"):
        assert load(sample(tmp_path, name), format=format).arrival_s == pytest.approx(ARRIVALS[name], abs=1e-9)


@pytest.mark.parametrize("name", TOKENS)
def test_tokens_are_read(tmp_path: Path, name: str) -> None:
    assert load(sample(tmp_path, name)).tokens.tolist() == TOKENS[name]


def test_what_is_left_out_of_a_load_tools_file_is_noted_and_nonsense_refused(tmp_path: Path) -> None:
    notes = load(sample(tmp_path, "aiperf")).notes
    assert "1 requests of the warm-up are left out" in notes
    assert "1 requests without a start or a length are left out" in notes
    for name, text, words in (
        ("aiperf", '{"metadata": {"request_start_ns": 1}, "metrics": 3}\n', "line 1"),
        (
            "aiperf",
            '{"metadata": {"request_start_ns": "1"}, "metrics": {"input_sequence_length": {"value": 3}}}',
            "start",
        ),
        ("guidellm", '{"benchmarks": [{"requests": {"successful": [3]}}]}', "request 0"),
        ("guidellm", '{"benchmarks": [{"requests": {"successful": []}}]}', "no request"),
        ("guidellm", '{"benchmarks": 3}', "no list"),
    ):
        with pytest.raises(ValueError, match=words):
            load(file(tmp_path, text), format=name)


def test_every_format_has_a_sample_here() -> None:
    assert set(SAMPLES) | {"parquet"} == set(FORMATS)


def test_llm_lengths_are_clipped_and_counted(tmp_path: Path) -> None:
    trace = load(sample(tmp_path, "burstgpt"), max_tokens=512)
    assert trace.tokens.tolist() == [472, 512]
    assert any(re.search(r"1 of 2 requests \(50\.0%\).* 512", note) for note in trace.notes)


def test_max_tokens_clips_everywhere_and_what_a_table_serves_never_our_own_format(tmp_path: Path) -> None:
    own = sample(tmp_path, "csv")
    assert load(own, max_tokens=8).tokens.tolist() == [8, 7]
    assert load(own, longest=8).tokens.tolist() == [12, 7]
    assert load(own, longest=8, lengths="constant:tokens=9").tokens.tolist() == [8, 8]
    assert load(sample(tmp_path, "burstgpt"), max_tokens=600, longest=512).tokens.tolist() == [472, 512]


def test_functions_become_tenants_and_classes_in_order_of_arrival(tmp_path: Path) -> None:
    trace = load(sample(tmp_path, "azure-functions-2021"))
    assert trace.tenant is not None
    assert trace.klass is not None
    assert (trace.tenant.tolist(), trace.klass.tolist()) == (["a2", "a1"], ["f2", "f1"])


def test_counts_are_spread_within_their_bins_by_the_seed(tmp_path: Path) -> None:
    path = sample(tmp_path, "counts")
    trace = load(path, bin_s=60.0, seed=1)
    assert np.bincount((trace.arrival_s / 60).astype(int)).tolist() == [2, 0, 3]
    assert trace.seconds == 180
    assert np.array_equal(trace.arrival_s, load(path, bin_s=60.0, seed=1).arrival_s)
    assert not np.array_equal(trace.arrival_s, load(path, bin_s=60.0, seed=2).arrival_s)


def test_gaps_between_days_of_counts_are_kept_and_noted(tmp_path: Path) -> None:
    trace = load(file(tmp_path, "bin_start_s,count\n0,1\n10,1\n20,1\n100,1\n110,1\n"))
    assert any(re.search("1 gaps.* 70 s", note) for note in trace.notes)
    assert trace.arrival_s[3] >= 100
    assert trace.seconds == 120


def test_zones_of_the_2024_azure_trace_are_understood(tmp_path: Path) -> None:
    text = (
        "TIMESTAMP,ContextTokens,GeneratedTokens\n2024-05-10 00:00:00.25+00:00,5,1\n2024-05-10 00:00:01.75+00:00,0,2\n"
    )
    trace = load(file(tmp_path, text))
    assert trace.arrival_s.tolist() == [0, 1.5]
    assert trace.tokens.tolist() == [5, 1]
    assert any("1 requests with 0 tokens" in note for note in trace.notes)


@pytest.mark.parametrize("suffix", [".csv", ".csv.gz", ".parquet"])
def test_what_is_written_is_read_back_bit_for_bit(tmp_path: Path, suffix: str) -> None:
    rng = np.random.default_rng(0)
    n = 1000
    trace = Trace(
        np.sort(rng.random(n) * 1e5),
        rng.integers(1, 500, n),
        tenant=np.array([f"t{i % 7}" for i in range(n)], object),
        klass=np.array(["", "a,b", 'say "hi"', "naïve\nline"] * (n // 4), object),
        slo_s=np.where(rng.random(n) < 0.5, np.nan, rng.random(n)),
        text=np.array([f"text {i}" for i in range(n)], object),
        item=np.arange(n)[::-1],
    )
    path = tmp_path / f"trace{suffix}"
    write(trace, path)
    back = load(path)
    for name, column in trace.columns():
        read = getattr(back, name)
        assert read.dtype == column.dtype
        equal_nan = column.dtype.kind == "f"
        assert np.array_equal(read, column, equal_nan=equal_nan), name


@pytest.mark.parametrize("suffix", [".csv", ".csv.gz", ".parquet"])
def test_the_same_trace_is_written_as_the_same_bytes(tmp_path: Path, suffix: str) -> None:
    for name in "ab":
        write(load("poisson:duration=1"), tmp_path / f"{name}{suffix}")
    assert (tmp_path / f"a{suffix}").read_bytes() == (tmp_path / f"b{suffix}").read_bytes()


def test_parquet_keeps_the_declared_duration(tmp_path: Path) -> None:
    write(load("poisson:rate=5,duration=60"), tmp_path / "trace.parquet")
    assert load(tmp_path / "trace.parquet").seconds == 60


def test_failed_write_leaves_nothing(tmp_path: Path) -> None:
    trace = load("poisson:duration=1")
    broken = Trace(trace.arrival_s, trace.tokens, text=np.array([object()] * len(trace)))
    with pytest.raises(Exception, match="object"):
        write(broken, tmp_path / "trace.csv")
    assert list(tmp_path.iterdir()) == []


def test_any_table_is_read_by_its_columns(tmp_path: Path) -> None:
    text = "when,n,who,other\n1700000000500,9,x,1\n1700000002000,8,y,2\n"
    columns = {"arrival": "when", "tokens": "n", "tenant": "who"}
    trace = load(file(tmp_path, text), columns=columns, time_unit="ms")
    assert trace.arrival_s.tolist() == [0, 1.5]
    assert trace.tokens.tolist() == [9, 8]
    assert trace.tenant is not None
    assert trace.tenant.tolist() == ["x", "y"]


@pytest.mark.parametrize("stamp", ["2024-01-01T00:00:01.5", "2024-01-01 00:00:01.500", "2024-01-01T00:00:01.5Z"])
def test_iso_times_are_read(tmp_path: Path, stamp: str) -> None:
    first = stamp.replace("01.5", "00.5")
    trace = load(file(tmp_path, f"t\n{first}\n{stamp}\n"), columns={"arrival": "t"}, time_unit="iso")
    assert trace.arrival_s.tolist() == [0, 1]


def test_a_column_of_times_and_a_generator_of_times_are_one_too_many(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="leave one"):
        load(file(tmp_path, "t,n\n1,2\n"), columns={"arrival": "t", "tokens": "n"}, arrivals="constant:rate=1")


def test_a_column_of_times_without_a_time_is_refused_by_row(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="request 0: arrival_s is nan"):
        load(file(tmp_path, "t,n\n,2\n,3\n"), columns={"arrival": "t", "tokens": "n"})


@pytest.mark.parametrize("name", ["counts.csv", "counts.csv.gz"])
def test_compression_is_detected_by_the_content(tmp_path: Path, name: str) -> None:
    text = b"arrival_s,tokens\n0,5\n2,6\n"
    for content in (text, gzip.compress(text)):
        (tmp_path / name).write_bytes(content)
        assert load(tmp_path / name).tokens.tolist() == [5, 6]
    (tmp_path / name).write_bytes(gzip.compress(b'{"timestamp": 1, "input_length": 5}\n'))
    assert load(tmp_path / name).tokens.tolist() == [5]


def test_a_parquet_column_that_is_no_number_is_refused(tmp_path: Path) -> None:
    pq.write_table(pa.table({"arrival_s": [[1.0], [2.0]]}), tmp_path / "lists.parquet")
    with pytest.raises(ValueError, match=r"lists\.parquet cannot be read"):
        load(tmp_path / "lists.parquet")


def test_a_text_file_gets_times_from_a_generator(tmp_path: Path) -> None:
    trace = load(file(tmp_path, "one\ntwo\nthree\n", "lines.txt"), arrivals="constant:rate=2,duration=10")
    assert trace.arrival_s.tolist() == [0, 0.5, 1]
    assert trace.text is not None
    assert trace.text.tolist() == ["one", "two", "three"]


def test_rows_out_of_order_are_an_error_unless_sorting_is_allowed(tmp_path: Path) -> None:
    path = file(tmp_path, "arrival_s,tokens\n2,5\n1,6\n3,7\n")
    with pytest.raises(ValueError, match=r"request 1: arrival_s is 1\.0"):
        load(path)
    trace = load(path, sort=True)
    assert trace.arrival_s.tolist() == [1, 2, 3]
    assert trace.tokens.tolist() == [6, 5, 7]
    assert any("sorted: 1 row" in note for note in trace.notes)


def test_outages_are_reported(tmp_path: Path) -> None:
    log = np.concatenate([np.arange(0, 100, 0.1), np.arange(100, 200, 0.1) + 137_000])
    write(Trace(log, np.full(len(log), 5)), tmp_path / "log.csv")
    assert any(re.search(r"1 holes.*137000 s", note) for note in load(tmp_path / "log.csv").notes)


def test_coarse_ticks_are_reported(tmp_path: Path) -> None:
    stamps = np.repeat(np.arange(0, 300, 3.0), 10)
    write(Trace(stamps, np.full(len(stamps), 5)), tmp_path / "ticks.csv")
    notes = load(tmp_path / "ticks.csv").notes
    assert any(re.search("3 s.*90%", note) for note in notes)


def test_ordinary_traffic_raises_no_findings() -> None:
    (note,) = load("poisson:rate=500,duration=200").notes
    assert "short-text" in note


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is empty"),
        ("\n\n", "is empty"),
        ("arrival_s,tokens\n", "no requests"),
        ("arrival_s,tokens\n1,5\nnan,5\n", "request 1: arrival_s is nan"),
        ("arrival_s,tokens\n-1,5\n", "arrival_s is -1.0"),
        ("arrival_s,tokens\n1e400,5\n", "arrival_s is inf"),
        ("arrival_s,tokens\n1,5\ninf,5\ninf,5\n", "request 1: arrival_s is inf"),
        ("arrival_s,tokens\n1,0\n", "tokens is 0"),
        ("arrival_s,tokens\n1,2.5\n", r"line 2: tokens is '2\.5'"),
        ("arrival_s,tokens\n1,99999999999\n", "tokens is '99999999999'"),
        ("arrival_s,tokens\nx,5\n", "arrival_s is 'x'"),
        ("arrival_s,tokens\n1,5\n2\n", "2 columns.* 1"),
        ("arrival_s,tokens,tokens\n1,5,5\n", "column tokens.*twice"),
        ("arrival_s,tokens,colour\n1,5,red\n", "colour.*arrival_s, tokens"),
        ("time,n\n1,5\n", "column arrival_s.*time, n.*--columns arrival="),
        ("arrival_s;tokens\n1;5\n", "semicolons"),
        ("arrival_s\ttokens\n1\t5\n", "tabs"),
        ("count\n3\n-1\n", "row 1: count is -1.0"),
        ("count\n0\n0\n", "no requests"),
        ("count\n", "header only"),
        ("TIMESTAMP,ContextTokens,GeneratedTokens\n", "no requests"),
        ("TIMESTAMP,ContextTokens\n2024-01-01 00:00:00,1\n,2\n", "row 1.*time stamp"),
        (gzip.compress(b'{"timestamp": 1, "input_length": 5}\n' * 9999, mtime=0)[:90], "cannot be read"),
        ("bin_start_s,count\n0,1\n10,1\n15,1\n", "bin .* 5 s"),
        ("TIMESTAMP,ContextTokens,GeneratedTokens\nyesterday,1,2\n", "TIMESTAMP is 'yesterday'"),
        (b"\x93\xfa\x96\x7b" * 99, "neither text nor Parquet"),
        (b"PAR1 and then nothing", "cannot be read"),
        (b"\x1f\x8b\x08\x00", "cannot be read"),
        (gzip.compress(b"arrival_s,tokens\n" + b"1,5\n" * 9999, mtime=0)[:60], "cannot be read"),
        ('{"timestamp": "x"}\n', "cannot be read"),
        ('{"bin_s": 1}', "parameters.* fit:"),
    ],
)
def test_bad_files_give_one_clear_line(tmp_path: Path, text: str | bytes, message: str) -> None:
    with pytest.raises(ValueError, match=message) as error:
        load(file(tmp_path, text))
    assert "\n" not in str(error.value)
    assert "bad.csv" in str(error.value)


def test_unknown_format_lists_the_known(tmp_path: Path) -> None:
    with pytest.raises(LookupError, match=r"'xml'.*auto, csv, parquet"):
        load(sample(tmp_path, "csv"), format="xml")


def test_the_published_azure_file_and_its_table_in_seconds_are_the_same_trace(shared: Path) -> None:
    folder = shared / "azure_llm_2023_conv"
    published = load(folder / "AzureLLMInferenceTrace_conv.csv.gz")
    seconds = load(folder / "requests.csv.gz", columns={"arrival": "arrival_s", "tokens": "input_tokens"})
    assert len(published) == 19_366
    assert published.arrival_s == pytest.approx(seconds.arrival_s, abs=1e-6)
    assert np.array_equal(published.tokens, seconds.tokens)
    assert np.median(published.tokens) == 1020


def test_a_day_of_twitter_counts_becomes_its_requests_and_its_holes_are_noted(shared: Path) -> None:
    path = shared / "twitter_stream_2021_08" / "day02.csv.gz"
    trace = load(path)
    counts = np.loadtxt(path, skiprows=1, dtype=np.int64)
    assert np.array_equal(np.bincount(trace.arrival_s.astype(np.int64), minlength=84_660), counts)
    assert trace.seconds == 84_660
    assert any("holes" in note for note in trace.notes)


def test_streams_are_independent_of_each_other_and_of_their_use() -> None:
    draws = {source: stream(7, source).random(4).tolist() for source in Stream}
    assert len({tuple(values) for values in draws.values()}) == len(Stream)
    assert stream(7, Stream.LENGTHS).random(4).tolist() == draws[Stream.LENGTHS]
    with pytest.raises(ValueError, match="seed is -1"):
        stream(-1, Stream.ARRIVALS)
