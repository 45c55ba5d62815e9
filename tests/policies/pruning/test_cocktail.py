"""Cocktail: members go while accuracy allows, come back when there is time, and each class has its own."""

from __future__ import annotations

import numpy as np
import pytest
from devices import run

ACCURACY = {1: 0.80, 2: 0.86, 3: 0.89, 4: 0.90}
RULES = {"students": tuple(ACCURACY), "accuracy": ACCURACY.get, "seconds": lambda k, b, t: 0.1 * k, "sizes": (1, 2, 4)}
FULL = 4 / 0.4  # requests per second with all students


def students(spec, rates, seconds=10.0, klass=None):
    """(start, students, class) per request, of requests that come evenly at these rates, each for so long."""
    times = np.concatenate([part * seconds + np.arange(0, seconds, 1 / rate) for part, rate in enumerate(rates)])
    names = None if klass is None else [klass[i % len(klass)] for i in range(len(times))]
    report = run(spec, times, klass=names, slo_s=1e3, **RULES)
    return report.requests["start_s"], report.requests["students"], report


def test_without_load_the_whole_ensemble_answers():
    assert set(students("cocktail", [0.1 * FULL])[1]) == {4}


@pytest.mark.parametrize(("loss", "fewest"), [(0.02, 3), (0.04, 2), (0.01, 3), (0.009, 4), (1.0, 1)])
def test_under_load_it_drops_members_as_long_as_the_loss_allows(loss, fewest):
    start, used, _ = students(f"cocktail(loss={loss})", [6 * FULL])
    assert used.min() == fewest
    assert set(used[start > 6]) == {fewest}


def test_it_drops_one_member_per_interval():
    start, used, _ = students("cocktail(loss=1)", [6 * FULL])
    assert [set(used[(start > t + 0.5) & (start < t + 0.9)]) for t in range(4)] == [{4}, {3}, {2}, {1}]


def test_it_takes_members_up_again_when_there_is_time():
    start, used, _ = students("cocktail(loss=1)", [1.5 * FULL, 0.1 * FULL])
    assert used[start < 10].min() < 4
    assert set(used[start > 17]) == {4}


def test_each_class_has_its_own_loss_and_shares_no_batch():
    spec = "cocktail(classes=('gold', 'bulk'), losses=(0.0, 1.0), loss=0.04)"
    start, used, report = students(spec, [6 * FULL], klass=["gold", "bulk", "other"])
    klass = report.trace.klass
    assert {name: used[klass == name].min() for name in ("gold", "bulk", "other")} == {"gold": 4, "bulk": 1, "other": 2}
    batch = report.requests["batch"]
    assert all(len(set(klass[batch == each])) == 1 for each in np.unique(batch))
    assert np.diff(start).min() >= -40  # no class starves another


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("cocktail(classes=('gold',))", r"cocktail.*loss.* \(\) for \('gold',\)"),
        ("cocktail(loss=-1)", "cocktail.*loss >= 0"),
        ("cocktail(low=0.9)", "cocktail.*low <= high"),
        ("cocktail(classes=('gold',), losses=(0.1,))", "column klass"),
    ],
)
def test_what_cannot_be_is_refused(spec, message):
    with pytest.raises(ValueError, match=message):
        students(spec, [1.0])
