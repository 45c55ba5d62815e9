"""What of a table a plan tries: models by themselves, useful mixes, one task."""

from __future__ import annotations

import pytest

from analysis.plans.techniques import offered
from profiler.table import as_table

MIXES = ["students-1x8,teacher-4x8", "single-1x8,teacher-4x8", "students-1x8,single-1x8,teacher-4x8"]


def names(offer):
    return [each.model for each in offer.deployments]


def of(path, models=None, task=None, levels="useful"):
    return offered(as_table(path), models, task, levels)


def test_every_model_and_every_useful_mix_of_the_roles_is_tried(models, made):
    assert names(of(made())) == [*models, *MIXES]


def test_a_table_with_two_roles_has_one_mix(models, made):
    two = {name: models[name] for name in ("students-1x8", "teacher-4x8")}
    assert names(of(made(two))) == [*two, MIXES[0]]


def test_a_model_without_a_useful_level_is_in_no_mix(models, made):
    slow = models | {"students-1x8": [(1, 5.0, 0.80), (2, 6.0, 0.85)]}  # the single model is faster and more accurate
    assert names(of(made(slow))) == [*slow, "students-1x8,teacher-4x8", "single-1x8,teacher-4x8"]
    beaten = models | {"teacher-4x8": [(1, 10.0, 0.70)]}
    assert names(of(made(beaten, name="beaten"))) == [*beaten, "students-1x8,single-1x8"]


def test_named_models_are_all_that_is_tried(made):
    assert names(of(made(), ["teacher-4x8", MIXES[0]])) == ["teacher-4x8", MIXES[0]]


def test_the_first_task_is_kept_and_models_without_it_are_named_as_left_out(models, made):
    tasks = {"real": ["students-1x8", "teacher-4x8"], "illustrative": list(models)}
    offer = of(made(tasks=tasks))
    assert offer.task == "real"
    assert names(offer) == ["students-1x8", "teacher-4x8", MIXES[0]]
    (note,) = offer.left_out
    assert "single-1x8" in note
    assert "real" in note
    assert not offer.warnings


def test_named_models_that_all_lack_the_task_are_refused_with_the_tasks_there_are(models, made):
    path = made(tasks={"real": ["teacher-4x8"], "illustrative": list(models)})
    with pytest.raises(LookupError, match=r"single-1x8.*real.*--task illustrative"):
        of(path, ["single-1x8"])


def test_illustrative_accuracies_are_never_taken_silently(models, made):
    offer = of(made(tasks={"illustrative": list(models), "real": ["teacher-4x8"]}))
    assert offer.task == "illustrative"
    (warning,) = offer.warnings
    assert "not measured" in warning
    assert "--task real" in warning


def test_a_table_without_accuracies_warns_that_pruning_means_nothing_and_has_no_mixes(models, made):
    offer = of(made(tasks={}))
    assert names(offer) == list(models)
    assert offer.task is None
    assert "pruning means nothing" in offer.warnings[0]


def test_a_mix_without_a_size_in_common_is_said(models, made):
    sizes = {"students-1x8": [1, 2], "single-1x8": [2], "teacher-4x8": [1]}
    offer = of(made(sizes=sizes))
    assert names(offer) == [*models, MIXES[0]]
    assert len(offer.left_out) == 2
    assert all("no batch size in common" in each for each in offer.left_out)
