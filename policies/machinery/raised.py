"""What a policy's own code raises is an error of the policy, exit() and GeneratorExit too; Ctrl-C is not."""

from __future__ import annotations

from traceback import extract_tb


def heed_interrupt(error: BaseException) -> None:
    """Raise it again where it is Ctrl-C; a class derived from KeyboardInterrupt is the policy's own."""
    if type(error) is KeyboardInterrupt:
        raise error


def described(error: BaseException) -> str:
    """Its message, and where it was raised."""
    frames = [
        each
        for each in extract_tb(error.__traceback__)
        if not (each.filename.startswith("<frozen ") or "importlib" in each.filename)
    ]
    place = f" ({frames[-1].filename}, line {frames[-1].lineno})" if len(frames) > 1 else ""
    return f"{type(error).__name__}: {error}{place}"
