"""python -m analysis sensitivity: what the number of GPUs of a plan depends on."""

from __future__ import annotations

import argparse
from typing import Any

from analysis.commands.flags import (
    add_attainment,
    add_delivery,
    add_engine,
    add_seeds,
    add_several,
    deliver,
    engine,
    refuse_delivery,
)
from simulator.arguments import settings_flags

EXAMPLE = """example:
  python -m analysis sensitivity --trace poisson:rate=400,duration=20 --slo-ms 60 --out depends.csv
  python -m analysis plot tornado depends.csv
"""
_SETTINGS = ("trace_format", "bin_s", "time_unit", "rate", "start", "duration", "lengths", "max_tokens", "table")
#: Further flags, as in python -m analysis plan: their kinds and help.
_FLAGS: dict[str, tuple[type, str]] = {
    "min_accuracy": (float, "mean accuracy of the answers at least"),
    "growth": (float, "times that traffic (default: 1)"),
    "max_gpus": (int, "at most so many (default: 64)"),
    "simulated": (int, "requests; of a longer trace windows are simulated (default: 400000)"),
    "by": (float, "how wrong an assumption is (default: 0.2, that is 20 %%)"),
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.formatter_class, parser.epilog = argparse.RawDescriptionHelpFormatter, EXAMPLE
    settings_flags(parser, "trace", "slo_ms", required=True, trace="as in python -m simulator", slo_ms="latency target")
    settings_flags(parser, *_SETTINGS)
    for name, (kind, line) in _FLAGS.items():
        parser.add_argument(f"--{name.replace('_', '-')}", type=kind, metavar="X", help=line)
    add_attainment(parser)
    add_several(parser, "policy", "policies", "as in python -m analysis plan (default: adaptive, greedy, timeout)")
    add_several(parser, "model", "models", "as in python -m analysis plan (default: all, and the useful mixes)")
    add_seeds(parser, "0-2", "of a generated trace")
    add_delivery(parser)
    add_engine(parser)


def main(options: argparse.Namespace) -> int:
    """Plan nine times, and print a line per assumption."""
    from analysis.plans.sensitivity import sensitivity
    from analysis.progress import progress

    refuse_delivery(options)
    asked = ("trace", "slo_ms", *_SETTINGS, *_FLAGS, "attainment", "policies", "models", "seeds")
    given: dict[str, Any] = {name: getattr(options, name) for name in asked if getattr(options, name) is not None}
    with progress("plans") as told:
        found = sensitivity(given.pop("trace"), on_progress=told, **given, **engine(options))
    deliver(found, lambda: _printed(found), options)
    return 0


def _printed(found: Any) -> str:
    from traces.shared.text import aligned, count, number

    heading = [f"{found['setup'][0]}, {found['target'][0]}", f"{found['traffic'][0]}; {found['replications'][0]}",
               f"{count(found['base'][0], 'GPU')} needed; with one assumption wrong:"]  # fmt: skip
    lines = [["assumption", "", "GPUs", "", "GPUs"]]
    for row in found.itertuples():
        lines.append([row.assumption, row.low_label, number(row.low), row.high_label, number(row.high)])
    return "\n".join([*heading, "", aligned(lines)])
