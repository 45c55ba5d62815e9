"""Files of lines that only grow: one process appends, others may read at any moment, also after kill -9."""

from __future__ import annotations

import os
from pathlib import Path


def append(path: Path, waiting: bytearray) -> None:
    """Append to a file, which is made; what is written is taken out of `waiting`, also where an OSError cuts it off."""
    file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
    try:
        while waiting:
            del waiting[: os.write(file, waiting)]
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from None
    finally:
        os.close(file)


def whole_lines(path: Path) -> bytes:
    """The lines of a file, without a last one that was not written to its end. Raises OSError."""
    found = path.read_bytes()
    return found[: found.rfind(b"\n") + 1]


def lock(path: Path) -> int | None:
    """Make a file and lock it until its descriptor, which is returned, is closed or the process ends.

    None where another process holds it. Raises OSError on a file system without locks.
    """
    import fcntl  # only where something is locked: there is none on Windows

    file = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BaseException as error:
        os.close(file)
        if isinstance(error, BlockingIOError):
            return None
        raise
    return file


def is_locked(path: Path) -> bool:
    """Whether a process holds the lock of a file."""
    if not path.exists():
        return False
    if (file := lock(path)) is None:
        return True
    os.close(file)
    return False
