"""Which code and which inputs a result comes from, as digests: what is kept is used again only for the same."""

from __future__ import annotations

import hashlib
import json
import os
import sys
from functools import cache
from pathlib import Path

import numpy as np

from analysis.sweeps.grid import AXES
from policies import make
from policies.registry import answers_of, modules_of
from profiler.table import as_table
from simulator.settings import Settings
from traces.shared.modules import digest, outside

ROOT = Path(__file__).parents[2]
#: All code that a cell's row can depend on; profiler's parts that run models are not among it.
_SOURCES = (
    "traces/**/*.py", "traces/shipped/*", "policies/**/*.py", "simulator/**/*.py", "profiler/table/*.py",
    "profiler/answers/*", "profiler/events.py", "analysis/sweeps/cells.py",
)  # fmt: skip


@cache
def code_digest() -> str:
    """Hash of the sources that a simulation runs through, and of the versions that its random numbers depend on."""
    found = hashlib.sha256(f"{np.__version__} {sys.version_info[:2]}".encode())
    for path in sorted({path for pattern in _SOURCES for path in ROOT.glob(pattern) if path.is_file()}):
        found.update(f"{path.relative_to(ROOT)}\0".encode())
        found.update(path.read_bytes())
    return found.hexdigest()[:16]


class Keys:
    """The content keys of cells: settings, the bytes of every file they name, the table's digest, the code.

    Files and tables are read once per object. Raises ValueError, LookupError or OSError for what cannot be read.
    """

    def __init__(self) -> None:
        self._file, self._table, self._policy = cache(_file_digest), cache(_table_digest), cache(_policy)

    def key(self, settings: Settings, since_s: float = 0.0) -> str:
        """Equal where nothing that can change a cell's row differs."""
        values = {name: getattr(settings, name) for name in AXES if name != "table"}
        for name in ("trace", "lengths", "tenants"):
            values[name] = self._content(values[name])
        modules, answers = self._policy(settings.policy)
        read = [self._file(each) for each in answers]
        values |= {"table": self._table(settings.table), "modules": modules, "read": read}
        text = json.dumps([values, since_s, code_digest()], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:32]

    def _content(self, named: str | None) -> list[str | None]:
        """What a trace, lengths or tenants stand for: the bytes of a file or a session, or the text and its files."""
        if named is None or os.path.isfile(named):
            return [None if named is None else self._file(named)]
        if os.path.isdir(named):
            return [
                self._file(each.path)
                for each in sorted(os.scandir(named), key=lambda each: each.name)
                if each.is_file()
            ]
        inside = [part.rpartition("=")[2].strip() for part in named.partition(":")[2].split(",")]
        return [named, *(self._file(each) for each in inside if os.path.isfile(each))]


def _file_digest(path: str) -> str:
    return digest(Path(path))


def _table_digest(named: str | None) -> str:
    table = as_table(named)
    meta = json.dumps(dict(table.meta), sort_keys=True, default=str)
    return f"{table.digest} {hashlib.sha256(meta.encode()).hexdigest()}"


def _policy(spec: str) -> tuple[dict[str, str], list[str]]:
    """What tells the modules behind a policy from others, where they are not ours; and the answers that it reads."""
    policy = make(spec)
    return outside(modules_of(policy)), answers_of(policy)
