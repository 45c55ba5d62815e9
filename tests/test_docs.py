"""The Python of docs/ runs as printed; README.md and the index of docs/ name pages that are there."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from simulator.conformance import check_policy

ROOT = Path(__file__).resolve().parents[1]


def blocks(page: str) -> list[str]:
    return re.findall(r"```python\n(.*?)```", (ROOT / page).read_text(), re.DOTALL)


def test_the_example_of_the_index_runs(capsys):
    (example,) = blocks("docs/README.md")
    assert len(example.strip().splitlines()) == 5
    exec(compile(example, "docs/README.md", "exec"), {})
    assert "on time" in capsys.readouterr().out


def links(page: Path) -> list[str]:
    """What a page links to within the project, and the pictures that it shows."""
    found = re.findall(r"\]\(([^)\s]+)\)", page.read_text())
    return [link for link in found if not link.startswith(("http:", "https:", "mailto:"))]


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.*)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def broken(page: Path) -> list[str]:
    """The links of a page that lead nowhere."""
    found = []
    for link in links(page):
        path, _, anchor = link.partition("#")
        target = page.parent / path if path else page
        if not target.exists() or (anchor and target.suffix == ".md" and anchor not in anchors(target)):
            found.append(f"{page.relative_to(ROOT)}: {link}")
    return found


def test_links_lead_somewhere():
    pages = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
    assert [link for page in pages for link in broken(page)] == []


def test_the_index_names_every_page():
    named = {(ROOT / "docs" / link.partition("#")[0]).resolve() for link in links(ROOT / "docs" / "README.md")}
    assert [page.name for page in sorted((ROOT / "docs").glob("*.md")) if page.resolve() not in named] == ["README.md"]


@pytest.mark.parametrize(
    ("page", "spec", "parameter"),
    [("docs/policies.md", "pairs:Pairs", "patience_s=0.01")],
)
def test_the_policy_of_the_page_runs_from_one_file(tmp_path, page, spec, parameter):
    module, name = spec.split(":")
    code = next(block for block in blocks(page) if f"class {name}" in block)
    (tmp_path / f"{module}.py").write_text(code)
    command = [
        sys.executable,
        "-m",
        "simulator",
        "--policy",
        spec,
        "-p",
        parameter,
        "--trace",
        "poisson:rate=5,duration=20",
    ]
    run = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, env={"PYTHONPATH": str(ROOT)})
    assert run.returncode == 0, run.stderr
    assert spec in run.stdout
    assert (tmp_path / "runs").exists()


def test_the_policy_of_the_how_to_page_passes_the_conformance_suite(tmp_path, monkeypatch):
    (tmp_path / "pairs.py").write_text(next(block for block in blocks("docs/policies.md") if "class Pairs" in block))
    monkeypatch.syspath_prepend(tmp_path)
    check_policy("pairs:Pairs")
