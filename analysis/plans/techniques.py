"""The techniques that a table offers: a plain teacher, a single distilled model, students, and useful mixes of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from profiler.table import ROLES, SINGLE, STUDENTS, TEACHER, Deployment, LatencyTable, by_role, evaluated

#: The task of accuracies that nobody measured.
ILLUSTRATIVE = "illustrative"
#: The roles whose models are tried together, besides each model by itself: without single models, without students, and
#: all. Not every subset: of each mix the models of which no level is useful are left out.
MIXES = ((STUDENTS, TEACHER), (SINGLE, TEACHER), ROLES)


class Offered(NamedTuple):
    """What of a table is tried, on one task. left_out: the models and mixes that are not, and why, in words."""

    table: LatencyTable
    deployments: list[Deployment]
    task: str | None
    left_out: list[str]

    @property
    def warnings(self) -> list[str]:
        """What must not be believed of the accuracies, and how far modelled times may be off."""
        band = self.table.meta.get("band")
        return [*self._of_accuracies(), *([f"table {self.table.name} is modelled: {band}"] if band else [])]

    def _of_accuracies(self) -> list[str]:
        if self.task is None:
            return [f"table {self.table.name} has no accuracies: pruning means nothing, since the fewest students look "
                    f"as good as all; evaluate the models, or do not choose between them by this plan"]  # fmt: skip
        if self.task == ILLUSTRATIVE:
            others = [task for task in _tasks(self.table) if task != self.task]
            hint = f" (measured: --task {' or '.join(others)})" if others else ""
            return [f"the accuracies of table {self.table.name} are illustrative, not measured: what wins by accuracy, "
                    f"or by --min-accuracy, is an example{hint}"]  # fmt: skip
        return []


def offered(table: LatencyTable, models: Sequence[str] | None, task: str | None, levels: str) -> Offered:
    """These models of a table, each by itself (commas join several); by default all, and each useful mix.

    The task is the table's first where none is named. Models without accuracies on it are left out. Raises LookupError
    where none is left, and for models and tasks that are not there.
    """
    task = table.default_task() if task is None else task
    wanted = list(table.models if models is None else dict.fromkeys(models))
    missing = [each for each in wanted if not set(table.named(each)) <= set(evaluated(table, task))]
    known = [each for each in wanted if each not in missing]
    said = f"no accuracies on {task}"
    if not known:
        lacking = {name for each in missing for name in table.named(each)}
        others = [other for other in _tasks(table) if lacking <= set(evaluated(table, other))]
        there = f"name one that all have: --task {' or '.join(others)}" if others else "evaluate them"
        raise LookupError(f"table {table.name}: {', '.join(missing)}: {said}; {there}")
    left_out = [f"without {', '.join(missing)}: {said}"] if missing else []
    deployments = [Deployment.of(table, each, task, levels) for each in known]
    if models is None and task is not None:  # without accuracies nothing is known to be useful
        for roles in MIXES:
            try:
                deployments += _mixed(table, roles, task, levels, deployments)
            except LookupError as error:  # sizes that not all have
                left_out.append(f"without {'+'.join(roles)}: {error.args[0]}")
    left_out += dict.fromkeys(note for each in deployments for note in each.notes) if models is not None else ()
    return Offered(table, deployments, task, left_out)


def _tasks(table: LatencyTable) -> tuple[str, ...]:
    return table.accuracy.tasks if table.accuracy else ()


def _mixed(
    table: LatencyTable, roles: Sequence[str], task: str, levels: str, tried: list[Deployment]
) -> Iterator[Deployment]:
    """The mix of the models with these roles, of those with a level in use; none where that is one, or was tried."""
    models = by_role(table, task)
    members = tuple(each for role in roles for each in models[role])
    while len(members) > 1:
        mix = Deployment.of(table, ",".join(members), task, levels)
        if len(mix.models) == len(members):
            if all(set(members) != set(table.named(each.model)) for each in tried):
                yield mix
            return
        members = mix.models
