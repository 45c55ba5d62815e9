"""The HTML report: sections with tables and figures, in one file that opens offline and prints."""

from analysis.pages.page import Section, Shown, Table, page, show
from analysis.pages.report import write_report

__all__ = ["Section", "Shown", "Table", "page", "show", "write_report"]
