"""What a policy's own code raises is an error of the policy, exit() and GeneratorExit too; Ctrl-C is not."""

from __future__ import annotations

from traceback import extract_tb
from typing import Any


def heed_interrupt(error: BaseException) -> None:
    """Raise it again where it is Ctrl-C; a class derived from KeyboardInterrupt is the policy's own."""
    if type(error) is KeyboardInterrupt:
        raise error


def attribute(policy: object, name: str, default: Any = None) -> Any:
    """What a policy may leave out. Raises ValueError where its own code, such as a property, raises."""
    try:
        return getattr(policy, name, default)
    except BaseException as error:
        heed_interrupt(error)
        kind = policy if isinstance(policy, type) else type(policy)
        raise ValueError(f"policy {kind.__name__}: {name} raised {described(error)}") from error


def one_line(error: BaseException) -> str:
    """What an error of somebody else's code says, with its type, in a line."""
    try:
        text = str(error)
    except BaseException as wrong:
        heed_interrupt(wrong)
        text = "(its message cannot be shown)"
    return " ".join(f"{type(error).__name__}: {text}".split())


def described(error: BaseException) -> str:
    """Its message, and where it was raised."""
    frames = [
        each
        for each in extract_tb(error.__traceback__)
        if not (each.filename.startswith("<frozen ") or "importlib" in each.filename)
    ]
    place = f" ({frames[-1].filename}, line {frames[-1].lineno})" if len(frames) > 1 else ""
    return f"{one_line(error)}{place}"
