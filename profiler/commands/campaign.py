"""python -m profiler campaign: measure everything that there is to measure on a device, in one command."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from profiler.commands.printing import progress_bar


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--out", type=Path, metavar="DIR", help="folder for the tables and campaign.json")
    parser.add_argument("--device", choices=["cuda", "cpu"], default="cuda", help="cpu: the dry run (default: cuda)")
    parser.add_argument(
        "--parts", metavar="NAMES", help="comma-separated, in this order (default: all that are not done)"
    )
    parser.add_argument("--budget-s", type=float, default=470.0, help="seconds for all parts (default: 470)")
    parser.add_argument("--seed", type=int, default=0, help="of weights, inputs and order (default: 0)")
    parser.add_argument("--list", action="store_true", help="list the parts with their budgets, and measure nothing")


def main(arguments: argparse.Namespace) -> int:
    """Run the parts; 0 with every one of them done, 1 with some outstanding or failed."""
    from profiler.campaign.campaign import Campaign
    from profiler.campaign.parts import PARTS
    from profiler.campaign.plan import full, tiny
    from profiler.device.seam import Unavailable

    on_gpu = arguments.device == "cuda"
    plan = full() if on_gpu else tiny()
    if arguments.list:
        print(_listing(plan))
        return 0
    if arguments.out is None:
        raise ValueError("--out is missing: name a folder for the tables and campaign.json")
    if not arguments.budget_s > 0:
        raise ValueError(f"--budget-s is {arguments.budget_s}: measuring needs a positive number of seconds")
    names = arguments.parts.split(",") if arguments.parts else list(PARTS)
    unknown = [name for name in names if name not in PARTS]
    if unknown:
        raise LookupError(f"unknown part {', '.join(unknown)}; there are {', '.join(PARTS)}")
    if on_gpu:
        import torch

        if not torch.cuda.is_available():
            raise Unavailable("no CUDA device is visible to torch; --device cpu is the dry run, on tiny models")
    with ExitStack() as stack:
        campaign = Campaign(arguments.out, plan, on_gpu, arguments.seed, progress_bar(stack))
        state = campaign.run({name: PARTS[name] for name in names}, arguments.budget_s)
    print(_report(state))
    return 0 if all(state["parts"].get(name, {}).get("status") == "done" for name in names) else 1


def _listing(plan: Any) -> str:
    lines = [f"{name:14} {seconds:5.0f} s" for name, seconds in plan.budgets.items()]
    return "\n".join([*lines, f"{'all':14} {sum(plan.budgets.values()):5.0f} s"])


def _report(state: Mapping[str, Any]) -> str:
    """What became of every part, then the verdicts."""
    lines = []
    for name, part in state["parts"].items():
        seconds = f"{part['seconds']:6.1f} s" if "seconds" in part else " " * 8
        lines.append(f"{name:14} {part['status']:12} {seconds}  {part.get('reason', '')}".rstrip())
        lines += [f"    without {what}: {why}" for what, why in part.get("skipped", {}).items()]
        lines += [f"    without {what}: no time was left to prepare it" for what in part.get("late", [])]
        lines += [f"    {what} failed: {part['errors'][what]['failed']}" for what in part.get("failed", [])]
    for kind, other in state.get("stand_ins", {}).items():
        lines.append(f"{kind}: {other['opened']} stands in ({'; '.join(other['because'])})")
    lines.append("")
    for verdict in state["verdicts"]:
        value = "-" if verdict["value"] is None else f"{verdict['value']:g}"
        goals = ", ".join(f"{word} {verdict[word]:g}" for word in ("must", "aim") if verdict[word] is not None)
        lines.append(f"{verdict['verdict']:13} {value:>8}  {verdict['what']}" + (f" ({goals})" if goals else ""))
    return "\n".join(lines)
