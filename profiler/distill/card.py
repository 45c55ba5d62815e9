"""Where a study's figures come from: its card.json, and what a table keeps of it beside the accuracies."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from traces.shared.documents import json_text, read_json

CARD = "card.json"
#: What a card says of its figures. `adopt` takes no study without them, unless its split leaks, which is then said.
TRACED = ("data", "split", "seed", "recipe", "commit")


def read_card(folder: Path) -> dict[str, Any]:
    """The card of a study's folder. Raises LookupError where there is none, ValueError for another file."""
    path = folder / CARD
    if not path.is_file():
        raise LookupError(f"{path} is not there: it says where the figures come from (python -m profiler distill)")
    card = read_json(path)
    if not isinstance(card, dict) or not {"task", "seed", "recipe"} <= set(card):
        raise ValueError(f"{path} is not the card of a study: it must be an object with task, seed and recipe")
    return card


def leaks(card: Mapping[str, Any]) -> bool:
    """Whether evaluated texts stand inside training texts, or nobody looked."""
    found = card.get("containment")
    return not found or any(part["in_training"] for part in found.values())


def source(folder: Path) -> dict[str, Any]:
    """What a table's metadata keeps of a study: its card's path, and data, split, seed, recipe, commit of TRACED.

    recipe: a digest. Raises ValueError where the card lacks one, unless its split leaks: then they may be None.
    """
    card = read_card(folder)
    missing = [name for name in TRACED if card.get(name) is None]
    if missing and not leaks(card):
        raise ValueError(
            f"{folder / CARD} does not say its {', '.join(missing)}: run the study's command again; it goes on from "
            "its checkpoints, and writes the card anew"
        )
    recipe = hashlib.sha256(json_text(card["recipe"]).encode()).hexdigest()[:16]
    own = {name: card.get(name) for name in TRACED}
    return {"card": (folder / CARD).as_posix(), **own, "recipe": recipe}


def files_digest(*paths: Path | None) -> dict[str, str]:
    """The files that a task's rows come from, by name, each with a digest of its bytes."""
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest()[:16] for path in paths if path is not None}
