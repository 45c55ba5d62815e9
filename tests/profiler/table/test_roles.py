"""What the models of a table are, by their names, levels and shapes."""

from __future__ import annotations

import pytest
from written import write_table

from profiler.table import LatencyTable, by_role, technique

#: Of each model: its depth, and how many students its levels have.
MODELS = {"students-2x8": (2, (1, 2)), "teacher-6x8": (6, (1,)), "teacher-2x8": (2, (1,)), "single-9x8": (9, (1,))}


def table(folder, models=MODELS, tasks=None):
    """A table of these models, accuracies of each task for the models named."""
    rows = [f"{model},{k},{depth},8,1,16,1000" for model, (depth, levels) in models.items() for k in levels]
    write_table(folder, rows, accuracy=False)
    known = [
        f"{model},{k},{task},0.9" for task, own in (tasks or {}).items() for model in own for k in models[model][1]
    ]
    if known:
        (folder / "accuracy.csv").write_text("\n".join(["model,students,task,accuracy", *known]) + "\n")
    return LatencyTable.load(str(folder))


def test_the_deepest_model_of_one_level_is_the_teacher_and_the_others_are_single(tmp_path):
    assert by_role(table(tmp_path), None) == {
        "students": ("students-2x8",),
        "single": ("teacher-2x8", "single-9x8"),
        "teacher": ("teacher-6x8",),
    }


def test_a_table_may_lack_a_role(tmp_path):
    found = by_role(table(tmp_path, {"students-2x8": (2, (1,)), "single-2x8": (2, (1,))}), None)
    assert found == {"students": ("students-2x8",), "single": ("single-2x8",), "teacher": ()}


def test_a_model_of_another_name_is_told_by_its_levels(tmp_path):
    found = by_role(table(tmp_path, {"bert": (12, (1,)), "own": (2, (1, 2, 3))}), None)
    assert found == {"students": ("own",), "single": (), "teacher": ("bert",)}


def test_models_without_accuracies_on_the_task_have_no_role_on_it(tmp_path):
    its = table(tmp_path, tasks={"toy": list(MODELS), "real": ["students-2x8", "teacher-2x8"]})
    assert by_role(its, "real") == {"students": ("students-2x8",), "single": (), "teacher": ("teacher-2x8",)}
    assert by_role(its, "toy")["teacher"] == ("teacher-6x8",)
    with pytest.raises(LookupError, match="another"):
        by_role(its, "another")


def test_the_technique_of_a_mix_names_each_role_once(tmp_path):
    its = table(tmp_path)
    assert [technique(its, model, None) for model in MODELS] == ["students", "teacher", "single", "single"]
    assert technique(its, "teacher-6x8, students-2x8", None) == "students+teacher"
    assert technique(its, ",".join(reversed(MODELS)), None) == "students+single+teacher"
