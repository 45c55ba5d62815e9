"""The flags of `python -m simulator`."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from policies import POLICIES
from simulator.settings import CLOCKS, Settings
from simulator.simulate import SERVICE_NOISE_CHOICES
from traces import FORMATS
from traces.shared.command import Flags

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
    default = Settings()
    what = flags.add_argument_group("what is served, how")
    what.add_argument(
        "--policy",
        default=default.policy,
        metavar="SPEC",
        help=f"{', '.join(POLICIES)}, or package.module:Class; parameters in parentheses (default: adaptive)",
    )
    what.add_argument(
        "-p", action="append", default=[], metavar="KEY=VALUE", help="a parameter of the policy; repeatable"
    )
    what.add_argument("--gpus", type=int, default=default.gpus, metavar="N", help="GPUs behind one queue (default: 1)")
    what.add_argument(
        "--slo-ms",
        type=float,
        metavar="MS",
        help="latency target (default: 5 x the model's batch-1 time at the median length)",
    )
    traffic = flags.add_argument_group("traffic")
    traffic.add_argument(
        "--trace",
        metavar="FILE|SPEC|NAME",
        help="a file, a generator such as poisson:rate=200,duration=60, or a shipped name "
        "(default: level traffic at half load with one burst of 4 times that)",
    )
    traffic.add_argument(
        "--trace-format",
        default=default.trace_format,
        choices=["auto", *FORMATS],
        metavar="FORMAT",
        help=f"of a file: auto, {', '.join(FORMATS)}",
    )
    rate = traffic.add_mutually_exclusive_group()
    rate.add_argument("--rate", type=float, metavar="R", help="mean requests per second")
    rate.add_argument(
        "--load", type=float, metavar="X", help="mean rate as a share of what all GPUs serve at full accuracy"
    )
    traffic.add_argument(
        "--rate-mode",
        default=default.rate_mode,
        choices=["superpose", "thin", "compress"],
        help="how a file is rescaled (default: superpose, which keeps the length of bursts)",
    )
    traffic.add_argument("--duration", type=float, metavar="S", help="only so many seconds")
    traffic.add_argument(
        "--lengths",
        metavar="FILE|SPEC",
        help="draw token counts from here (default: the trace's own, else short texts)",
    )
    device = flags.add_argument_group("device")
    device.add_argument("--table", metavar="NAME|DIR|CSV", help="measured latencies (default: the first of --list)")
    device.add_argument(
        "--model", metavar="NAME", help="model of the table, or several with commas (default: its first students-*)"
    )
    device.add_argument("--task", metavar="NAME", help="whose accuracies count (default: the table's first)")
    device.add_argument(
        "--service-noise",
        default=default.service_noise,
        choices=SERVICE_NOISE_CHOICES,
        help="none: batches take the measured median; profiled: drawn from what was measured",
    )
    device.add_argument("--clock", default=default.clock, choices=CLOCKS, help="wall paces the run in real time")
    live = flags.add_argument_group("a real device instead of the table's times")
    live.add_argument(
        "--live",
        action="store_true",
        help="serve in real time on --device (default: cuda if there is one)",
    )
    live.add_argument(
        "--device",
        choices=["cpu", "cuda"],
        help="really run the batches; without --live idle time is skipped (--clock virtual)",
    )
    live.add_argument(
        "--weights",
        metavar="DIR|FILE",
        help="checkpoint of the model (default: random, which takes the same time)",
    )
    live.add_argument(
        "--attempts",
        type=int,
        default=3,
        metavar="N",
        help="repeat a disturbed run up to so many times (default: 3)",
    )
    run = flags.add_argument_group("run")
    run.add_argument("--seed", type=int, default=default.seed, help="of all random numbers (default: 0)")
    run.add_argument("--out", type=Path, metavar="DIR", help="where the run is written (default: runs/POLICY)")
    run.add_argument("--reference", default="greedy", metavar="SPEC", help="a policy to compare with; none for none")
    run.add_argument(
        "--rerun", type=Path, metavar="DIR", help="repeat a written run, byte for byte, in place or into --out"
    )
    run.add_argument("--json", action="store_true", help="print the summary as JSON, and nothing else")
    run.add_argument("--require-attainment", type=float, metavar="X", help="exit with status 1 where fewer are on time")
    run.add_argument("--list", action="store_true", help="list policies, tables and traces, and stop")
    return flags


def parameters(pairs: Sequence[str]) -> dict[str, str]:
    """The `-p key=value` of a command line. Raises ValueError for one without an equals sign."""
    found = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not equals:
            raise ValueError(f"-p {pair}: write key=value")
        found[key.strip()] = value.strip()
    return found
