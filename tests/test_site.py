"""The documentation builds into a site without a warning; its reference has every command and every policy."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("material", reason="the site needs mkdocs-material: pip install '.[docs]'")

from policies import POLICIES

ROOT = Path(__file__).resolve().parents[1]


def test_the_site_builds_strictly_and_fetches_nothing(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "-f", str(ROOT / "deploy" / "site" / "mkdocs.yml")]
    built = subprocess.run([*command, "-d", str(tmp_path)], capture_output=True, text=True, cwd=ROOT)
    assert built.returncode == 0, built.stderr
    page = (tmp_path / "reference" / "command-line.html").read_text()
    assert all(f"cohort {name}" in page for name in ("simulate", "serve", "plan", "traces stats", "profile run"))
    every = (tmp_path / "reference" / "policies.html").read_text()
    assert all(f'id="{name}"' in every for name in POLICIES)
    for name in ("index.html", "tutorial.html", "gallery/index.html"):
        assert 'src="https://' not in (tmp_path / name).read_text()  # nothing is fetched from elsewhere
    assert any((tmp_path / "search").iterdir())
