"""The study of tenants: its figures are what theory says, each of its verdicts can be missed, its page is written."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from pandas import DataFrame
from tenancy import capacities, hits, judged, runs
from tenancy.tables import MODEL, assumed

PRINTED = """# a note
load  skew  slots    goodput      p50_s      p99_s  hits live, simulated  verdict
 0.4   0.6     20       1.0%      -2.0%       3.0%          0.150, 0.160  VALID
 0.8   1.1    100      -1.0%       4.0%      -9.0%          0.850, 0.850  {verdict}
batch 4: load to compute 0.24, pipelined over serial {gain} live, 1.200 simulated (bound 1.240)
batch 16: load to compute 0.25, pipelined over serial 1.200 live, 1.210 simulated (bound 1.250)
"""


@pytest.fixture(scope="module")
def h200(tmp_path_factory: pytest.TempPathFactory):  # type: ignore[no-untyped-def]
    return assumed(tmp_path_factory.mktemp("tables"), "h200")


def pairs(expected: float, found: float, **more: object) -> dict[str, list[object]]:
    return {"expected": [expected], "found": [found], **{name: [value] for name, value in more.items()}}


ORDERED = {
    "belady": 0.8,
    "lfu": 0.7,
    "gdsf": 0.7,
    "tinylfu": 0.69,
    "lru": 0.5,
    "slo": 0.5,
    "random": 0.45,
    "pipelined": 0.0,
}


def ordered(aged: float = 0.6, **changed: float) -> dict[str, list[object]]:
    steady = ORDERED | changed
    return {"traffic": ["steady"] * len(steady) + ["moved"] * 2, "policy": [*steady, "lfu", "lfu, never aged"],
            "hits": [*steady.values(), aged, 0.4]}  # fmt: skip


def real(lru: float) -> dict[str, list[object]]:
    return {"share": [0.01] * 3, "policy": ["belady", "lru", "random"], "hits": [0.8, lru, 0.5]}


def curve(lost: float) -> dict[str, list[object]]:
    return {"share": [0.5, 1.1, 4.0], "lost": [0.0, lost, 0.5]}


def cells(*devices: str) -> dict[str, list[object]]:
    return {"device": [*devices], "most": [100] * len(devices), "capacity": [5.0] * len(devices)}


MILLION = {"requests": [1_000_000], "tenants": [10_000], "wall_s": [50.0]}
HALF = {"requests": [10], "loads": [5], "trace": ["a"]}
#: What each is asked, figures that are enough, and some that are not.
CASES = {
    "mixed": ({"way": ["loop"], "worst": [1e-6]}, {"way": ["loop"], "worst": [1e-4]}),
    "looked up": ({"part": ["a", "b"], "error": [1e-3, 0]}, {"part": ["a", "b"], "error": [1e-3, 1]}),
    "invariants": ({"broken": [""] * 100}, {"broken": [""] * 99 + ["I1: not so"]}),
    "queueing": (pairs(1.0, 1.02), pairs(1.0, 1.04)),
    "single batch": (pairs(1.0, 1.0), pairs(1.0, 1.00001)),
    "anchors": (pairs(0.5, 0.509, anchor="Che"), pairs(0.5, 0.511, anchor="Che")),
    "published": (pairs(0.5, 0.509, rule="LRU"), pairs(0.5, 0.511, rule="LRU")),
    "speed": (MILLION | {"cpu_s": [59.0]}, MILLION | {"cpu_s": [61.0]}),
    "exactness": (
        {**HALF, "policy": ["lru(none)"], "different": [0]},
        {**HALF, "policy": ["lru(none)"], "different": [1]},
    ),
    "ordering": (ordered(), ordered(lru=0.72)),
    "real": (real(0.77), real(0.75)),
    "pipelining": ({"ratio": [0.25, 1.0], "gain": [1.2, 1.6]}, {"ratio": [0.25, 1.0], "gain": [1.2, 1.4]}),
    "crossing": (curve(0.09), curve(0.11)),
    "mixing": ({"tax": [0.1], "batch": [16], "tokens": [16]}, {"tax": [0.11], "batch": [16], "tokens": [16]}),
    "parity": ({**HALF, "different": [0]}, {**HALF, "different": [1]}),
    "capacity": (cells("EPYC", "T4 (modelled)"), cells("H200 (modelled)", "T4 (modelled)")),
}


@pytest.mark.parametrize("name", judged.CRITERIA)
def test_a_criterion_is_met_or_missed_as_its_figures_say(name: str) -> None:
    enough, short = CASES[name]
    # Of parts with several verdicts the frames hold what one of them looks at.
    met, missed = ([each.met for each in judged.CRITERIA[name](DataFrame(rows))] for rows in (enough, short))
    assert sum(met) > sum(missed)


def test_ageing_that_does_not_help_is_a_miss() -> None:
    assert [each.met for each in judged.ordering(DataFrame(ordered(aged=0.3)))] == [True, False]


def test_live_runs_are_read_as_they_were_printed(tmp_path: Path) -> None:
    (tmp_path / "printed.txt").write_text(PRINTED.format(verdict="VALID", gain="1.180"))
    found = judged.read_fidelity(tmp_path / "printed.txt")
    assert found.notes == ("a note",)
    assert found.cells["p99_s"].tolist() == pytest.approx([0.03, -0.09])
    assert found.cells["valid"].tolist() == [True, True]
    assert found.gains.to_numpy().tolist() == [[0.24, 1.18, 1.2], [0.25, 1.2, 1.21]]
    assert [each.met for each in judged.fidelity(found)] == [False] * 3 + [True]  # two cells, eight are wanted
    (tmp_path / "printed.txt").write_text(PRINTED.format(verdict="INVALID", gain="0.9"))
    found = judged.read_fidelity(tmp_path / "printed.txt")
    assert found.cells["valid"].tolist() == [True, False]
    assert not any(each.met for each in judged.fidelity(found))
    assert not any(each.met for each in judged.fidelity(None))
    (tmp_path / "printed.txt").write_text("nothing")
    with pytest.raises(ValueError, match="tenants_fidelity"):
        judged.read_fidelity(tmp_path / "printed.txt")


def test_eight_undisturbed_cells_within_the_errors_are_enough(tmp_path: Path) -> None:
    line = PRINTED.splitlines()[2]
    (tmp_path / "printed.txt").write_text("\n".join([line] * 8))
    assert [each.met for each in judged.fidelity(judged.read_fidelity(tmp_path / "printed.txt"))][:3] == [True] * 3


def test_one_batch_and_many_take_what_the_closed_forms_say(h200) -> None:  # type: ignore[no-untyped-def]
    assert all(each.met for each in judged.single_batch(runs.single_batch(h200, MODEL)))
    gains = runs.pipelining(h200, MODEL, 640, (0.25, 1.0))
    assert (gains["gain"] <= gains["bound"] + 1e-9).all()
    assert gains["gain"].tolist() == pytest.approx(gains["bound"].tolist(), rel=0.1)
    assert "modelled" in gains["device"][0]


def test_the_hits_of_a_policy_are_compared_request_by_request(h200) -> None:  # type: ignore[no-untyped-def]
    codes = hits.zipf(50, 0.9, 300)
    found = hits.hits(h200, "lru(none)", hits.one_by_one(codes), 5)
    assert found.tolist() == hits.RULES["lru"](codes.tolist(), 5)
    assert 0 < hits.che(hits.shares(50, 0.9), 5) < np.sort(hits.shares(50, 0.9))[-5:].sum()


@pytest.mark.slow
def test_a_small_study_writes_its_page_and_figures(
    shared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("torch")
    import tenants_study
    from tenant_doubles import tenant_table

    monkeypatch.setattr(capacities, "SLOTS", (100,))
    monkeypatch.setattr(capacities, "EXPONENTS", (0.9,))
    monkeypatch.setattr(capacities, "LINKS", (1.0,))
    tenant_table(tmp_path / "table")
    page = tmp_path / "tenants.md"
    flags = ["--share", "0.005", "--data", str(shared), "--page", str(page)]
    assert tenants_study.main([str(tmp_path / "table"), *flags]) == 0
    text = page.read_text()
    assert "nan" not in text
    assert "not measured" in text
    assert {path.name for path in (tmp_path / "images").iterdir()} == {
        "tenants-hits.png", "tenants-crossing.png", "tenants-capacity.png"
    }  # fmt: skip
