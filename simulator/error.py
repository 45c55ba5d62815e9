"""What a policy did wrong, and where."""

from __future__ import annotations

from pathlib import Path
from traceback import extract_tb

import simpy


class PolicyError(ValueError):
    """A policy broke a rule of the loop, or raised. One message, as SimPy wants it of exceptions."""


def place(error: BaseException | None) -> str:
    """The innermost line, of this error or of what caused it, that is not the simulator's: ' (file, line n)'."""
    ours = (Path(__file__).parent, Path(simpy.__file__).parent)
    while error is not None:
        frames = [frame for frame in extract_tb(error.__traceback__) if Path(frame.filename).parent not in ours]
        if frames:
            return f" ({frames[-1].filename}, line {frames[-1].lineno})"
        error = error.__cause__
    return ""
