"""A report of whatever paths are given: runs together, every other result in a section of its own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from analysis.inputs import read_any
from analysis.pages.page import Section, page
from analysis.pages.sections import (
    of_capacity,
    of_comparison,
    of_crossover,
    of_plan,
    of_runs,
    of_sensitivity,
    of_sweep,
)
from traces.shared.atomic import write_text

SECTIONS: dict[str, Callable[[Any], Section]] = {
    "sweep": of_sweep,
    "comparison": of_comparison,
    "capacity": of_capacity,
    "crossover": of_crossover,
    "plan": of_plan,
    "sensitivity": of_sensitivity,
}


def write_report(paths: Sequence[Path], out: Path, *, title: str = "Cohort report") -> list[str]:
    """Write the HTML; the same inputs give the same bytes. Returns the titles of its sections.

    Raises LookupError or ValueError for inputs that are nothing of the kind, and for an `out` that is not .html.
    """
    if out.suffix not in (".html", ".htm"):
        raise ValueError(f"--out {out}: a report is an .html file")
    found = [read_any(path) for path in paths]
    runs = [content for kind, content in found if kind == "run"]
    sections = [of_runs(runs)] if runs else []
    sections += [SECTIONS[kind](content) for kind, content in found if kind != "run"]
    out.parent.mkdir(parents=True, exist_ok=True)
    write_text(out, page(title, sections))
    return [section.title for section in sections]
