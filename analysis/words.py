"""Where accuracies come from, in words."""

from __future__ import annotations

from collections.abc import Iterable


def accuracies(tasks: Iterable[str | None], sentence: str) -> list[str]:
    """Where accuracies come from, by the tasks that they are of, in a sentence such as "on {}"; none without tasks."""
    said = ["illustrative (not measured)" if task == "illustrative" else f"on {task}" for task in tasks if task]
    return [sentence.format(" and ".join(dict.fromkeys(said)))] if said else []
