"""Files that are there whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary file beside `path` that takes its place on success and vanishes otherwise, also at Ctrl-C.

    Raises ValueError where there is no folder for it.
    """
    if not path.parent.is_dir():
        raise ValueError(f"{path}: there is no folder {path.parent}")
    part = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        yield part
        mask = os.umask(0)
        os.umask(mask)
        part.chmod(0o666 & ~mask)  # safetensors writes files that no one else can read
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
