"""What is served, resolved once: which levels are in use, in which order, and what is left out."""

from __future__ import annotations

from itertools import permutations
from math import nan

import numpy as np
import pytest
from conftest import EPYC

from profiler.table import AccuracyTable, BucketPlan, Deployment, LatencyTable, Level, ShapeKey, shipped

BATCHES, TOKENS = (1, 4), (16, 32)


def table(models, holes=()):
    """A table of models: by name (students, accuracy, microseconds at batch 1 and 4 of 16, then of 32 tokens)."""
    rows = [
        (model, students, batch, tokens, times[2 * j + i])
        for model, levels in models.items()
        for students, _, times in levels
        for j, tokens in enumerate(TOKENS)
        for i, batch in enumerate(BATCHES)
        if (model, students, batch, tokens) not in holes
    ]
    model, students, batch, tokens, latency = (np.array(column) for column in zip(*rows, strict=True))
    ones = np.ones(len(rows), int)
    columns = {"model": model, "students": students, "depth": ones, "hidden": 8 * ones, "batch": batch,
               "tokens": tokens, "latency_us": latency.astype(float)}  # fmt: skip
    known = [(name, k, "toy", a) for name, levels in models.items() for k, a, _ in levels if a == a]
    return LatencyTable("made", columns, {"device": "a formula"}, AccuracyTable(tuple(known)) if known else None)


def named(levels):
    return [str(level) for level in levels]


def of(models, *arguments, **more):
    return Deployment.of(table(models), ",".join(models), *arguments, **more)


ENSEMBLE = [(1, 0.80, (1, 2, 2, 4)), (2, 0.86, (2, 4, 4, 8)), (3, 0.85, (3, 6, 6, 12)), (8, 0.87, (8, 16, 16, 32))]


def test_one_models_levels_ascend_by_students_and_all_are_kept():
    found = of({"students-1x8": ENSEMBLE})
    assert named(found.levels) == [f"students-1x8/{k}" for k in (1, 2, 3, 8)]
    assert [level.index for level in found.levels] == [0, 1, 2, 3]
    assert (found.left_out, found.notes) == ((), ())
    assert found.levels == table({"students-1x8": ENSEMBLE}).levels("students-1x8", "toy")


def test_useful_leaves_out_what_another_level_of_the_same_model_dominates():
    found = of({"students-1x8": ENSEMBLE}, levels="useful")
    assert named(found.levels) == [f"students-1x8/{k}" for k in (1, 2, 8)]
    assert [level.index for level in found.levels] == [0, 1, 2]
    assert named(found.left_out) == ["students-1x8/3"]


def test_several_models_ascend_by_accuracy_without_what_another_models_level_dominates():
    models = {"students-1x8": ENSEMBLE, "teacher-4x8": [(1, 0.9, (4, 8, 8, 16))]}
    found = of(models)
    assert named(found.levels) == ["students-1x8/1", "students-1x8/3", "students-1x8/2", "teacher-4x8/1"]
    assert named(found.left_out) == ["students-1x8/8"]
    assert [level.index for level in found.levels] == [0, 1, 2, 3]
    assert [level.accuracy for level in found.levels] == [0.8, 0.85, 0.86, 0.9]
    assert "students-1x8/8" in found.notes[0]
    assert "--levels all" in found.notes[0]
    assert found.predictions.grid[-1] == [[4e-6, 8e-6], [8e-6, 16e-6]], "by [length][batch], of the teacher"
    assert named(of(models, levels="all").levels) == [f"students-1x8/{k}" for k in (1, 3, 2, 8)] + ["teacher-4x8/1"]
    assert named(of(models, levels="useful").levels) == ["students-1x8/1", "students-1x8/2", "teacher-4x8/1"]


def test_a_level_that_is_faster_at_one_key_is_kept():
    models = {"students-1x8": ENSEMBLE, "teacher-4x8": [(1, 0.9, (4, 8, 8, 32.1))]}
    assert named(of(models).levels)[-2:] == ["students-1x8/8", "teacher-4x8/1"]
    as_fast = {"students-1x8": ENSEMBLE, "teacher-4x8": [(1, 0.9, (8, 16, 16, 32))]}
    assert named(of(as_fast).left_out) == ["students-1x8/8"]


def test_a_dominated_highest_level_goes_and_what_dominates_it_is_the_highest():
    models = {"students-1x8": [(1, 0.8, (1, 1, 1, 1)), (2, 0.9, (5, 5, 5, 5))], "teacher-4x8": [(1, 0.9, (4, 4, 4, 4))]}
    assert named(of(models).levels) == ["students-1x8/1", "teacher-4x8/1"]


def test_of_levels_that_are_equal_in_everything_the_first_named_stays():
    same = [(1, 0.9, (4, 4, 4, 4))]
    for names in permutations(["a-1x8", "b-1x8", "c-1x8"]):
        found = of(dict.fromkeys(names, same))
        assert named(found.levels) == [f"{names[0]}/1"]
        assert found.models == names[:1]
    assert len(of({"a-1x8": same, "b-1x8": same}, levels="all").levels) == 2


def test_of_equal_accuracies_the_fastest_is_the_highest():
    models = {"a-1x8": [(1, 0.9, (1, 9, 9, 9))], "b-1x8": [(1, 0.9, (2, 2, 2, 2))]}
    assert named(of(models).levels) == ["a-1x8/1", "b-1x8/1"]
    assert named(of(dict(reversed(models.items()))).levels) == ["a-1x8/1", "b-1x8/1"]


@pytest.mark.parametrize("known", [False, True])
def test_without_all_accuracies_levels_ascend_by_one_request_of_the_greatest_length(known):
    accuracy = 0.9 if known else nan
    models = {"students-1x8": [(1, accuracy, (1, 2, 200, 300)), (4, accuracy, (1, 3, 700, 950))],
              "teacher-6x8": [(1, nan, (9, 9, 500, 800))]}  # fmt: skip
    for order in permutations(models):
        found = Deployment.of(table(models), ",".join(order))
        assert named(found.levels) == ["students-1x8/1", "teacher-6x8/1", "students-1x8/4"]
        assert found.left_out == ()


def test_in_random_tables_the_order_of_the_names_changes_nothing_and_the_best_stay():
    rng = np.random.default_rng(0)
    for _ in range(200):
        models = {
            f"{name}-1x8": [
                (k, rng.integers(70, 76) / 100, sorted(rng.uniform(k, k + 3, 4))) for k in range(1, rng.integers(2, 6))
            ]
            for name in "abc"[: rng.integers(2, 4)]
        }
        its = table(models)
        for choice in ("default", "all", "useful"):
            found = [Deployment.of(its, ", ".join(order), levels=choice) for order in permutations(models)]
            assert len({tuple(each.levels) for each in found}) == 1
            accuracies = [level.accuracy for level in found[0].levels]
            assert accuracies == sorted(accuracies)
            assert accuracies[-1] == max(a for levels in models.values() for _, a, _ in levels)
            assert len(accuracies) + len(found[0].left_out) == sum(map(len, models.values()))
            times = {(name, k): np.array(t) for name, levels in models.items() for k, _, t in levels}
            for out in found[0].left_out:
                assert any(
                    level.accuracy >= out.accuracy
                    and (times[level.model, level.students] <= times[out.model, out.students]).all()
                    for level in found[0].levels
                )


def test_what_is_shipped():
    found = Deployment.of(EPYC, "students-2x384,teacher-6x384")
    assert named(found.levels) == [*(f"students-2x384/{k}" for k in (1, 3, 2, 4)), "teacher-6x384/1"]
    assert named(found.left_out) == ["students-2x384/6", "students-2x384/8"]
    assert found.models == ("students-2x384", "teacher-6x384")


def test_names_are_resolved_and_spaces_do_not_matter():
    its = table({"students-1x8": ENSEMBLE, "teacher-4x8": [(1, 0.9, (4, 8, 8, 16))]})
    found = Deployment.of(its)
    assert (found.model, found.task, found.choice) == ("students-1x8", "toy", "default")
    assert found.plan == BucketPlan(BATCHES, TOKENS)
    assert Deployment.of(its, "students-1x8 , teacher-4x8").models == ("students-1x8", "teacher-4x8")
    assert Deployment.of(found) is found
    assert Deployment.of().table.name == shipped()[0]


def test_other_tasks_are_those_of_the_table_beside_its_own():
    found = Deployment.of(EPYC, task="banking77")
    assert found.other_tasks == {"sst2", "illustrative", "snips"}
    assert of({"a-1x8": [(1, nan, (1, 1, 1, 1))]}).other_tasks == frozenset()


def test_what_is_not_there_is_refused():
    models = {"students-1x8": ENSEMBLE, "teacher-4x8": [(1, 0.9, (4, 8, 8, 16))]}
    its = table(models)
    with pytest.raises(LookupError, match=r"'b'.*students-1x8, teacher-4x8"):
        Deployment.of(its, "students-1x8,b")
    with pytest.raises(ValueError, match="named twice"):
        Deployment.of(its, "students-1x8,students-1x8")
    with pytest.raises(LookupError, match=r"task 'b'.*toy"):
        Deployment.of(its, task="b")
    with pytest.raises(ValueError, match=r"levels is 'best'.*default, all, useful"):
        Deployment.of(its, levels="best")
    with pytest.raises(ValueError, match="model, task and levels"):
        Deployment.of(Deployment.of(its), "teacher-4x8")


def test_a_hole_in_the_table_is_found_at_load():
    models = {"students-1x8": ENSEMBLE, "teacher-4x8": [(1, 0.9, (4, 8, 8, 16))]}
    holed = table(models, holes=[("students-1x8", 2, 4, 32)])
    with pytest.raises(LookupError, match="students-1x8/2 at batch 4, 32 tokens"):
        Deployment.of(holed)
    found = Deployment.of(holed, "teacher-4x8")
    assert found.table.seconds(found.levels[0], ShapeKey(1, 4, 32)) == 16e-6
    assert isinstance(found.levels[0], Level)
