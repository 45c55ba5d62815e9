"""python -m profiler adapters: adapters of real tenants, and what skipped lower layers cost them in accuracy."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from profiler.commands.distill import half_precision
from profiler.commands.keys import set_threads
from profiler.commands.printing import print_grid, progress_bar
from profiler.studies.tasks import DATA, NAMED

if TYPE_CHECKING:
    from profiler.studies.material import Material
    from profiler.studies.tenants import Tenant

#: Entries of the tables, besides one of all; the size that adapters on look-up are trained with; and how many tenants
#: are fully fine-tuned.
SIZES, LEARNED, FULL = (10_000, 100_000), 100_000, 10
#: Seconds a token of computed lower states, a window, a token of full fine-tuning, over a token of training adapters:
#: measured on an EPYC with avx512_bf16.
LOWER, WINDOW, WHOLE = 0.4, 1.3, 5.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--teacher", required=True, metavar="DIR", help="the encoder's folder: a BERT checkpoint")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder for figures and checkpoints")
    parser.add_argument(
        "--data", type=Path, default=DATA, metavar="DIR", help=f"where {', '.join(NAMED)} lie (default: {DATA})"
    )
    parser.add_argument("--tenants", type=int, metavar="N", help="so many tenants only, drawn by the seed")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="of weights and order (default: 0)")
    parser.add_argument("--threads", type=int, metavar="N", help="CPU threads (default: torch's)")


def main(arguments: argparse.Namespace) -> int:
    """Train, evaluate and write; 0 done, 130 interrupted: the same command then goes on from there."""
    if arguments.tenants is not None and arguments.tenants < 1:
        raise ValueError(f"--tenants is {arguments.tenants}: at least one is needed")
    set_threads(arguments.threads)
    try:
        _study(arguments)
    except KeyboardInterrupt:
        print("interrupted: the same command goes on from the last checkpoint", file=sys.stderr)
        return 130
    return 0


def _study(arguments: argparse.Namespace) -> None:
    from profiler.distill.learning import initial
    from profiler.distill.learning.journal import StudyLog
    from profiler.distill.learning.training import Setup
    from profiler.distill.preparation import alone, settle
    from profiler.distill.results import hardware
    from profiler.models import weights
    from profiler.studies import accuracies, adapters, states
    from profiler.studies.material import prepare
    from profiler.studies.tenants import digest
    from traces.shared.origin import origin

    folder = initial.teacher_folder(arguments.teacher)
    checkpoint = initial.load_teacher(folder).encoder()
    spec, layers = checkpoint.spec, checkpoint.spec.layers - adapters.LAYERS
    if layers < 1:
        raise ValueError(f"{folder} has {spec.layers} layers: adapters stand in the upper {adapters.LAYERS} of more")
    with ExitStack() as stack:
        bar = progress_bar(stack)
        bar(0.0, "reading texts")
        own = prepare(arguments.data, folder, spec, arguments.seed, arguments.tenants, SIZES)
        device, entries = own.corpus.device, len(own.keys)
        work, half = arguments.out / "work", half_precision(device)
        stack.enter_context(alone(work))
        recipe = adapters.recipe(spec, min(LEARNED, entries))
        same = {"weights": weights.digest(checkpoint.tensors), "seed": arguments.seed, "bfloat16": half}
        settle(work, {**asdict(adapters.FULL), **same, "tenants": digest(own.tenants), "entries": entries, **recipe})
        silent = Setup(work, arguments.seed, device, half, StudyLog(arguments.out / "log.jsonl", {}))
        frozen = adapters.frozen(spec, checkpoint.tensors, half)
        jobs = adapters.jobs(own.tenants, FULL)
        seconds = _costs(adapters.pace(silent, spec, frozen, own.corpus), own, jobs)
        _plan(seconds, {name for name in seconds if silent.has(name)})
        run = replace(silent, journal=StudyLog(arguments.out / "log.jsonl", seconds, bar))
        lower = states.kept(
            run, states.encoder(spec, checkpoint.tensors), own.corpus, own.learned, own.keys, own.sizes, layers
        )
        study = adapters.AdapterStudy(
            run, spec, checkpoint.tensors, frozen, own.corpus, own.place, lower, str(recipe["looked_up"])
        )
        found: dict[tuple[str, str], adapters.Answers] = {}
        try:
            for tenant, trained in jobs:
                found[tenant.name, trained] = study.answers(tenant, trained)
        finally:  # an interrupted study shows what it has
            about = {"encoder": folder.name, **same, "recipe": recipe, "trained": len(found), "wanted": len(jobs)}
            about |= {"cpu_seconds": round(sum(run.journal.seconds("cpu_seconds").values()))}
            about |= {"device": hardware(device), **origin()}
            rows = accuracies.write(arguments.out, own, lower, found, about) if found else []
    _print(rows)


def _costs(pace: float, own: Material, jobs: Sequence[tuple[Tenant, str]]) -> dict[str, float]:
    """The seconds of every phase, by those that a token takes in training adapters."""
    from profiler.studies import adapters
    from profiler.studies.states import COMPUTED

    lengths = own.corpus.texts.lengths
    lower, length = LOWER * pace * int(lengths.sum()), float(lengths.mean())
    table = WINDOW * pace * len(own.keys) / len(own.sizes)
    found = {f"states-{COMPUTED}": lower, **{f"states-{size}": table for size in own.sizes}}
    for tenant, trained in jobs:
        answered = LOWER * length * (len(tenant.tuning) + len(tenant.evaluated))
        passes = {"head": 0.0, "full": 2.0}.get(trained, 1.0 + len(own.sizes)) * answered
        learned = {"head": 0.0, "full": WHOLE}.get(trained, 1.0) * adapters.STEPS * adapters.BATCH * length
        found[adapters.file_of(tenant.name, trained)] = pace * (learned + passes)
    return found | {"cls": lower}


def _plan(seconds: dict[str, float], done: set[str]) -> None:
    """Say what is made and trained, and how long that takes."""
    alike: dict[str, list[str]] = {}
    for name in seconds:
        alike.setdefault(name.split("_")[0], []).append(name)
    rows = [
        (name, str(len(own)), f"{sum(seconds[each] for each in own) / 60:.1f} min", f"{len(done & set(own))}")
        for name, own in alike.items()
    ]
    left = sum(own for name, own in seconds.items() if name not in done) / 60
    print_grid(
        f"about {left:.0f} min to go, by a trial just now", ("phase", "parts", "time", "done"), rows, words=("phase",)
    )


def _print(rows: Sequence[Mapping[str, Any]]) -> None:
    cells = [
        (
            row["trained"],
            row["states"],
            str(row["tenants"]),
            f"{row['accuracy']:.4f}",
            f"{row['low']:.4f} to {row['high']:.4f}",
        )
        for row in rows
        if row["kind"] == "all"
    ]
    names = ("trained", "lower layers", "tenants", "accuracy", "95 % over tenants")
    print_grid("means over tenants, texts that nothing was trained on", names, cells, words=names[:2])
