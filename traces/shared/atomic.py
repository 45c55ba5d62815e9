"""Files and folders that appear whole or not at all, also at Ctrl-C; a symlink is written through, not replaced."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def replacing(target: Path) -> Iterator[Path]:
    """A temporary file beside the target that takes its place on success and vanishes otherwise."""
    target = _real(target)
    if not target.parent.is_dir():
        raise ValueError(f"{target}: there is no folder {target.parent}")
    handle, name = tempfile.mkstemp(prefix=f".{target.name}.", dir=target.parent)
    os.close(handle)
    part = Path(name)
    try:
        yield part
        part.chmod(_allowed(0o666))  # mkstemp and safetensors write files that no one else can read
        part.replace(target)
    finally:
        part.unlink(missing_ok=True)


def write_text(target: Path, text: str) -> None:
    """A text file, whole or not at all."""
    with replacing(target) as part:
        part.write_text(text, encoding="utf-8")


@contextmanager
def replacing_folder(target: Path) -> Iterator[Path]:
    """The same for a folder; what was there before is removed once the new one stands."""
    target = _real(target)
    make_folder(target.parent)
    folder = Path(tempfile.mkdtemp(".tmp", f".{target.name}.", target.parent))
    old = folder.with_suffix(".old")
    try:
        yield folder
        folder.chmod(_allowed(0o777))
        if target.exists():
            target.rename(old)
        folder.rename(target)
    finally:
        if old.exists() and not target.exists():
            old.rename(target)
        shutil.rmtree(folder, ignore_errors=True)
        shutil.rmtree(old, ignore_errors=True)


def make_folder(folder: Path) -> None:
    """Make a folder and those above it where they are not there, also the one that a symlink points to."""
    Path(os.path.realpath(folder)).mkdir(parents=True, exist_ok=True)


def refuse_foreign(out: Path, marker: str, what: str) -> None:
    """Raise ValueError where `out` must not be replaced: it is neither empty nor a folder that holds the file `marker`.

    what: what such a folder is.
    """
    if out.exists() and not (out.is_dir() and ((out / marker).exists() or not any(out.iterdir()))):
        raise ValueError(f"{out} exists and is not {what}: name another --out")


def _allowed(mode: int) -> int:
    """The mode that the umask leaves of this one."""
    mask = os.umask(0)
    os.umask(mask)
    return mode & ~mask


def _real(target: Path) -> Path:
    return Path(os.path.realpath(target)) if target.is_symlink() else target
