"""The flags of `python -m simulator`."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

from simulator.settings import KINDS, Settings
from traces.shared.flags import Flags

EPILOG = """examples:
  python -m simulator --policy adaptive
  python -m simulator --policy "timeout(max_batch=8)" --trace requests.csv --load 0.75
  python -m simulator --policy "admission(adaptive)" --trace poisson:rate=200,duration=60 --gpus 2 --slo-ms 500
  python -m simulator --policy my_policy:MyPolicy -p limit=12 --out runs/mine
  python -m simulator --policy adaptive --live --device cpu --trace poisson:duration=20 --load 0.5
  python -m simulator --rerun runs/mine
  python -m simulator serve --policy adaptive --device cpu     (an HTTP endpoint; python -m simulator serve --help)"""


def parser(prog: str = "python -m simulator") -> argparse.ArgumentParser:
    """The parser; names of flags that are fields of `Settings` are those fields."""
    flags = Flags(
        prog=prog,
        description="Serve a trace of requests with a batching and pruning policy, on devices that take what a "
        "measured table says, and print latency, attainment, goodput and accuracy.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    what = flags.add_argument_group("what is served, how")
    settings_flags(what, "policy", "gpus", "slo_ms")
    what.add_argument(
        "-p", action="append", default=[], metavar="KEY=VALUE", help="a parameter of the policy; repeatable"
    )
    traffic = flags.add_argument_group("traffic")
    settings_flags(traffic, "trace", "trace_format")
    settings_flags(traffic.add_mutually_exclusive_group(), "rate", "load")
    settings_flags(traffic, "rate_mode", "start", "duration", "lengths", "max_tokens", "tenants", "bin_s", "time_unit")
    settings_flags(
        flags.add_argument_group("device"),
        "table",
        "model",
        "task",
        "levels",
        "service_noise",
        "host_time",
        "clock",
        "legacy_accounting",
    )
    settings_flags(flags.add_argument_group("adapters of tenants"), "adapter_budget", "host_budget")
    live = flags.add_argument_group("a real device instead of the table's times")
    live.add_argument(
        "--live", action="store_true", help="serve in real time on --device (default: cuda if there is one)"
    )
    settings_flags(live, "device", "weights", "adapters")
    live.add_argument(
        "--attempts",
        type=int,
        default=3,
        metavar="N",
        help="repeat a disturbed run up to so many times (default: 3)",
    )
    run = flags.add_argument_group("run")
    settings_flags(run, "seed")
    run.add_argument("--out", type=Path, metavar="DIR", help="where the run is written (default: runs/POLICY)")
    run.add_argument(
        "--reference",
        metavar="SPEC",
        help="one more policy beside the standing rivals (teacher, single model, students, each by the best published "
        "rule, and mixes of them); none: this policy alone",
    )
    run.add_argument(
        "--rerun", type=Path, metavar="DIR", help="repeat a written run, byte for byte, in place or into --out"
    )
    run.add_argument("--json", action="store_true", help="print the summary as JSON, and nothing else")
    run.add_argument("--require-attainment", type=float, metavar="X", help="exit with status 1 where fewer are on time")
    run.add_argument("--list", action="store_true", help="list policies, tables and traces, and stop")
    return flags


def settings_flags(group: Any, *names: str, required: bool = False, **words: str) -> None:
    """Add the flags of these fields of `Settings`, as they say there. words: another help for some of them."""
    known = {each.name: each for each in fields(Settings)}
    for name in names:
        each = known[name]
        how = {key: value for key, value in each.metadata.items() if key != "within"}
        how["help"] = words.get(name, how["help"])
        how["help"] += "" if each.default is None else " (default: %(default)s)"
        kind, default, option = KINDS[name], each.default, f"--{name.replace('_', '-')}"
        if kind is bool:
            group.add_argument(option, action="store_true", help=words.get(name, each.metadata["help"]))
        else:
            group.add_argument(option, type=kind, default=default, required=required, **how)


def parameters(pairs: Sequence[str]) -> dict[str, str]:
    """The `-p key=value` of a command line. Raises ValueError for one without an equals sign."""
    found = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not equals:
            raise ValueError(f"-p {pair}: write key=value")
        found[key.strip()] = value.strip()
    return found
