"""What the models of a table are: students, single models, the teacher. Several in one are a mix. A leaf: no torch."""

from __future__ import annotations

from profiler.table.latency import LatencyTable

#: In the order in which a mix names them.
ROLES = STUDENTS, SINGLE, TEACHER = ("students", "single", "teacher")


def by_role(table: LatencyTable, task: str | None) -> dict[str, tuple[str, ...]]:
    """The models of each of ROLES, in the order of the table: those with accuracies on the task; all without a task.

    students: ensembles. teacher: the deepest, then widest, model of one level that is not named single-*; one at most.
    single: every other model of one level. Its name need not say so: a distilled one may stand in a table under the
    name of the model whose times it has (`profiler.distill.adoption`).
    """
    known = evaluated(table, task)
    alone = [model for model in known if not ensemble(table, model)]
    named = [model for model in alone if not model.startswith(f"{SINGLE}-")]
    teacher = max(named, key=lambda model: _shape(table, model), default=None)
    return {
        STUDENTS: tuple(model for model in known if model not in alone),
        SINGLE: tuple(model for model in alone if model != teacher),
        TEACHER: () if teacher is None else (teacher,),
    }


def evaluated(table: LatencyTable, task: str | None) -> tuple[str, ...]:
    """The models with accuracies on a task, all without one. Raises LookupError for a task that is not there."""
    if task is None or table.accuracy is None:
        return table.models
    table.levels(table.models[0], task)  # an unknown task is refused here
    return tuple(model for model in table.models if table.accuracy.of(model, task))


def ensemble(table: LatencyTable, model: str) -> bool:
    """Whether a model is an ensemble of students: by its name, or by its levels."""
    return model.startswith(f"{STUDENTS}-") or len(table.levels(model)) > 1


def technique(table: LatencyTable, model: str, task: str | None) -> str:
    """The role of a model; of a mix (commas between its models) each role once, such as students+teacher."""
    role_of = {each: role for role, models in by_role(table, task).items() for each in models}
    found = {role_of.get(each, STUDENTS if ensemble(table, each) else SINGLE) for each in table.named(model)}
    return "+".join(role for role in ROLES if role in found)


def _shape(table: LatencyTable, model: str) -> tuple[int, int]:
    level = table.levels(model)[0]
    return level.depth, level.hidden
