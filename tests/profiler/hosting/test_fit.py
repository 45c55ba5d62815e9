"""The host's times from what a busy endpoint took: known times are found again, and what is not sure is INVALID."""

from __future__ import annotations

import json

import numpy as np
import pytest

from profiler.commands.host import shown, write_host
from profiler.hosting.fit import AnsweredCell, fitted, rounded
from profiler.table import HostTimes, LatencyTable

TIMES = HostTimes(2e-4, 1e-4, ingress_token_s=8e-7, tokenizer_s=4e-5, tokenizer_token_s=2e-6, batch_s=1.5e-4)
SIZES = [(tokens, 1 / batch) for tokens in (16, 64, 128) for batch in (1.0, 9.5)]


def cells(times=TIMES, noise=0.0, server=0.97, rounds=3):
    rng = np.random.default_rng(0)
    found = []
    for tokens, batches in SIZES:
        seconds = 1 / times.rate(tokens, 1 / batches) * rng.uniform(1 - noise, 1 + noise, rounds)
        found.append(AnsweredCell(tokens, batches, tuple(seconds.tolist()), (server,) * rounds))
    return found


def test_known_times_are_found_again():
    fit = fitted(cells(), (TIMES.tokenizer_s, TIMES.tokenizer_token_s), 2 / 3)
    for name, value in vars(TIMES).items():
        assert getattr(fit.times, name) == pytest.approx(value, rel=1e-6), name
    assert fit.off < 1e-9
    assert fit.reasons == []


def test_seconds_per_answer_are_met_with_noise_and_the_spread_shows_it():
    fit = fitted(cells(noise=0.02))
    for tokens, batches in SIZES:
        assert fit.times.rate(tokens, 1 / batches) == pytest.approx(TIMES.rate(tokens, 1 / batches), rel=0.03)
    assert fit.spread["ingress_s"] > 0
    assert fit.reasons == []


def test_no_time_is_negative_where_more_tokens_take_less():
    falling = [AnsweredCell(tokens, 1.0, (1e-3 - tokens * 1e-7,) * 2, (0.99,) * 2) for tokens in (16, 64, 128)]
    assert all(value >= 0 for value in vars(fitted(falling).times).values())


@pytest.mark.parametrize(
    ("measured", "said"),
    [
        (cells(server=0.5), "processor"),
        (cells(noise=0.1), "apart"),
        ([each._replace(seconds=(1e-3 * (1 + n % 2),) * 2) for n, each in enumerate(cells(rounds=2) * 2)], "miss"),
    ],
)
def test_what_is_not_sure_is_not_valid(measured, said):
    assert any(said in reason for reason in fitted(measured).reasons)


def test_times_are_written_into_a_table_and_read_again(tmp_path):
    (tmp_path / "latency.csv").write_text(
        "model,students,depth,hidden,batch,tokens,latency_us\nstudents-2x8,1,2,8,1,16,100\n"
    )
    (tmp_path / "meta.json").write_text(json.dumps({"device": "a formula", "kind": "modelled"}))
    fit = fitted(cells())
    found = {
        **rounded(fit.times),
        "spread": fit.spread,
        "inputs": "ids",
        "processor": "one",
        "valid": True,
        "reasons": [],
    }
    write_host(tmp_path, found)
    table = LatencyTable.load(tmp_path)
    assert vars(HostTimes.of(table.meta, table.name)) == pytest.approx(vars(fit.times), abs=1e-9)
    assert table.meta["device"] == "a formula"
    assert "VALID" in shown(found)
    with pytest.raises(ValueError, match="host"):
        write_host(tmp_path, {**found, "egress_s": -1.0})
    assert LatencyTable.load(tmp_path).digest == table.digest
