"""python -m profiler host: measure what our endpoint takes beside the devices, for a table."""

from __future__ import annotations

import argparse
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from profiler.commands.printing import progress_bar
from profiler.table import LatencyTable
from profiler.table.metadata import read_meta
from traces.shared.atomic import write_text
from traces.shared.documents import json_text


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("table", type=Path, metavar="DIR", help="a table's folder; its meta.json is changed in place")
    parser.add_argument(
        "--model", metavar="NAME", help="of the table, as which requests ask for it (default: its first students-*)"
    )
    parser.add_argument(
        "--weights", type=Path, metavar="DIR", help="with the model's tokenizer.json: send texts (default: token ids)"
    )
    parser.add_argument("--rounds", type=int, default=3, metavar="N", help="over all cells (default: 3)")
    parser.add_argument("--seconds", type=float, default=1.5, metavar="S", help="for each cell (default: 1.5)")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="of what is sent (default: 0)")


def main(arguments: argparse.Namespace) -> int:
    """Measure, write it into the table, and print it; 0 done, 1 where it is not valid."""
    from profiler.hosting.measure import measure_host

    if arguments.rounds < 2 or not 0.5 <= arguments.seconds <= 600:
        raise ValueError("--rounds must be at least 2, and --seconds 0.5 to 600: rounds show how far they are apart")
    if not (arguments.table / "meta.json").is_file():
        raise LookupError(f"no table's folder at {arguments.table}: python -m profiler run measures one")
    table = LatencyTable.load(arguments.table)
    model = arguments.model or table.default_model()
    table.levels(model)  # an unknown one is named before anything starts
    with ExitStack() as stack:
        progress = progress_bar(stack)
        found = measure_host(
            arguments.table,
            model,
            arguments.weights,
            rounds=arguments.rounds,
            seconds=arguments.seconds,
            seed=arguments.seed,
            progress=progress,
        )
    write_host(arguments.table, found)
    print(shown(found))
    return 0 if found["valid"] else 1


def write_host(folder: Path, found: dict[str, Any]) -> None:
    """Put host times into a table's meta.json. What does not load again is not written."""
    table = LatencyTable.load(folder)
    LatencyTable(table.name, table.columns, {**table.meta, "host": found})
    write_text(folder / "meta.json", json_text({**read_meta(folder / "meta.json"), "host": found}, indent=1) + "\n")


def shown(found: dict[str, Any]) -> str:
    """What was measured, in a few lines."""
    us = {name: value * 1e6 for name, value in found.items() if name.endswith("_s") and isinstance(value, float)}
    spread = {name: value * 1e6 for name, value in found["spread"].items()}
    lines = [f"host times with {found['inputs']}, in us (+- between rounds), {found['processor']}"]
    for name, value in us.items():
        own = f" +- {spread[name]:.2f}" if name in spread else ""
        lines.append(f"  {name.removesuffix('_s'):16} {value:9.2f}{own}")
    lines.append("VALID" if found["valid"] else "INVALID: " + "; ".join(found["reasons"]))
    return "\n".join(lines)
