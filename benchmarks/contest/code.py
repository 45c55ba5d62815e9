"""Which code a run goes through, as a digest: what was run is kept until that changes."""

from __future__ import annotations

import ast
import hashlib
from collections.abc import Iterable
from functools import cache
from pathlib import Path

import numpy as np

from analysis.sweeps.origin import ROOT
from policies import make
from policies.registry import modules_of

#: What a run begins with, beside its policy; and the data that it reads.
_FIRST = ("simulator/simulate.py", "benchmarks/contest/cells.py", "benchmarks/contest/tables.py")
_DATA = ("traces/shipped/*.json", "profiler/answers/*.parquet")
#: Where a module is looked for.
_FOLDERS = {"contest": ROOT / "benchmarks"} | dict.fromkeys(
    ("traces", "profiler", "policies", "simulator", "analysis"), ROOT
)


@cache
def code(spec: str) -> str:
    """Hash of the modules of ours that a run with this policy imports, and of its data: another policy's do not matter.

    Left out is the catalogue, which imports them all, and says nothing but their names.
    """
    own = [path for name in modules_of(make(spec)) for path in _files(name)]
    data = (path for pattern in _DATA for path in ROOT.glob(pattern))
    found = hashlib.sha256(np.__version__.encode())
    for path in sorted({*_reached([*own, *(ROOT / name for name in _FIRST)]), *data}):
        found.update(f"{path.relative_to(ROOT)} {_digest(path)}\0".encode())
    return found.hexdigest()[:16]


def _reached(paths: Iterable[Path]) -> set[Path]:
    """These modules and those that they import, one through another."""
    found, left = set[Path](), list(paths)
    while left:
        path = left.pop()
        if path not in found and path.name != "catalogue.py":
            found.add(path)
            left += _imported(path)
    return found


@cache
def _imported(path: Path) -> list[Path]:
    """The modules of ours that a module imports."""
    return [
        file
        for node in ast.walk(ast.parse(path.read_bytes()))
        if isinstance(node, ast.ImportFrom) and node.module
        for name in (node.module, *(f"{node.module}.{each.name}" for each in node.names))
        for file in _files(name)
    ]


def _files(name: str) -> list[Path]:
    """The file of a module of ours, or of a package; none of others and of what is no module."""
    if (folder := _FOLDERS.get(name.partition(".")[0])) is None:
        return []
    path = folder / name.replace(".", "/")
    return [each for each in (path.with_suffix(".py"), path / "__init__.py") if each.is_file()]


@cache
def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
