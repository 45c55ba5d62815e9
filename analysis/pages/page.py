"""A page of sections as one HTML file: figures are inside it, nothing is fetched, nothing runs."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from jinja2 import Environment, StrictUndefined
from matplotlib.figure import Figure

from analysis.plots.drawn import drawn_csv
from analysis.plots.figures import encode

TEMPLATE = Path(__file__).with_name("page.html")


class Table(NamedTuple):
    """Rows of text under a head. The first column names the row, the others are numbers, set to the right."""

    head: Sequence[str]
    rows: Sequence[Sequence[str]]
    caption: str = ""


class Shown(NamedTuple):
    """A figure as it stands in a page: SVG and CSV as data URIs."""

    name: str
    caption: str
    svg: str
    csv: str


class Section(NamedTuple):
    """A heading, paragraphs, text with its line breaks kept, tables, figures, and tables that can be folded away."""

    title: str
    paragraphs: Sequence[str] = ()
    tables: Sequence[Table] = ()
    figures: Sequence[Shown] = ()
    details: Sequence[Table] = ()
    text: str = ""


def show(name: str, figure: Figure, caption: str) -> Shown:
    """A figure for a page, with all its numbers."""
    svg, csv = _uri("image/svg+xml", encode(figure, "svg")), _uri("text/csv", drawn_csv(figure).encode())
    return Shown(name, caption, svg, csv)


def page(title: str, sections: Sequence[Section]) -> str:
    """The HTML of a report; the same sections give the same text."""
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    template = environment.from_string(TEMPLATE.read_text(encoding="utf-8"))
    return template.render(title=title, sections=sections) + "\n"


def _uri(kind: str, content: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"
