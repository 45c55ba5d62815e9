"""The contest: its cells and page; and in the slow tests, a fixed set of cells that adaptive must not lose by much."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from contest.cells import FITTED, GENERATED, MIXED, ONE, TARGETS, Cell, at_random, grid, present, traffic
from contest.code import code
from contest.page import behind, page
from contest.rivals import Entry, bare, entries, missing
from contest.runs import Rounds, Standing, keys, stand, wanted
from contest.tables import Shelf
from policy_contest import command, main, parser

SHELF = Shelf(Path(__file__).parents[1] / "data" / "tables")
CALM = Cell("synthetic", "students", "poisson", 0.6, 5.0, 1, ONE)
BURSTS = "mmpp:levels=1/5,stays=60/20"
ROUNDS = Rounds((41_000,), (41_001, 41_002, 41_003), requests=1500, near=0.02, least=2)
#: Points by which adaptive may be behind the best other.
BOUND = 1.5
#: Cells of the contest.
CELLS = [
    Cell("h200-modelled", "students", "poisson", 1.2, 2.0, 8, ONE),
    Cell("h200-modelled-steep", "students", "azure-code-like", 1.2, 2.0, 4, ONE),
    Cell("h200-modelled", "students", "poisson", 7.0, 10.0, 1, MIXED),
    Cell("h200-modelled", "students", "poisson", 6.5, 20.0, 1, MIXED),
    Cell("h200-modelled-steep", "students", "azure-code-like", 2.0, 2.0, 4, MIXED),
    Cell("h200-modelled", "students", "azure-code-like", 7.0, 2.0, 1, ONE),
    Cell("h200-modelled", "all", BURSTS, 2.0, 5.0, 2, ONE),
    Cell("h200-modelled", "students", "twitter-like", 4.0, 5.0, 2, MIXED),
    Cell("synthetic-steep", "students", "azure-code-like", 0.9, 2.0, 1, MIXED),
    Cell("synthetic", "students", BURSTS, 2.0, 5.0, 4, MIXED),
    Cell("synthetic-steep", "students", "poisson", 0.9, 2.0, 1, ONE),
    Cell("synthetic", "students", "diurnal:period=0.5", 0.9, 20.0, 2, ONE),
    Cell("synthetic", "students", "azure-conversation-like", 0.6, 5.0, 8, MIXED),
    Cell("cpu-epyc-1thread-steep", "students", "azure-code-like", 0.6, 20.0, 1, MIXED),
    Cell("cpu-epyc-1thread", "all", "azure-code-like", 0.6, 5.0, 1, ONE),
    Cell("cpu-epyc-1thread", "all", BURSTS, 0.9, 2.0, 1, MIXED),
    Cell("cpu-epyc-1thread-steep", "all", "poisson", 1.2, 5.0, 4, ONE),
    Cell("cpu-epyc-1thread", "students", "twitter-like", 2.0, 2.0, 8, MIXED),
    Cell("cpu-epyc-1thread", "all", "diurnal:period=0.5", 4.0, 20.0, 1, MIXED),
    Cell("cpu-epyc-1thread-steep", "students", "poisson", 0.6, 2.0, 1, ONE),
]


@pytest.mark.slow
@pytest.mark.parametrize("cell", CELLS, ids=str)
def test_adaptive_is_not_far_behind_the_best_other(cell):
    standing = stand(cell, SHELF, ROUNDS, {}, None)
    best = standing.best()
    assert best is not None
    assert behind(standing) <= BOUND, (best.name(cell), standing.mean(best), standing.mean(standing.judged))


def test_the_grid_has_every_table_model_load_target_and_number_of_gpus():
    cells = grid(SHELF, [*GENERATED, *FITTED])
    assert len(cells) == len(set(cells)) == 10 * 6 * 8 * 3 * 4 * 2  # synthetic has no teacher
    first = cells[:200]
    for name in Cell._fields:
        assert {getattr(cell, name) for cell in first} == {getattr(cell, name) for cell in cells}


def test_cells_at_random_are_the_same_for_a_seed():
    one, other = (at_random(SHELF, 20, seed, GENERATED) for seed in (1, 2))
    assert one == at_random(SHELF, 20, 1, GENERATED)
    assert not set(one) & set(other)


@pytest.mark.parametrize("name", [*GENERATED, *FITTED, "gamma:cv=3", *present()])
def test_a_cell_has_its_load_and_lasts_for_20_targets(name):
    for slo in (2.0, 400.0):
        cell = CALM._replace(trace=name, slo=slo, gpus=2)
        trace, slo_s = traffic(cell, SHELF, 1000, 41_000)
        seconds = 1000 / (len(trace) / float(trace.arrival_s[-1])) if slo == 2.0 else TARGETS * slo_s
        assert len(trace) == pytest.approx(1000 if slo == 2.0 else len(trace), rel=0.5)
        assert float(trace.arrival_s[-1]) == pytest.approx(seconds, rel=0.5)


def test_every_policy_every_static_level_and_the_teacher_meet_adaptive():
    cell = Cell("cpu-epyc-1thread", "all", "poisson", 0.9, 5.0, 2, ONE)
    found = entries(cell, SHELF, "adaptive")
    assert found[0] == Entry("adaptive", "all")
    assert len(found) == len(set(found))
    assert {"nexus", "clockwork"} <= {each.policy for each in found if each.served == "teacher"}
    assert Entry("adaptive", "single+teacher") in found
    counts = {level.students for level in SHELF.deployment("cpu-epyc-1thread", "all").levels}
    assert {Entry(f"buckets(fixed(students={k}))", "all") for k in counts} <= set(found)
    assert set(bare()) <= {each.policy for each in found}
    assert "nexus" not in missing()


def test_steep_accuracies_lie_four_times_as_far_from_the_best():
    plain, steep = (
        np.array([level.accuracy for level in SHELF.deployment(table, "students").levels])
        for table in ("synthetic", "synthetic-steep")
    )
    assert steep.max() - steep == pytest.approx(4 * (plain.max() - plain))


def test_what_was_run_is_not_run_again():
    rounds, rows = Rounds((1,), (2,), requests=200, near=0.0, least=1), []
    first = stand(CALM, SHELF, rounds, {}, rows.extend)
    known = {row["key"]: row["value"] for row in rows}
    assert set(known) <= {each for key in keys(CALM, SHELF, rounds).values() for each in key}
    again = []
    second = stand(CALM, SHELF, rounds, known, again.extend)
    assert (again, second.values) == ([], first.values)


def test_others_may_be_trusted_whatever_code_they_are_of_but_not_the_judged_policy():
    entry, own = Entry("nexus", "students"), Entry("predicted(adaptive)", "students")
    rounds = Rounds((1,), (2,), trust=True)
    named = keys(CALM, SHELF, rounds)
    assert wanted(named[entry, 1], entry, rounds) == named[entry, 1].loose
    assert wanted(named[own, 1], own, rounds) == named[own, 1].exact
    assert len({each for key in named.values() for each in key}) == 2 * len(named)


def test_recorded_answers_run_where_the_accuracies_are_theirs():
    for table in ("cpu-epyc-1thread", "cpu-epyc-1thread-steep", "h200-modelled", "synthetic"):
        found = {each.policy for each in entries(CALM._replace(table=table), SHELF, "adaptive")}
        assert ("cascadeserve" in found) == (table == "cpu-epyc-1thread")
        assert "deferral" not in found  # which needs the teacher
    whole = entries(Cell("cpu-epyc-1thread", "all", "poisson", 0.9, 5.0, 1, ONE), SHELF, "adaptive")
    assert Entry("deferral", "all").kind("adaptive") == "recorded"
    assert Entry("deferral", "all") in whole


def test_the_key_of_a_run_is_that_of_its_own_code():
    assert code("nexus") != code("clockwork")
    assert code("predicted(adaptive)") != code("adaptive")


def test_the_page_has_a_row_for_each_cell_that_another_wins():
    adaptive, nexus, teacher = Entry("adaptive", "all"), Entry("nexus", "all"), Entry("nexus", "teacher")
    lost = CALM._replace(table="h200-modelled", served="all", load=1.2)
    won = lost._replace(load=0.3)
    standings = [
        Standing(won, adaptive, {adaptive: [0.9, 0.9], nexus: [0.8, 0.8]}, []),
        Standing(
            lost, adaptive, {adaptive: [0.8, 0.82], nexus: [0.7, 0.7], teacher: [0.83, 0.83]}, [Entry("mpc", "all")]
        ),
    ]
    assert [behind(each) for each in standings] == pytest.approx([-10, 2])
    text = page(standings, ROUNDS, "command", ["optimum"])
    row = next(line for line in text.splitlines() if line.startswith("| h200-modelled"))
    assert [cell.strip() for cell in row.strip("|").split("|")][7:] == [
        "81.00", "`nexus on teacher`", "83.00", "2.00", "+1.00 to +3.00",
    ]  # fmt: skip
    assert "| all | 2 | 1 | 1 | 1 | 2.00 |" in text
    assert "`mpc`" in text


def test_the_command_on_the_page_has_what_changes_the_figures_and_no_path():
    asked = ["--cells", "20", "--trust", "--jobs", "2", "--store", "/tmp/x", "--page", "/tmp/x.md"]
    assert command(parser().parse_args(asked)) == "python benchmarks/policy_contest.py --cells 20 --trust"


@pytest.mark.parametrize(
    "wrong",
    ["--cells abc", "--cells -5", "--cells 0 --random 0", "--only zzz", "--requests 0", "--screening 0", "--seeds 0"]
    + ["--policy nope", "--seed -1", "--jobs 0"],
)
def test_options_out_of_range_are_refused_in_a_line(wrong, tmp_path, capsys):
    assert main([*wrong.split(), "--store", str(tmp_path / "store"), "--page", str(tmp_path / "page.md")]) == 2
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 1
    assert said[0].startswith("error: ")
    assert not (tmp_path / "page.md").exists()
