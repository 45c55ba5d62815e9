"""python -m profiler run --url: measure a running server from outside."""

from __future__ import annotations

import argparse
import sys
from contextlib import ExitStack
from pathlib import Path

from profiler.commands.printing import noise_words, progress_bar

#: Seconds of measuring, so that with its gates a run takes less than five minutes.
BUDGET_S = 200.0
#: Flags of `run` that are for what this machine computes itself.
FOREIGN = ("plan", "students", "threads", "checkpoint", "engine", "executor", "dtype", "ramps")


def add_server_arguments(parser: argparse.ArgumentParser) -> None:
    """The flags of a server."""
    server = parser.add_argument_group("a running server instead of this machine")
    server.add_argument(
        "--url",
        metavar="http://HOST:PORT",
        help="measure what runs there, from outside; --model as the server calls it",
    )
    server.add_argument("--tokenizer", type=Path, metavar="DIR", help="with tokenizer.json, where it takes texts")
    server.add_argument("--vocab", type=int, metavar="N", help="token ids are below this (default: BERT's 30522)")


def measure(arguments: argparse.Namespace) -> int:
    """Measure the server; 0 with a valid table, 1 with one that is not valid or where the budget ended before."""
    from profiler.blackbox.session import BATCHES, TOKENS, ServerModel, measure_server
    from profiler.table.writing import refuse_existing

    _refuse(arguments)
    refuse_existing(arguments.out, arguments.replace)
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    target = ServerModel(arguments.url, arguments.model, arguments.tokenizer, arguments.vocab)
    try:
        with ExitStack() as stack:
            table = measure_server(
                arguments.out,
                target,
                arguments.budget_s or BUDGET_S,
                batches=arguments.batches or BATCHES,
                tokens=arguments.tokens or TOKENS,
                seed=arguments.seed,
                meta={"rank": arguments.rank},
                keep_samples=arguments.keep_samples,
                progress=progress_bar(stack),
            )
    except KeyboardInterrupt:
        print("interrupted: what was measured is kept; the same command goes on from there", file=sys.stderr)
        return 130
    if table is None:
        print("unfinished: not every key has its samples; the same command goes on from there", file=sys.stderr)
        return 1
    about = table.meta["black_box"]
    rows = len(table.columns["model"])
    interpolated = int((table.columns["impl"] == "interpolated").sum())
    print(f"{arguments.out}: {rows - interpolated} shapes measured by {about['way']}, {interpolated} rows interpolated")
    print(f"padding: {', '.join(f'{name} {found}' for name, found in about['padding'].items())}")
    for what, why in table.meta["skipped"].items():
        print(f"left out: {what} ({why})")
    if "capacity" in about:
        print(f"one text per request: what the server's own batches take cannot be measured; {about['capacity']}")
    print(f"not known: {'; '.join(about['unknown'])}")
    known = table.meta["precision"]["median"]
    print(f"medians are known within {known:.1%}" if known is not None else "no median is known well enough to say")
    print(f"the machine was {noise_words(table.meta)}")
    print("VALID" if about["valid"] else f"INVALID: {'; '.join(about['reasons'])}")
    return 0 if about["valid"] else 1


def _refuse(arguments: argparse.Namespace) -> None:
    """Raise ValueError for flags that a server would not heed, and where it is not said which model."""
    given = [f"--{name}" for name in FOREIGN if getattr(arguments, name) is not None]
    if arguments.illustrative_accuracy or arguments.device != "cpu":
        given.append("--illustrative-accuracy" if arguments.illustrative_accuracy else "--device")
    if given:
        raise ValueError(f"--url does not heed {', '.join(given)}: a server is measured as it runs")
    if arguments.model is None:
        raise ValueError("--url needs --model NAME, as the server calls it")
    for name in ("batches", "tokens"):
        if any(size < 1 for size in getattr(arguments, name) or ()):
            raise ValueError(f"--{name} must be positive whole numbers")
    if arguments.vocab is not None and not 2 <= arguments.vocab <= 1 << 30:
        raise ValueError(f"--vocab is {arguments.vocab}; it must lie in 2 to {1 << 30:,}")
