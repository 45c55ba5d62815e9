"""Tenants with locality: fitted traffic has the hit ratios of the recorded trace."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from traces import load
from traces.locality import hit_ratios
from traces.processes.fitted import sessions_of
from traces.processes.sessions import Sessions, fit_sessions

MODEL = Sessions((1.0, 4.0, 60.0), (0.4, 0.5, 0.1), 0.4, 30.0, 400.0, 5)


def missed(one: list[str], other: list[str]) -> float:
    pair = [hit_ratios(each) for each in (one, other)]
    return max(abs(pair[0][share][rule] - pair[1][share][rule]) for share in pair[0] for rule in pair[0][share])


def test_a_fit_finds_its_own_traffic_again() -> None:
    asked = MODEL.draw(np.random.default_rng(1), 6000)
    found = fit_sessions(asked)
    assert found.missed < 0.03
    for seed in (11, 12):
        assert missed(found.draw(np.random.default_rng(seed), 6000).tolist(), asked.tolist()) < 0.04


def test_requests_per_tenant_are_those_of_the_model() -> None:
    asked = MODEL.draw(np.random.default_rng(2), 8400)
    counts = np.bincount(asked)
    assert len(counts) == pytest.approx(1000, abs=10)
    assert np.mean(counts == 1) == pytest.approx(0.4, abs=0.03)
    assert np.mean(counts > 40) == pytest.approx(0.1, abs=0.03)


def test_as_many_requests_and_tenants_as_asked_for() -> None:
    for count, tenants in ((1, None), (10, 3), (5000, 50), (300, 5000)):
        asked = MODEL.draw(np.random.default_rng(3), count, tenants)
        assert len(asked) == count
        assert asked.max() < (tenants or count)


def test_the_fit_to_the_real_trace_has_its_hit_ratios(shared: Path, tmp_path: Path) -> None:
    path = shared / "gentd26_tenants" / "requests.csv.gz"
    if not path.exists():
        pytest.skip(f"real data not present at {path}")
    real = load(path)
    assert real.notes[0].startswith("format gentd26")
    assert (len(real), len(set(real.tenant.tolist())), real.klass[1]) == (16_093, 2751, "M0001")
    model = sessions_of(path)
    assert model.missed < 0.03
    # LRU ahead of LFU by far: an independent model has it the other way round.
    ratios = hit_ratios(real.tenant.tolist())
    assert ratios["1%"]["lru"] > ratios["1%"]["lfu"] + 0.3
    for seed in (21, 22, 23):  # which the fit has not used
        drawn = model.draw(np.random.default_rng(seed), len(real)).tolist()
        assert missed(drawn, real.tenant.tolist()) < 0.03


def test_saved_parameters_bring_the_tenants_with_them(tmp_path: Path) -> None:
    from traces.processes.fit import fit

    recorded = load("poisson:rate=100,duration=60", tenants="zipf:count=40")
    fit(recorded).save(tmp_path / "mine.json")
    trace = load(f"fit:{tmp_path / 'mine.json'}")
    assert 30 < len(set(trace.tenant.tolist())) < 50
    alone = load("poisson:rate=100,duration=60", tenants=f"fit:{tmp_path / 'mine.json'},count=7")
    assert len(set(alone.tenant.tolist())) == 7
    fit(load("poisson:rate=100,duration=60")).save(tmp_path / "none.json")
    assert load(f"fit:{tmp_path / 'none.json'}").tenant is None
    with pytest.raises(ValueError, match="no tenants"):
        load("poisson:rate=100,duration=60", tenants=f"fit:{tmp_path / 'none.json'}")


def test_too_little_to_fit_is_said() -> None:
    with pytest.raises(ValueError, match="too few"):
        fit_sessions(np.arange(99) % 7)
    with pytest.raises(ValueError, match="twice"):
        fit_sessions(np.arange(200))
