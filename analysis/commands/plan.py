"""python -m analysis plan: how many GPUs, which policy and which model meet a target on your traffic."""

from __future__ import annotations

import argparse
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from analysis.commands.flags import add_attainment, add_engine, add_seeds, add_several, engine

if TYPE_CHECKING:
    from analysis.plans.planning import Plan

EXAMPLE = """examples:
  python -m analysis plan --trace requests.parquet --slo-ms 20 --attainment 0.99 --min-accuracy 0.9 --growth 2x
  python -m analysis plan --trace burst:rate=60000,duration=4,start=1,length=0.5 --slo-ms 10 --table h200-modelled
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    from simulator.arguments import settings_flags

    parser.formatter_class, parser.epilog = argparse.RawDescriptionHelpFormatter, EXAMPLE
    target = parser.add_argument_group("target")
    settings_flags(target, "slo_ms", required=True, slo_ms="latency target")
    add_attainment(target)
    target.add_argument("--min-accuracy", type=float, metavar="A", help="mean accuracy of the answers at least")
    target.add_argument(
        "--min-agreement",
        type=float,
        metavar="A",
        help="share of answers that are the whole model's, where some leave early",
    )
    traffic = parser.add_argument_group("traffic")
    settings_flags(traffic, "trace", required=True, trace="as in python -m simulator")
    settings_flags(traffic, "trace_format", "bin_s", "time_unit", "rate", "start", "duration", "lengths", "max_tokens",
                   "tenants")  # fmt: skip
    traffic.add_argument("--growth", default="1", metavar="G", help="times that traffic: 2x (default: 1x)")
    choice = parser.add_argument_group("to choose from")
    add_several(choice, "table", "tables", "measured latencies (default: the first shipped)", metavar="NAME|DIR|CSV")
    add_several(choice, "policy", "policies", "of which the best counts (default: adaptive, greedy, timeout)")
    add_several(choice, "model", "models", "commas between those of a mix (default: all, and the useful mixes)")
    settings_flags(
        choice, "task", "adapter_budget", "host_time", "levels", levels="which of a mix, as in python -m simulator"
    )
    parser.set_defaults(levels="useful")
    choice.add_argument("--max-gpus", type=int, default=64, metavar="N", help="at most so many (default: 64)")
    choice.add_argument(
        "--gpu-price",
        metavar="PRICES",
        help="of an hour of one GPU, for the cost per million requests; one, or one for each table, as 2.5,0.8 "
        "(default: that of the table, where it has one)",
    )
    run = parser.add_argument_group("simulation")
    add_seeds(run, "0-2", "of a generated trace")
    run.add_argument(
        "--simulated",
        type=int,
        default=400_000,
        metavar="N",
        help="requests; of a longer trace windows are simulated (default: 400000)",
    )
    run.add_argument("--out", type=Path, metavar="DIR", help="write plan.json and points.parquet, too")
    run.add_argument("--json", action="store_true", help="print what plan.json holds, and nothing else")
    add_engine(parser)


def main(options: argparse.Namespace) -> int:
    """Plan and print it. Status 1 where no table meets the target."""
    from analysis.outputs import folder_for
    from analysis.plans.answer import printed
    from analysis.plans.planning import plan
    from analysis.progress import progress

    out = options.out
    if out is not None:
        folder_for(out, "plan.json", "plan")
    names = ("slo_ms", "attainment", "min_accuracy", "min_agreement", "trace_format", "bin_s", "time_unit", "rate",
             "start", "duration", "lengths", "max_tokens", "tenants", "adapter_budget", "host_time", "models", "task",
             "levels", "max_gpus", "gpu_price", "seeds", "simulated")  # fmt: skip
    with progress("simulations") as told:
        found = plan(
            options.trace,
            **{name: getattr(options, name) for name in names},
            growth=_growth(options.growth),
            tables=_tables(options.tables),
            policies=options.policies,
            on_progress=told,
            **engine(options),
        )
    print(_json(found) if options.json else printed(found) + "\n", end="")
    if out is not None:
        _save(found, out)
        print(f"written to {out}/: plan.json, points.parquet, points.csv", file=sys.stderr)
    return 0 if found.choices else 1


def _growth(text: str) -> float:
    try:
        return float(text.removesuffix("x"))
    except ValueError:
        raise ValueError(f"--growth is {text!r}; write a factor such as 2x or 1.5") from None


def _tables(text: str | None) -> str | None:
    """Tables with semicolons between them. A comma does, too, where it is none of a spec's own."""
    return text if text is None or ":" in text else text.replace(",", ";")


def _json(found: Plan) -> str:
    from simulator.reporting.output import to_json
    from traces.shared.origin import origin

    return to_json({name: value for name, value in asdict(found).items() if name != "points"} | origin())


def _save(found: Plan, out: Path) -> None:
    from analysis.sweeps.frames import write
    from traces.shared.atomic import make_folder, write_text

    make_folder(out)
    write(found.points, out / "points.parquet")
    write(found.points, out / "points.csv")
    write_text(out / "plan.json", _json(found))
