"""Where results go, looked at before anything is simulated: a long run must not end at a wrong path."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from traces.shared.atomic import refuse_foreign


def folder_for(out: Path, marker: str, what: str) -> None:
    """Raise ValueError where results cannot go to a folder: it holds something else, or cannot be made or written.

    marker: the file by which an earlier result of the same kind is told, which may be replaced. what: that kind.
    """
    refuse_foreign(out, marker, f"the output of a {what}")
    there = next(each for each in (out, *out.absolute().parents) if each.exists())
    _writable(out, there)


def file_for(out: Path | None, suffixes: Sequence[str]) -> None:
    """Raise ValueError where a table cannot go to a file: another kind of file, a folder, or nowhere to write it."""
    if out is None:
        return
    if out.suffix not in suffixes:
        raise ValueError(f"--out {out}: tables are written as {' or '.join(suffixes)}")
    if out.is_dir():
        raise ValueError(f"--out {out} is a folder: name a file")
    if not out.parent.is_dir():
        raise ValueError(f"--out {out}: there is no folder {out.parent}")
    _writable(out, out.parent)


def _writable(out: Path, folder: Path) -> None:
    if not folder.is_dir() or not os.access(folder, os.W_OK | os.X_OK):
        raise ValueError(f"--out {out}: {folder} is {'not writable' if folder.is_dir() else 'a file'}")
