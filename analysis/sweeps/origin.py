"""Which code and which inputs a result comes from, as digests: what is kept is used again only for the same."""

from __future__ import annotations

import hashlib
import inspect
import json
import os
import sys
from functools import cache
from pathlib import Path

import numpy as np

from analysis.sweeps.grid import AXES
from policies import make
from policies.machinery.wrapped import chain
from profiler.table import as_table
from simulator.settings import Settings

ROOT = Path(__file__).parents[2]
#: All code that a cell's row can depend on; profiler's parts that run models are not among it.
_SOURCES = (
    "traces/**/*.py", "traces/shipped/*", "policies/**/*.py", "simulator/**/*.py", "profiler/table/*.py",
    "analysis/sweeps/cells.py",
)  # fmt: skip


@cache
def code_digest() -> str:
    """Hash of the sources that a simulation runs through, and of the versions that its random numbers depend on."""
    digest = hashlib.sha256(f"{np.__version__} {sys.version_info[:2]}".encode())
    for path in sorted({path for pattern in _SOURCES for path in ROOT.glob(pattern) if path.is_file()}):
        digest.update(f"{path.relative_to(ROOT)}\0".encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


class Keys:
    """The content keys of cells: settings, the bytes of every file they name, the table's digest, the code.

    Files and tables are read once per object. Raises ValueError, LookupError or OSError for what cannot be read.
    """

    def __init__(self) -> None:
        self._files: dict[str, str] = {}
        self._tables: dict[str | None, str] = {}
        self._policies: dict[str, str] = {}

    def key(self, settings: Settings, since_s: float = 0.0) -> str:
        """Equal where nothing that can change a cell's row differs."""
        values = {name: getattr(settings, name) for name in AXES if name != "table"}
        for name in ("trace", "lengths"):
            values[name] = self._content(values[name])
        values |= {"table": self._table(settings.table), "outside": self._outside(settings.policy)}
        text = json.dumps([values, since_s, code_digest()], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:32]

    def _content(self, named: str | None) -> list[str | None]:
        """What a trace or lengths stand for: a file's bytes, or the text with the files that it names."""
        if named is None or os.path.isfile(named):
            return [None if named is None else self._file(named)]
        inside = [part.rpartition("=")[2].strip() for part in named.partition(":")[2].split(",")]
        return [named, *(self._file(each) for each in inside if os.path.isfile(each))]

    def _file(self, path: str) -> str:
        if path not in self._files:
            with open(path, "rb") as file:
                self._files[path] = hashlib.file_digest(file, "sha256").hexdigest()
        return self._files[path]

    def _table(self, named: str | None) -> str:
        if named not in self._tables:
            table = as_table(named)
            meta = json.dumps(dict(table.meta), sort_keys=True, default=str)
            self._tables[named] = f"{table.digest} {hashlib.sha256(meta.encode()).hexdigest()}"
        return self._tables[named]

    def _outside(self, spec: str) -> str:
        """The sources of policies that are not ours."""
        if spec not in self._policies:
            sources = {inspect.getsourcefile(type(each)) for each in chain(make(spec))}
            outside = sorted(each for each in sources if each and not Path(each).is_relative_to(ROOT / "policies"))
            self._policies[spec] = " ".join(map(self._file, outside))
        return self._policies[spec]
