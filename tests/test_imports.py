"""What may import what (DESIGN section 1)."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
#: What of ours a package may import besides itself; a module stands for itself alone.
MAY_IMPORT = {
    "traces": set(),
    "profiler": set(),
    "policies": {"traces", "profiler.table", "profiler.items", "profiler.margins"},
    "simulator": {"traces", "profiler", "policies"},
    "analysis": {"traces", "profiler", "policies", "simulator"},
}
#: Libraries with a home of their own.
HOME = {
    "simpy": "simulator",
    "torch": "profiler",
    "transformers": "profiler",
    "triton": "profiler",
    "matplotlib": "analysis",
}


def imports(path, lazy=True):
    """The absolute names that a file imports; lazy ones are those inside functions."""
    tree = ast.parse(path.read_text(), str(path))
    functions = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)]
    inside = {id(node) for function in functions for node in ast.walk(function)}
    for node in ast.walk(tree):
        if id(node) in inside and not lazy:
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{path}: write absolute imports"
            yield node.module


def files(package):
    return sorted((ROOT / package).rglob("*.py"))


def is_command_line(path):
    return path.name == "__main__.py" or path.parent.name == "commands"


@pytest.mark.parametrize("package", MAY_IMPORT)
def test_a_package_imports_only_what_lies_below_it(package):
    for path in files(package):
        # Plots live in analysis; a command line that draws one reaches for it when it is asked to.
        for name in imports(path, lazy=not is_command_line(path)):
            ours = name.split(".")[0]
            if ours in MAY_IMPORT and ours != package:
                assert any(f"{name}.".startswith(f"{allowed}.") for allowed in MAY_IMPORT[package]), f"{path}: {name}"


def test_what_policies_read_of_the_profiler_needs_no_torch():
    """Nor anything of ours but the tables and each other."""
    leaves = MAY_IMPORT["policies"] - {"traces"}
    for name in leaves - {"profiler.table"}:
        found = set(imports(ROOT / f"{name.replace('.', '/')}.py"))
        assert {each for each in found if each.split(".")[0] in MAY_IMPORT} <= leaves
        assert {each.split(".")[0] for each in found} - sys.stdlib_module_names <= {"numpy", "pyarrow", "profiler"}


@pytest.mark.parametrize("library", HOME)
def test_a_library_is_imported_only_at_its_home(library):
    users = {
        package
        for package in MAY_IMPORT
        for path in files(package)
        for n in imports(path)
        if n.split(".")[0] == library
    }
    assert users <= {HOME[library]}


def test_the_tables_are_a_leaf():
    """What `profiler.table` is made of imports nothing heavy and nothing else of ours."""
    parts, names = ["profiler.table"], set()
    for part in parts:
        found = set(imports(ROOT / f"{part.replace('.', '/')}.py"))
        parts += sorted(name for name in found if name.startswith("profiler.") and name not in parts)
        names |= {name for name in found if not name.startswith("profiler.")}
    assert len(parts) <= 5, parts
    assert {name.split(".")[0] for name in names} - sys.stdlib_module_names <= {"numpy", "pyarrow"}


def test_the_simulator_starts_without_the_heavy_libraries():
    """Nor does importing it have an effect that one can see."""
    heavy = ("torch", "transformers", "triton", "matplotlib", "scipy", "pynvml", "tokenizers")
    program = f"import sys, simulator.__main__, simulator.conformance; print([n for n in {heavy} if n in sys.modules])"
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert (done.stdout.strip(), done.stderr) == ("[]", "")
