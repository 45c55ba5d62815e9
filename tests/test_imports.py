"""What may import what (DESIGN section 1)."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
#: What of ours a package may import besides itself; a module stands for itself alone. `traces.shared` is for all: it
#: imports nothing of ours, and `traces` is the package that imports no other.
MAY_IMPORT = {
    "traces": set(),
    "profiler": {"traces.files", "traces.shared"},
    "policies": {"traces", "profiler.table", "profiler.answers", "profiler.events"},
    "simulator": {"traces", "profiler", "policies"},
    "analysis": {"traces", "profiler", "policies", "simulator"},
}
#: What of its own package a folder may import besides itself, or a module that lies in no folder; lower ones first.
#: `__init__` and `__main__` of a package may import all of it.
FOLDERS = {
    "traces": {
        "shared": "",
        "columns": "",
        "clients": "",
        "trace": "clients columns",
        "streams": "",
        "spec": "",
        "typed": "",
        "files": "typed",
        "writing": "columns files shared trace",
        "draft": "trace",
        "arrivals": "",
        "locality": "",
        "readers": "arrivals columns draft files shared streams trace typed writing",
        "scaling": "arrivals clients readers streams trace",
        "processes": "arrivals draft files locality readers scaling shared trace",
        "tenancy": "processes spec trace",
        "lengths": "processes spec",
        "load": "columns draft files lengths processes readers scaling shared spec streams tenancy trace",
        "statistics": "readers scaling trace",
        "printing": "lengths load processes readers scaling shared spec statistics tenancy",
    },
    "profiler": {
        "events": "",
        "table": "",
        "answers": "",
        "device": "",
        "models.kernels": "",
        "models": "device models.kernels table",
        "servers": "models",
        "executors": "device events models models.kernels servers table",
        "executors.baselines": "device executors models models.kernels table",
        "tenants": "device executors models table",
        "measuring": "device executors models table",
        "measuring.tenants": "device executors measuring models table tenants",
        "blackbox": "executors measuring models servers table",
        "hosting": "executors measuring servers table",
        "modelled": "measuring models table",
        "campaign": "device executors executors.baselines measuring models table",
        "distill.learning": "models",
        "studies": "answers distill.learning models table tenants",
        "distill": "answers distill.learning executors models studies table",
        "commands": "answers blackbox campaign device distill distill.learning executors executors.baselines hosting "
        "measuring measuring.tenants modelled models studies table tenants",
    },
    "policies": {
        "interface": "",
        "machinery": "interface",
        "machinery.exits": "interface machinery",
        "batching": "interface machinery",
        "bounds": "interface machinery",
        "around": "interface machinery",
        "pruning": "interface machinery",
        "pruning.adaptive": "interface machinery",
        "exits": "interface machinery machinery.exits",
        "residency": "interface machinery",
        "catalogue": "around batching bounds exits pruning pruning.adaptive residency",
        "registry": "catalogue interface machinery",
    },
    "simulator": {
        "core": "",
        "defaults": "",
        "devices": "",
        "queue": "core",
        "serving": "core queue",
        "executors": "core serving",
        "reporting": "core serving",
        "simulate": "core defaults executors queue reporting serving",
        "settings": "core defaults devices reporting serving simulate",
        "contenders": "reporting",
        "rivals": "contenders reporting settings",
        "arguments": "settings simulate",
        "live": "core executors reporting serving settings",
        "endpoint.protocol": "",
        "endpoint": "arguments core defaults devices endpoint.protocol executors queue reporting serving settings "
        "simulate",
        "conformance": "core endpoint executors queue reporting serving simulate",
    },
    "analysis": {
        "words": "",
        "progress": "",
        "outputs": "",
        "columns": "",
        "sweeps": "",
        "runs": "columns sweeps",
        "comparisons": "sweeps",
        "plans": "comparisons sweeps words",
        "plots.axes": "sweeps words",
        "plots": "plans plots.axes runs sweeps words",
        "inputs": "columns comparisons plans plots.axes runs sweeps",
        "pages": "inputs plans plots plots.axes runs words",
        "validation": "comparisons sweeps",
        "commands": "comparisons inputs outputs pages plans plots progress sweeps validation words",
        "console": "commands",
    },
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


def name_of(path):
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def modules(package):
    """Every module of a package, and those of the package that it imports, wherever it does."""
    paths = {name_of(path): path for path in files(package)}

    def module(name):
        return name if name in paths or "." not in name else module(name.rpartition(".")[0])

    for importer, path in paths.items():
        nodes = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.ImportFrom)]
        full = {f"{node.module}.{alias.name}" for node in nodes for alias in node.names}
        yield importer, {module(each) for each in full if each.split(".")[0] == package} - {importer}


def unit(module):
    """The folder of a module within its package; a module of the package itself stands for itself."""
    parts = module.split(".")[1:]
    is_folder = (ROOT / module.replace(".", "/")).is_dir()
    return ".".join(parts if is_folder or len(parts) < 2 else parts[:-1])


def circles(graph):
    """The sets of modules that reach each other."""
    reached = {start: {start} for start in graph}
    for start, found in reached.items():
        rest = [start]
        while rest:
            new = graph[rest.pop()] - found
            found |= new
            rest += new
    together = {frozenset(b for b in reached[a] if a in reached[b]) for a in graph}
    return {each for each in together if len(each) > 1}


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


@pytest.mark.parametrize("package", FOLDERS)
def test_a_folder_imports_only_what_lies_below_it(package):
    order = list(FOLDERS[package])
    for folder, below in FOLDERS[package].items():
        assert set(below.split()) <= set(order[: order.index(folder)]), f"{package}.{folder} is below what it imports"
    for module, imported in modules(package):
        if (folder := unit(module)) in ("", "__main__"):
            continue
        assert folder in order, f"{module}: give {folder} its place in FOLDERS"
        allowed = {folder, *FOLDERS[package][folder].split()}
        wrong = {each for each in imported if unit(each) not in allowed}
        assert not wrong, f"{module} imports {wrong}"


def test_modules_do_not_import_each_other_in_circles():
    found = set().union(*(circles(dict(modules(package))) for package in MAY_IMPORT))
    assert not found


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


def test_what_policies_read_of_the_profiler_needs_no_torch():
    """Nor anything of ours but tables and recorded answers, and what all packages share."""
    leaves = MAY_IMPORT["policies"] - {"traces"}
    for leaf in leaves:
        found = {
            name
            for path in (files(leaf.replace(".", "/")) or [ROOT / f"{leaf.replace('.', '/')}.py"])
            for name in imports(path)
        }
        ours = {name for name in found if name.split(".")[0] in MAY_IMPORT}
        assert all(any(f"{name}.".startswith(f"{each}.") for each in {*leaves, "traces.shared"}) for name in ours)
        assert {name.split(".")[0] for name in found - ours} - sys.stdlib_module_names <= {
            "numpy",
            "pyarrow",
            "pydantic",
        }


def test_the_simulator_starts_without_the_heavy_libraries():
    """Nor does importing it have an effect that one can see."""
    heavy = ("torch", "transformers", "triton", "matplotlib", "pandas", "scipy", "pynvml", "tokenizers")
    program = f"import sys, simulator.__main__, simulator.conformance; print([n for n in {heavy} if n in sys.modules])"
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert (done.stdout.strip(), done.stderr) == ("[]", "")


def test_class_names_are_unique_across_the_packages():
    """One word, one thing."""
    names = Counter(
        node.name
        for package in MAY_IMPORT
        for path in files(package)
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_")
    )
    assert [name for name, count in names.items() if count > 1] == []
