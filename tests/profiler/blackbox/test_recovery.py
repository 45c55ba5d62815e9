"""Hidden latencies of servers of the tests' own are recovered, by whichever way the server allows; or refused."""

from __future__ import annotations

import numpy as np
import pytest
from server_doubles import MODEL, Hidden, VirtualTime, padded, serving

from profiler.__main__ import main
from profiler.table import Deployment, LatencyTable

SMALL = ["--batches", "1,2,3,4", "--tokens", "16,17,32"]


def stepped(lengths):
    """A server that fills batches up to powers of two, of texts and of tokens."""
    return 0.006 + 0.00012 * padded(len(lengths)) * padded(max(lengths))


def exact(lengths):
    """A server that takes each batch as it is, without filling texts up."""
    return 0.012 + 0.0004 * sum(lengths)


def run(url, out, *more):
    return main(["run", "--url", url, "--model", MODEL, "--out", str(out), "--budget-s", "4", *more])


def errors(table, hidden):
    """Relative errors of the measured rows."""
    rows = [row for row in table.records() if row["impl"] != "interpolated"]
    found = [row["latency_us"] / (hidden([row["tokens"]] * row["batch"]) * 1e6) - 1 for row in rows]
    return np.abs(found)


@pytest.mark.parametrize("way", ["replies", "counters", "round trips"])
def test_a_hidden_table_is_recovered(way, tmp_path, capsys, monkeypatch):
    hidden = Hidden(exact if way == "round trips" else stepped, way == "counters", way == "replies", most=4)
    hidden.binary, hidden.clock = way == "counters", VirtualTime(monkeypatch)
    with serving(hidden) as url:
        assert run(url, tmp_path / "table", *SMALL) == 0, capsys.readouterr()
    table = LatencyTable.load(tmp_path / "table")
    about = table.meta["black_box"]
    assert (table.meta["kind"], about["way"], about["valid"]) == ("black-box", way, True)
    found = errors(table, hidden.seconds)
    assert len(found) == 12
    assert np.median(found) < 0.05
    assert found.max() < 0.1
    assert about["gates"]["one_more"].startswith("refused")
    assert about["gates"]["two_in_flight"] < 1.3  # one device
    assert hidden.reads < len(hidden.batches) / 2  # what the counters are after one run they are before the next
    out = capsys.readouterr().out
    assert "VALID" in out
    padding = about["padding"]
    if way == "round trips":
        assert padding == {"texts": "none", "tokens": "none", "lengths": "none"}
        assert "wire_us" not in table.columns
        between = {(row["batch"], row["tokens"]): row for row in table.records()}[2, 25]
        assert between["impl"] == "interpolated"
        assert between["latency_us"] == pytest.approx(exact([25, 25]) * 1e6, rel=0.02)
    else:
        assert padding == {"texts": "steps", "tokens": "steps", "lengths": "longest"}
        assert {row["impl"] for row in table.records()} == {way}
        wire, latency = table.columns["wire_us"], table.columns["latency_us"]
        level = Deployment.of(table).levels[0]
        seconds = [table.seconds(level, key) for key in table.plan(MODEL).keys(1)]
        assert seconds == pytest.approx(((latency + wire) * 1e-6).tolist())


def test_a_server_of_one_text_per_request_gives_batch_one_and_its_capacity_alone(tmp_path, capsys, monkeypatch):
    hidden = Hidden(exact, most=1, clock=VirtualTime(monkeypatch))
    with serving(hidden) as url:
        assert run(url, tmp_path / "table", *SMALL) == 0
    table = LatencyTable.load(tmp_path / "table")
    assert set(table.columns["batch"].tolist()) == {1}
    assert set(table.meta["skipped"]) == {"2 texts", "3 texts", "4 texts"}
    assert "at most 1 texts" in table.meta["skipped"]["2 texts"]
    rate = float(table.meta["black_box"]["capacity"].split()[0])
    assert rate == pytest.approx(1 / exact([17]), rel=0.2)
    assert "cannot be measured" in capsys.readouterr().out


@pytest.mark.slow
def test_a_server_that_remembers_a_burst_is_invalid_and_a_cache_is_seen(tmp_path, capsys):
    hidden = Hidden(exact, most=4, remembers=3.0, caches=True)
    with serving(hidden) as url:
        assert run(url, tmp_path / "table", "--batches", "1,2", "--tokens", "16,32") == 1
    table = LatencyTable.load(tmp_path / "table")
    about = table.meta["black_box"]
    assert not about["valid"]
    assert "after a burst" in about["reasons"][-1]
    assert about["gates"]["caches"]
    assert "INVALID" in capsys.readouterr().out
    assert main(["validate", str(tmp_path / "table")]) == 1


def test_what_cannot_be_measured_is_refused_in_a_line(tmp_path, capsys):
    with serving(Hidden(exact, protocol="openai")) as url:
        for more, words in (
            ((), "--tokenizer DIR"),
            (("--plan", "cpu"), "does not heed --plan"),
            (("--device", "cuda"), "does not heed --device"),
        ):
            assert run(url, tmp_path / "table", *more) == 2
            assert words in capsys.readouterr().err
        assert main(["run", "--url", url, "--out", str(tmp_path / "table")]) == 2
        assert "--model NAME" in capsys.readouterr().err
        assert main(["run", "--url", url, "--model", "other", "--out", str(tmp_path / "table")]) == 2
        assert "serves no model 'other'; it has hidden" in capsys.readouterr().err
    assert run(url, tmp_path / "table") == 2
    assert "gives no whole answer" in capsys.readouterr().err
    assert run("ftp://somewhere", tmp_path / "table") == 2
    assert "http://HOST:PORT" in capsys.readouterr().err
    assert main(["run", "--vocab", "9", "--out", str(tmp_path / "table")]) == 2
    assert "only with --url" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.parametrize("counts", [True, False])
def test_the_whole_grid_is_recovered_within_five_minutes(counts, tmp_path):
    hidden = Hidden(stepped if counts else exact, counts)
    with serving(hidden) as url:
        assert main(["run", "--url", url, "--model", MODEL, "--out", str(tmp_path / "table")]) == 0
    found = errors(LatencyTable.load(tmp_path / "table"), hidden.seconds)
    assert len(found) == 56
    assert np.median(found) < 0.05
    assert found.max() < 0.1
