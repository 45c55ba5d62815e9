"""Which modules a result depends on beside ours: their files' digests, or the versions of installed distributions."""

from __future__ import annotations

import ast
import hashlib
import site
import sys
import sysconfig
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import suppress
from functools import cache
from importlib import metadata
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from types import ModuleType

_OURS = {"traces", "profiler", "policies", "simulator", "analysis"}
_INSTALLED = {sysconfig.get_path(kind) for kind in ("stdlib", "platstdlib", "purelib", "platlib")}
_INSTALLED |= {*site.getsitepackages(), site.getusersitepackages()}


def outside(roots: Iterable[str]) -> dict[str, str]:
    """What tells these modules and all that they import, at any depth, from other versions of them; by name, sorted.

    Of a file that is neither ours nor installed its SHA-256, of an installed distribution its version. Nothing is
    imported to find out: an import counts wherever it is written, also in a function and as import_module("name").
    """
    found: dict[str, str] = {}
    seen: set[str] = set()
    rest = list(roots)
    while rest:
        name = rest.pop()
        top = name.partition(".")[0]
        if name in seen or top in _OURS:
            continue
        seen.add(name)
        file = _file(name)
        if "." in name:
            rest.append(name.rpartition(".")[0])
        if file is None or not file.is_file():
            continue
        if not _installed(file):
            found[name] = digest(file)
            rest += _imports(file, name)
        elif (version := _version(top)) is not None:
            found[top] = version
    return dict(sorted(found.items()))


def appeared(before: Collection[str]) -> list[str]:
    """The modules that were imported since `sys.modules` was `before` and are neither ours nor installed."""
    new = [name for name in list(sys.modules) if name not in before and name.partition(".")[0] not in _OURS]
    tops = {name.partition(".")[0] for name in new} - sys.stdlib_module_names
    installed = {top for top in tops if (file := _file(top)) is not None and _installed(file)}
    rest = [name for name in new if name.partition(".")[0] in tops - installed]
    return [name for name in rest if (file := _file(name)) is not None and not _installed(file)]


def refuse_changed(recorded: Mapping[str, str]) -> None:
    """Raise ValueError that names the file where a module of a recorded run is missing or not what it was."""
    now = outside(recorded)
    for name, was in recorded.items():
        if name not in now:
            raise ValueError(f"the recorded run imported {name}, which is not there any more")
        if now[name] != was:
            raise ValueError(f"{_file(name)} has changed since the recorded run, which imported it as {name}")


def digest(path: Path) -> str:
    """The SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _file(name: str) -> Path | None:
    """The file that holds a module, imported or not: its own, or an archive; None where there is none."""
    module: ModuleType | None = sys.modules.get(name)
    spec = _spec(name) if module is None else None
    place = getattr(module, "__file__", None) if spec is None else spec.origin if spec.has_location else None
    if not isinstance(place, str):
        return None
    file = Path(place)
    return next((each for each in (file, *file.parents) if each.is_file()), file)


def _spec(name: str) -> ModuleSpec | None:
    """As importlib.util.find_spec, which would import the packages around it."""
    if parent := name.rpartition(".")[0]:
        around = _spec(parent)
        if around is None or around.submodule_search_locations is None:
            return None
        # By its last name alone: a package without __init__.py asks for the one around it, which is not imported.
        return PathFinder.find_spec(name.rpartition(".")[2], around.submodule_search_locations)
    finders = (getattr(finder, "find_spec", None) for finder in sys.meta_path)
    return next((spec for find in finders if find is not None and (spec := find(name, None)) is not None), None)


def _installed(file: Path) -> bool:
    return any(file.is_relative_to(place) for place in _INSTALLED)


def _version(top: str) -> str | None:
    """Of the distribution that brings a package; None for the interpreter's own."""
    if top in sys.stdlib_module_names:
        return None
    with suppress(metadata.PackageNotFoundError):  # mostly they have the same name, which is quicker to see
        return f"{top} {metadata.version(top)}"
    names = _distributions().get(top, [])
    return " ".join(f"{name} {metadata.version(name)}" for name in sorted(set(names))) or None


@cache
def _distributions() -> dict[str, list[str]]:
    return dict(metadata.packages_distributions())


def _imports(file: Path, name: str) -> Iterator[str]:
    """The names of the modules that a source file may import."""
    if file.suffix != ".py":
        return
    try:
        tree = ast.parse(file.read_bytes())
    except (SyntaxError, ValueError):  # it is not what was imported
        return
    package = name if file.name == "__init__.py" else name.rpartition(".")[0]
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = _absolute("." * node.level + (node.module or ""), package)
            yield base
            yield from (f"{base}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant):
            called = getattr(node.func, "attr", getattr(node.func, "id", ""))
            if called in ("import_module", "__import__") and isinstance(node.args[0].value, str):
                yield _absolute(node.args[0].value, package)


def _absolute(name: str, package: str) -> str:
    """A name that begins with dots, seen from a package."""
    plain = name.lstrip(".")
    if plain == name:
        return name
    parts = package.split(".")
    around = parts[: len(parts) - (len(name) - len(plain) - 1)]
    return ".".join([*around, plain] if plain else around)
