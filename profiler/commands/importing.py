"""python -m profiler import: make a table of what perf_analyzer measured of a server."""

from __future__ import annotations

import argparse
import re
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "files",
        nargs="+",
        metavar="TEXTSxTOKENS=CSV",
        help="a file of perf_analyzer -f, with -b TEXTS and --shape input_ids:TOKENS, such as 8x32=perf-8-32.csv",
    )
    parser.add_argument("--model", required=True, metavar="NAME", help="as the server calls it")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder to write the table to")
    parser.add_argument("--replace", action="store_true", help="replace a table that is already there")


def main(arguments: argparse.Namespace) -> int:
    """Read the files and write the table."""
    from profiler.blackbox.perf_analyzer import rows_of_files
    from profiler.table.writing import refuse_existing, write_table
    from traces.shared.origin import origin

    refuse_existing(arguments.out, arguments.replace)
    files: dict[tuple[int, int], Path] = {}
    for named in arguments.files:
        if (match := re.fullmatch(r"(\d{1,6})x(\d{1,8})=(.+)", named, re.ASCII)) is None:
            raise ValueError(f"{named!r} is no TEXTSxTOKENS=CSV, such as 8x32=perf-8-32.csv")
        if (shape := (int(match[1]), int(match[2]))) in files:
            raise ValueError(f"{match[1]} texts of {match[2]} tokens are named twice")
        files[shape] = Path(match[3])
    note = "imported from perf_analyzer: its CSV does not say which device, nor how steady the times were"
    meta = {"kind": "black-box", "device": "a server, by perf_analyzer", "rank": 50, "note": note}
    table = write_table(
        arguments.out, rows_of_files(arguments.model, files), meta | origin(), replace=arguments.replace
    )
    print(f"{arguments.out}: {len(table.columns['model'])} shapes of {arguments.model}, by perf_analyzer")
    return 0
