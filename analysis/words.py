"""Where accuracies come from, in words."""

from __future__ import annotations

from collections.abc import Iterable


def accuracies(tasks: Iterable[str | None]) -> str:
    """Where accuracies come from, by the tasks that they are of; empty where there are none."""
    said = ["illustrative (not measured)" if task == "illustrative" else f"on {task}" for task in tasks if task]
    return " and ".join(dict.fromkeys(said))
