"""The study of early exits: its figures are those of the runs, its verdicts can be missed, its page is written."""

from __future__ import annotations

from pathlib import Path

import early_exits
import numpy as np
import pytest
from exit_doubles import LAYERS, made_up, write, write_times
from exits.cells import PLAIN, Cell, figures, rolling, simulated
from exits.further import exhaustive
from exits.judged import against_plain, latency, lower_bound, promise, rivals
from pandas import DataFrame
from scipy.stats import binom

from policies.machinery.exits.thresholds import binned, tuned

REQUESTS = 2500


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    """Recorded answers, and a table with layers."""
    folder = tmp_path_factory.mktemp("study")
    return str(write(folder / "teacher.parquet", made_up(3000, 1500))), str(write_times(folder / "table"))


def cell(inputs: tuple[str, str], policy: str, **more: object) -> Cell:
    answers, own = inputs
    return Cell((answers,), "blocks", 0.5, 0, policy, REQUESTS, own, **more)  # type: ignore[arg-type]


def test_the_figures_of_a_cell_are_counted_from_its_requests(inputs: tuple[str, str]) -> None:
    own = cell(inputs, "static")
    found, report = figures(own), simulated(own)
    columns = report.request_columns()
    assert found["errors"] == (columns["agrees"] == 0).sum()
    assert found["agreement"] == pytest.approx(1 - found["errors"] / REQUESTS)
    whole = figures(cell(inputs, PLAIN))
    assert (whole["agreement"], whole["errors"], whole["saving"]) == (1.0, 0, pytest.approx(0.0, abs=1e-9))
    assert whole["label_accuracy"] == pytest.approx(found["label_accuracy"], abs=0.05)
    # Layers are 8.3 % each, so that an answer after layer k is out after about that share of its batch.
    assert found["saving"] == pytest.approx(1 - 0.083 * columns["exit"].mean(), abs=0.02)
    assert found["saving"] < 1 - columns["exit"].mean() / LAYERS + 0.01


def test_a_rolling_window_is_the_mean_of_so_many_in_a_row() -> None:
    agrees = (np.random.default_rng(0).random(5000) < 0.99).astype(float)
    np.testing.assert_allclose(rolling(agrees), np.convolve(agrees, np.full(2000, 1 / 2000), "valid"))


def test_the_lower_bound_is_where_so_many_would_be_a_chance_of_a_twentieth() -> None:
    bound = lower_bound(0.99, 20_000)
    assert binom.sf(19_799, 20_000, bound) == pytest.approx(0.05)


def rows(**changes: dict[str, float]) -> DataFrame:
    """Two loads of one stream, three policies; some of their figures changed."""
    made = []
    for load in (0.3, 0.6):
        for policy in (PLAIN, "certain", "apparate", "apparate_released", "static", "oracle_static"):
            times = dict.fromkeys(("mean_s", "p25_s", "p50_s", "p75_s", "p99_s"), 1.0)
            quick = {} if policy == PLAIN else dict.fromkeys(("mean_s", "p25_s", "p50_s"), 0.8)
            figures = {"agreement": 0.995, "worst": 0.99, "saving": 0.2, "errors": 100, "label_accuracy": 0.9}
            about = {"model": "m", "texts": "t", "kind": "even", "load": load, "seed": 0, "policy": policy}
            made.append(about | times | quick | figures | {"requests": 20_000} | changes.get(policy, {}))
    return DataFrame(made)


@pytest.mark.parametrize(
    ("changes", "judge", "missed"),
    [
        ({}, promise, set()),
        ({"certain": {"agreement": 0.9895}}, promise, {"agreement"}),
        ({"certain": {"worst": 0.97}}, promise, {"no 2,000 requests in a row below 98.0 %"}),
        ({}, latency, set()),
        ({"certain": {"p50_s": 0.95}}, latency, {"median latency up to load 0.6"}),
        ({"certain": {"p99_s": 1.1}}, latency, {"p99 up to load 0.9"}),
        ({"certain": {"label_accuracy": 0.88}}, latency, {"label accuracy"}),
        ({}, rivals, set()),
        ({"apparate": {"saving": 0.3}}, rivals, {"against apparate"}),
        ({"apparate": {"saving": 0.3, "agreement": 0.98}}, rivals, set()),
        ({"static": {"saving": 0.25}}, rivals, {"against static where nothing drifts"}),
    ],
)
def test_a_criterion_is_missed_where_its_figures_say_so(changes, judge, missed) -> None:  # type: ignore[no-untyped-def]
    assert {each.name for each in judge(rows(**changes)) if not each.met} == missed


def test_latencies_are_compared_with_the_plain_run_of_the_same_cell() -> None:
    own = against_plain(rows(certain={"mean_s": 0.5}))
    assert own.loc[own["policy"] == "certain", "mean_s_cut"].tolist() == [0.5, 0.5]
    assert own.loc[own["policy"] == PLAIN, "mean_s_cut"].tolist() == [0.0, 0.0]


def test_the_exhaustive_search_is_never_beaten_where_it_tries_every_combination() -> None:
    rng = np.random.default_rng(3)
    confidence = np.sort(rng.choice(1 - 2.0 ** (-np.arange(0, 120, 4) / 8), (2, 400)), axis=0) + 1e-9
    wrong = rng.random((2, 400)) < 0.5 * (1 - confidence)
    gain = np.array([0.5, 0.25, -0.01])
    best = exhaustive(binned(confidence), wrong, gain, 8)
    ours = tuned(binned(confidence), wrong, gain, 8)[0]
    assert ours.errors <= 8
    assert 0.9 * best <= ours.saving <= best + 1e-9


@pytest.mark.slow
def test_a_small_study_writes_its_page_and_figures(inputs: tuple[str, str], tmp_path: Path) -> None:
    answers, own = inputs
    page = tmp_path / "early-exits.md"
    flags = ["--table", own, "--streams", "even", "--loads", "0.5", "--seeds", "1", "--requests", "400"]
    flags += ["--around", "greedy"]
    assert early_exits.main([answers, *flags, "--page", str(page), "--rows", str(tmp_path / "rows.csv")]) == 0
    text = page.read_text()
    assert "## Asked and found" in text
    assert "nan" not in text
    assert "`greedy` forms the batches" in text
    assert text.count("### ") >= 8
    assert {path.name for path in (tmp_path / "images").iterdir()} == {
        "early-exits-exits.png", "early-exits-ramps.png", "early-exits-latency-cdf.png"
    }  # fmt: skip
    assert len((tmp_path / "rows.csv").read_text().splitlines()) > 40
