"""Two tables, or two models of a table, side by side at equal batches and lengths; the denominator has a name."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from profiler.table.latency import LatencyTable
from profiler.table.plan import Level, ShapeKey


@dataclass(frozen=True)
class Side:
    """One side: a table, all of it or one model of it, all its levels or one."""

    table: LatencyTable
    model: str | None = None
    students: int | None = None

    def __str__(self) -> str:
        name = self.table.name
        name += f":{self.model}" if self.model else ""
        name += f"/{self.students}" if self.students else ""
        return f"{name} [{self.table.device}]"

    def levels(self) -> list[Level]:
        """The levels that are meant. Raises LookupError for unknown models or numbers of students."""
        models = self.table.models if self.model is None else (self.model,)
        levels = [level for model in models for level in self.table.levels(model)]
        chosen = [level for level in levels if self.students in (None, level.students)]
        if not chosen:
            counts = ", ".join(str(level.students) for level in levels)
            raise LookupError(f"table {self.table.name}: {self.model} has {counts} students, not {self.students}")
        return chosen


def parse_operand(text: str) -> Side:
    """Read TABLE, TABLE:MODEL or TABLE:MODEL/STUDENTS; TABLE is a folder or a shipped name."""
    source, colon, rest = text.rpartition(":") if ":" in text else (text, "", "")
    model, slash, students = rest.partition("/")
    if slash and not students.isdigit():
        raise ValueError(f"{text!r}: after the slash comes a number of students, e.g. cpu:students-2x384/8")
    return Side(LatencyTable.load(source), model if colon else None, int(students) if slash else None)


class Pair(NamedTuple):
    """One shape on both sides, in seconds."""

    left: Level
    right: Level
    key: ShapeKey
    left_s: float
    right_s: float

    @property
    def ratio(self) -> float:
        """The left time over the right time: above 1 the right side is faster."""
        return self.left_s / self.right_s


def pairs(left: Side, right: Side) -> list[Pair]:
    """Every batch and length that both sides have, in the order of the left table.

    Sides without a model are matched by model and students. A side with a model but no number of students is matched by
    students where the models are equal, and takes its highest level otherwise. Raises LookupError when nothing matches.
    """
    result = []
    for a, b in _matched(left, right):
        plan, other = left.table.plan(a.model), right.table.plan(b.model)
        common = {key._replace(students=a.students) for key in other.keys(b.students)}
        for key in sorted(common.intersection(plan.keys(a.students)), key=lambda key: (key.tokens, key.batch)):
            own = left.table.seconds(a, key), right.table.seconds(b, key._replace(students=b.students))
            result.append(Pair(a, b, key, *own))
    if not result:
        raise LookupError(
            f"{left} and {right} have no shape in common: name a model on both sides, TABLE:MODEL/STUDENTS"
        )
    return result


def _matched(left: Side, right: Side) -> list[tuple[Level, Level]]:
    a, b = left.levels(), right.levels()
    if left.model == right.model and left.students is None and right.students is None:
        return [(x, y) for x in a for y in b if (x.model, x.students) == (y.model, y.students)]
    if left.model is None or right.model is None:
        raise ValueError("name a model on both sides (TABLE:MODEL/STUDENTS), or on neither")
    return [(a[-1], b[-1])]
