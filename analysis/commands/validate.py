"""python -m analysis validate: is the simulation right? Live runs against simulations of the same arrivals."""

from __future__ import annotations

import argparse
from contextlib import ExitStack
from pathlib import Path

#: What is measured where no table is named: some 8,000 requests per second on one core, and so short that a batch of 32
#: takes only six times as long as one of 1: a device that gains by batching, as a GPU does.
TINY = {"models": "students-2x64", "students": "1,2,4", "batches": "1,2,4,8,16,32", "tokens": "8"}
#: Tokens of all requests where the table is named.
TOKENS = "32"
#: Seconds of measuring that table.
BUDGET_S = 40


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.description = (
        "Run the acceptance set live and simulated on the same arrivals, and report the error in layers. "
        "Takes about ten minutes; every finished run is in --out at once. --report only writes the page again. "
        "--recorded looks at the traffic of an endpoint instead."
    )
    parser.add_argument("--out", type=Path, metavar="DIR", help="results, raw records, page and plots")
    parser.add_argument(
        "--recorded",
        type=Path,
        nargs="+",
        metavar="DIR",
        help="instead: a session that an endpoint recorded, against the simulation of its arrivals; further ones of "
        "the same traffic say how far such sessions are apart",
    )
    parser.add_argument(
        "--triton",
        type=Path,
        metavar="JSON",
        help="instead: what Triton traced (level=TIMESTAMPS), against its twin on --table with --policy and --lengths; "
        "status 1 where a bound is missed",
    )
    parser.add_argument("--policy", metavar="SPEC", help='of that twin, such as "triton(max_batch=8, delay_s=0.001)"')
    parser.add_argument(
        "--device",
        choices=["cpu", "cuda", "timer"],
        default="cpu",
        help="what runs live (default: cpu; timer: nothing, batches take the table's times, the host's path is real)",
    )
    parser.add_argument("--table", metavar="DIR", help="measured on this device (default: a tiny ensemble, now)")
    parser.add_argument("--model", metavar="NAME", help="of the table (default: its first students-*)")
    parser.add_argument("--requests", type=int, default=20_000, metavar="N", help="per run (default: 20000)")
    parser.add_argument("--wanted", type=int, default=2, metavar="N", help="VALID runs per cell (default: 2)")
    parser.add_argument("--most", type=int, default=4, metavar="N", help="attempts per cell to get them (default: 4)")
    parser.add_argument(
        "--lengths", metavar="FILE|SPEC", help="of all requests (default: constant, 32 tokens; 8 if tiny)"
    )
    parser.add_argument(
        "--slo-ms", type=float, metavar="MS", help="target (default: five times batch 1, or twice the largest batch)"
    )
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="of all random numbers (default: 0)")
    parser.add_argument("--report", action="store_true", help="write page and plots from the files in --out")


def main(arguments: argparse.Namespace) -> int:
    """Run the set and write its page; 1 where a bound is missed."""
    from analysis.validation import report
    from traces.shared.atomic import write_text

    if arguments.recorded is not None:
        return _recorded(arguments)
    if arguments.triton is not None:
        return _triton(arguments)
    if arguments.policy is not None:
        raise ValueError("--policy is of the twin of --triton: the acceptance set has policies of its own")
    if arguments.out is None:
        raise ValueError("--out is needed: a folder for the results (or --recorded: a session to look at)")
    if arguments.slo_ms is not None and not arguments.slo_ms > 0:
        raise ValueError(f"--slo-ms is {arguments.slo_ms}; it must be more than 0")
    if arguments.device == "timer" and arguments.table is None and not arguments.report:
        raise ValueError("--device timer needs a --table whose times it takes, such as h200-modelled")
    for name in ("requests", "wanted", "most"):
        if getattr(arguments, name) < 1:
            raise ValueError(f"--{name} is {getattr(arguments, name)}; it must be at least 1")
    if not arguments.report:
        _measure(arguments)
    from analysis.plots.figures import save
    from analysis.validation.plot import errors
    from analysis.validation.verdicts import verdicts

    found = report.read(arguments.out)
    write_text(arguments.out / "report.md", report.page(found))
    save(errors(found), arguments.out / "errors.png")
    rows = verdicts(found)
    valid = found["runs"]["valid"].sum()
    print(f"{valid} of {len(found['runs'])} live runs are VALID\n")
    width = max(len(row[0]) for row in rows)
    for what, bound, reached, word in rows:
        print(f"{what.ljust(width)}  {bound:>22}  {reached:>10}  {word.strip('*')}")
    print(f"\nwritten to {arguments.out}/report.md")
    return int(any("missed" in row[3] for row in rows))


def _recorded(arguments: argparse.Namespace) -> int:
    """Compare a recorded session with its simulation; the figures go to --out, if that is given."""
    from analysis.validation import recorded, report, session_page

    first, *repeats = map(recorded.read, arguments.recorded)
    found = recorded.compare(first, arguments.seed, repeats)
    print(session_page.page(found))
    if arguments.out is not None:
        report.write_values(arguments.out / "recorded.json", found)
    return 0


def _triton(arguments: argparse.Namespace) -> int:
    """Compare what Triton traced with its twin; the figures go to --out, if that is given."""
    from analysis.validation import report, triton_trace
    from simulator.settings import Settings

    if arguments.table is None:
        raise ValueError("--triton needs a --table of that server: python -m profiler run --url URL measures it")
    names = ("table", "model", "slo_ms", "seed")
    its = {name: getattr(arguments, name) for name in names} | {"lengths": arguments.lengths or "short-text"}
    found = triton_trace.compare(arguments.triton, Settings(policy=arguments.policy or "triton", **its))
    print(triton_trace.page(found))
    if arguments.out is not None:
        report.write_values(arguments.out / "triton.json", found)
    return int(bool(triton_trace.missed(found)))


def _measure(arguments: argparse.Namespace) -> None:
    from analysis.validation import report
    from analysis.validation.acceptance import Acceptance
    from analysis.validation.timer import open_timer
    from profiler.commands.printing import noise_words, progress_bar
    from profiler.executors.serving import open_devices
    from profiler.table import Deployment
    from traces.shared.origin import origin

    out = arguments.out
    if (out / "runs.json").exists():
        raise ValueError(f"{out} holds an earlier set: name another --out, or give --report to see it")
    source = arguments.table or str(_tiny_table(out / "table", arguments.device))
    deployment = Deployment.of(source, arguments.model)
    table, model = deployment.table, deployment.model
    lengths = arguments.lengths or f"constant:tokens={TOKENS if arguments.table else TINY['tokens']}"
    with ExitStack() as stack:
        progress = progress_bar(stack)
        progress(0.0, "warming up")
        if arguments.device == "timer":
            served = open_timer(table, model)
        else:
            served = open_devices(arguments.device, table, [model], deployment.plan, seed=arguments.seed)
        stack.callback(served.close)
        numbers = {name: getattr(arguments, name) for name in ("requests", "wanted", "most", "seed")}
        slo_s = None if arguments.slo_ms is None else arguments.slo_ms / 1e3
        acceptance = Acceptance(source, model, served, out, **numbers, lengths=lengths, slo_s=slo_s, progress=progress)
        meta = {
            "device": served.name,
            "notes": list(served.notes),
            "model": model,
            "students": deployment.levels[-1].students,
            "requests": arguments.requests,
            "lengths": lengths,
            "slo_s": acceptance.slo_s,
            "table": source,
            "table_digest": table.digest,
            "table_created": table.meta.get("created", "at an unknown date"),
            "table_noise": noise_words(table.meta),
            "seed": arguments.seed,
            **origin(),
        }
        report.write_values(out / "meta.json", meta)
        acceptance.run()


def _tiny_table(folder: Path, device: str) -> Path:
    """Measure the tiny ensemble, with the profiler's own command, unless an earlier call has."""
    from profiler.__main__ import main as profile

    if not (folder / "meta.json").exists():
        folder.parent.mkdir(parents=True, exist_ok=True)
        shape = [word for name, value in TINY.items() for word in (f"--{name}", value)]
        threads = ["--threads", "1"] if device == "cpu" else []
        budget = ["--budget-s", str(BUDGET_S), "--illustrative-accuracy", "--out", str(folder)]
        if profile(["run", "--device", device, *threads, *shape, *budget]):
            raise ValueError(f"the table could not be measured; the timings so far are beside {folder}")
    return folder
