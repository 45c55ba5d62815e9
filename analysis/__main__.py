"""The command line: `python -m analysis timeline runs/adaptive runs/greedy --out burst.png`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from analysis.runs import Run


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit status: 0 done, 2 bad input."""
    parser = argparse.ArgumentParser(prog="python -m analysis", description="Plots of written runs.")
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    timeline = commands.add_parser(
        "timeline", help="arrival rate, queue, students and latency over time, a line per run"
    )
    timeline.add_argument(
        "runs", type=Path, nargs="+", metavar="RUN", help="output folders of python -m simulator, on one trace"
    )
    timeline.add_argument(
        "--out", type=Path, metavar="FILE", default=Path("timeline.png"), help="PNG, PDF or SVG (default: timeline.png)"
    )
    options = parser.parse_args(arguments)
    try:
        _timeline(options.runs, options.out)
    except KeyboardInterrupt:
        return 130
    except (ValueError, LookupError, OSError, MemoryError) as error:
        if options.debug:
            raise
        print(f"error: {error or type(error).__name__}", file=sys.stderr)
        return 2
    print(f"written to {options.out}", file=sys.stderr)
    return 0


def _timeline(folders: Sequence[Path], out: Path) -> None:
    from analysis.figures import save  # matplotlib takes half a second to start
    from analysis.timeline import timeline

    save(timeline([Run.read(folder) for folder in folders]), out)


if __name__ == "__main__":
    sys.exit(main())
