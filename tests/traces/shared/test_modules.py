"""Which modules a result depends on, told from their sources: nothing is imported to find out."""

from __future__ import annotations

import hashlib
import importlib
import sys
import zipfile

import numpy as np
import pytest

from traces.shared.modules import appeared, outside, refuse_changed

#: A policy's module and all that it imports, in every way there is.
FILES = {
    "my_policy.py": """
import numpy
from my_base import Base
import json
class Mine(Base):
    def decide(self, view):
        from my_lazy import LIMIT
        return __import__("importlib").import_module("my_named").LIMIT
""",
    "my_base.py": "from my_package.inner import THING\nclass Base: pass\n",
    "my_lazy.py": "LIMIT = 1\n",
    "my_named.py": "LIMIT = 1\n",
    "my_package/__init__.py": "",
    "my_package/inner.py": "from . import sibling\nfrom .sibling import THING\n",
    "my_package/sibling.py": "THING = 1\n",
    "my_other.py": "import my_policy\n",
}
NAMES = ["my_base", "my_lazy", "my_named", "my_package", "my_package.inner", "my_package.sibling", "my_policy", "numpy"]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    (tmp_path / "my_package").mkdir()
    for name, text in FILES.items():
        (tmp_path / name).write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    importlib.invalidate_caches()
    yield tmp_path
    for name in [name for name in sys.modules if name.startswith("my_")]:
        del sys.modules[name]


def test_a_module_is_told_by_its_file_and_by_all_that_it_imports(folder):
    found = outside(["my_policy", "simulator.core", "builtins"])
    assert list(found) == NAMES
    assert found["my_lazy"] == hashlib.sha256(FILES["my_lazy.py"].encode()).hexdigest()
    assert found["numpy"] == f"numpy {np.__version__}"
    assert not {name.removesuffix(".py") for name in FILES} & sys.modules.keys()  # nothing is imported for it


@pytest.mark.parametrize("name", [name for name in FILES if name not in ("my_other.py", "my_policy.py")])
def test_a_changed_file_changes_what_tells_them(folder, name):
    before = outside(["my_policy"])
    (folder / name).write_text(FILES[name] + "# another\n")
    after = outside(["my_policy"])
    assert [each for each in after if after[each] != before[each]] == [
        name.removesuffix(".py").removesuffix("/__init__").replace("/", ".")
    ]
    with pytest.raises(ValueError, match=name):
        refuse_changed(before)
    (folder / name).write_text(FILES[name])
    refuse_changed(before)


def test_a_missing_module_is_named(folder):
    before = outside(["my_policy"])
    (folder / "my_lazy.py").unlink()
    importlib.invalidate_caches()
    with pytest.raises(ValueError, match="my_lazy"):
        refuse_changed(before)


def test_another_version_of_a_distribution_is_named():
    with pytest.raises(ValueError, match="numpy"):
        refuse_changed({"numpy": "numpy 0.1"})


def test_what_was_imported_meanwhile_is_told_without_ours_and_the_installed(folder):
    before = set(sys.modules) - {"simulator", "numpy"}
    importlib.import_module("my_named")
    assert appeared(before) == ["my_named"]


def test_packages_without_an_init_are_looked_into(folder):
    inner = folder / "my_space" / "inner"
    inner.mkdir(parents=True)
    (folder / "my_space" / "policy.py").write_text("from .inner.time import LIMIT\n")
    (inner / "time.py").write_text("LIMIT = 1\n")  # not the interpreter's own
    assert list(outside(["my_space.policy"])) == ["my_space.inner.time", "my_space.policy"]
    refuse_changed(outside(["my_space.policy"]))


def test_a_module_in_an_archive_is_told_by_the_archive(folder, monkeypatch):
    archive = folder / "my.zip"

    def pack(text):
        with zipfile.ZipFile(archive, "w") as file:
            file.writestr("my_packed.py", text)

    pack("LIMIT = 1\n")
    monkeypatch.syspath_prepend(archive)
    before = outside(["my_packed"])
    pack("LIMIT = 2\n")
    with pytest.raises(ValueError, match=r"my\.zip"):
        refuse_changed(before)
