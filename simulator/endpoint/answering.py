"""What a reply says of the answers to the texts of one request: how they were made, and which texts have none."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

from simulator.endpoint.asking import Answer, Unanswered

#: Texts without an answer that an error names.
NAMED = 10


def answered(found: Sequence[Answer | Unanswered], in_part: bool) -> dict[int, Answer]:
    """The answers by the number of their text. Raises Unanswered where one is missing, unless a part is enough.

    Of several texts it says which these are, and why the first of them has no answer.
    """
    answers = {row: each for row, each in enumerate(found) if isinstance(each, Answer)}
    lost = {row: each for row, each in enumerate(found) if isinstance(each, Unanswered)}
    if not lost or (in_part and answers):
        return answers
    why = next(iter(lost.values()))
    if len(found) == 1:
        raise why
    named = ", ".join(map(str, list(lost)[:NAMED])) + ("" if len(lost) <= NAMED else ", ...")
    which = f"{len(lost)} of {len(found)} texts have no answer (numbers {named}, from 0 on)"
    raise Unanswered(why.status, why.outcome, f"{which}: {why.reason}")


def figures(answers: Collection[Answer]) -> dict[str, Any]:
    """How answers were made; of several, the largest figures."""
    return {
        "students_used": max(each.used.students for each in answers),
        "layers_used": max(each.used.layers for each in answers),
        "queue_us": max(round((each.start_s - each.arrival_s) * 1e6) for each in answers),
        "batch_size": max(each.batch_size for each in answers),
        "compute_us": max(round((each.finish_s - each.start_s) * 1e6) for each in answers),
    }


def missing(found: Sequence[Answer | Unanswered]) -> dict[str, Any]:
    """The numbers of the texts without an answer, from 0 on, and why the first of them has none; empty without any."""
    lost = {row: each for row, each in enumerate(found) if isinstance(each, Unanswered)}
    if not lost:
        return {}
    return {"unanswered": ",".join(map(str, lost)), "unanswered_why": next(iter(lost.values())).reason}
