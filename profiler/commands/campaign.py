"""python -m profiler campaign: measure everything that there is to measure on a device, in one command."""

from __future__ import annotations

import argparse
import sys
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

from profiler.commands.printing import progress_bar


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--out", type=Path, metavar="DIR", help="folder for the tables and campaign.json")
    parser.add_argument("--device", choices=["cuda", "cpu"], default="cuda", help="cpu: the dry run (default: cuda)")
    parser.add_argument(
        "--parts", metavar="NAMES", help="comma-separated, in this order (default: all that are not done)"
    )
    parser.add_argument(
        "--budget-s", type=float, metavar="S", default=470.0, help="seconds for all parts (default: 470)"
    )
    parser.add_argument("--dtype", metavar="NAME", help="of a GPU's numbers (default: bfloat16; a T4 has float16)")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="of weights, inputs and order (default: 0)")
    parser.add_argument("--commit", metavar="HASH", help="of this source, on a machine without its repository")
    parser.add_argument("--report", action="store_true", help="measure nothing: tables and verdicts of --out as it is")
    parser.add_argument("--list", action="store_true", help="list the parts with their budgets, and measure nothing")


def main(arguments: argparse.Namespace) -> int:
    """Run the parts; 0 with every one of them done, 1 with some outstanding or failed, 130 interrupted."""
    from profiler.campaign.campaign import Campaign
    from profiler.campaign.parts import PARTS
    from profiler.campaign.plan import full, tiny
    from profiler.campaign.report import report_lines
    from profiler.device.seam import Unavailable
    from profiler.executors.cuda import DTYPES, pick

    on_gpu = arguments.device == "cuda"
    plan = full() if on_gpu else tiny()
    if arguments.dtype is not None:
        pick("dtype", arguments.dtype, DTYPES)
        plan = replace(plan, dtype=arguments.dtype)
    if arguments.list:
        print(_listing(plan))
        return 0
    if arguments.out is None:
        raise ValueError("--out is missing: name a folder for the tables and campaign.json")
    if arguments.report:
        return _report(arguments.out)
    if not arguments.budget_s > 0:
        raise ValueError(f"--budget-s is {arguments.budget_s}: measuring needs a positive number of seconds")
    names = arguments.parts.split(",") if arguments.parts else list(PARTS)
    unknown = [name for name in names if name not in PARTS]
    if unknown:
        raise LookupError(f"unknown part {', '.join(unknown)}; there are {', '.join(PARTS)}")
    if on_gpu:
        from profiler.device.cuda import refusal

        if why := refusal():
            raise Unavailable(f"{why}; --device cpu is the dry run, on tiny models")
    with ExitStack() as stack:
        progress = progress_bar(stack)
        campaign = Campaign(arguments.out, plan, on_gpu, arguments.seed, progress, arguments.commit, _say)
        state = campaign.run({name: PARTS[name] for name in names}, arguments.budget_s)
    print("\n".join(report_lines(state)))
    return 0 if all(state["parts"].get(name, {}).get("status") == "done" for name in names) else 1


def _listing(plan: Any) -> str:
    lines = [f"{name:14} {seconds:5.0f} s" for name, seconds in plan.budgets.items()]
    return "\n".join([*lines, f"{'all':14} {sum(plan.budgets.values()):5.0f} s"])


def _report(out: Path) -> int:
    """Tables and verdicts of a campaign's folder, wherever it was measured and however it ended."""
    from profiler.campaign.report import FILE, conclude, load_state, report_lines
    from traces.shared.atomic import write_text
    from traces.shared.documents import json_text

    state = load_state(out)
    conclude(out, state)
    write_text(out / FILE, json_text(state, indent=1) + "\n")
    print("\n".join(report_lines(state)))
    return 0 if all(part["status"] == "done" for part in state["parts"].values()) else 1


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
