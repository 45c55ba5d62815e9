"""What a policy did wrong, and where."""

from __future__ import annotations

from pathlib import Path
from traceback import extract_tb


class PolicyError(ValueError):
    """A policy broke a rule of the loop, or raised. One message, since SimPy re-creates exceptions from their args."""


def place(error: BaseException | None) -> str:
    """The innermost line, of this error or of what caused it, that is not the simulator's: ' (file, line n)'."""
    here = Path(__file__).parent
    while error is not None:
        frames = [frame for frame in extract_tb(error.__traceback__) if Path(frame.filename).parent != here]
        if frames:
            return f" ({frames[-1].filename}, line {frames[-1].lineno})"
        error = error.__cause__
    return ""
