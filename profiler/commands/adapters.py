"""python -m profiler adapters: adapters of real tenants, and what skipped lower layers cost them in accuracy."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from profiler.commands.distill import half_precision
from profiler.commands.keys import set_threads
from profiler.commands.printing import print_grid, progress_bar
from profiler.studies.tasks import DATA, NAMED

if TYPE_CHECKING:
    from profiler.distill.learning.corpus import Corpus
    from profiler.studies.tenants import Tenant

#: Entries of the tables, besides one of all; the size that adapters on look-up are trained with. Tenants that are fully
#: fine-tuned. Training texts of each data set whose windows the tables hold.
SIZES, LEARNED, FULL, TEXTS = (10_000, 100_000), 100_000, 10, 20_000
#: Seconds a token of computed lower states, a window, a token of full fine-tuning, over a token of training adapters:
#: measured on an EPYC with avx512_bf16.
LOWER, WINDOW, WHOLE = 0.4, 1.3, 2.6


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--teacher", required=True, metavar="DIR", help="the encoder's folder: a BERT checkpoint")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder for figures and checkpoints")
    parser.add_argument(
        "--data", type=Path, default=DATA, metavar="DIR", help=f"where {', '.join(NAMED)} lie (default: {DATA})"
    )
    parser.add_argument("--tenants", type=int, metavar="N", help="so many tenants only, drawn by the seed")
    parser.add_argument("--seed", type=int, default=0, help="of weights and order (default: 0)")
    parser.add_argument("--threads", type=int, help="CPU threads (default: torch's)")


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
    import torch

    from profiler.distill.learning import initial
    from profiler.distill.learning.corpus import Corpus
    from profiler.distill.learning.journal import StudyLog
    from profiler.distill.learning.texts import tokenize
    from profiler.distill.learning.training import Setup
    from profiler.distill.preparation import alone, settle
    from profiler.distill.results import hardware
    from profiler.models.lookup import commonest
    from profiler.studies import accuracies, adapters, states, tasks
    from profiler.studies.tenants import digest, distinct, tenants
    from traces.shared.origin import origin

    folder = initial.teacher_folder(arguments.teacher)
    checkpoint = initial.load_teacher(folder).encoder()
    spec, layers = checkpoint.spec, checkpoint.spec.layers - adapters.LAYERS
    if layers < 1:
        raise ValueError(f"{folder} has {spec.layers} layers: adapters stand in the upper {adapters.LAYERS} of more")
    with ExitStack() as stack:
        bar = progress_bar(stack)
        bar(0.0, "reading texts")
        loaded = {name: tasks.load(tasks.find(name, arguments.data)) for name in NAMED}
        chosen = tenants(loaded, arguments.seed)[: arguments.tenants]
        table = {name: task.training.pick(range(min(TEXTS, len(task.training)))) for name, task in loaded.items()}
        every = distinct(split for tenant in chosen for split in tenant.splits.values())
        corpus, learned = (
            Corpus(tokenize(own, folder, min(128, spec.positions), spec.vocab), torch.device("cpu"))
            for own in (every, distinct(table.values()))
        )
        keys = commonest(states.keys_of(learned))
        sizes = sorted({min(size, len(keys)) for size in (*SIZES, len(keys))})
        work, half = arguments.out / "work", half_precision(corpus.device)
        stack.enter_context(alone(work))
        silent = Setup(work, arguments.seed, corpus.device, half, StudyLog(arguments.out / "log.jsonl", {}))
        recipe = adapters.recipe(spec, min(LEARNED, len(keys)))
        same = {"weights": initial.digest(checkpoint.tensors), "seed": arguments.seed, "bfloat16": half}
        settle(work, adapters.FULL, {**same, "tenants": digest(chosen), "entries": len(keys), **recipe})
        jobs = adapters.jobs(chosen, FULL)
        frozen = adapters.frozen(spec, checkpoint.tensors, half)
        pace = adapters.pace(silent, spec, frozen, corpus)
        seconds = _costs(pace, corpus, len(keys), sizes, jobs)
        _plan(seconds, {name for name in seconds if silent.has(name)})
        run = replace(silent, journal=StudyLog(arguments.out / "log.jsonl", seconds, bar))
        weights = states.encoder(spec, checkpoint.tensors)
        lower = states.kept(run, weights, corpus, learned, keys, sizes, layers)
        place = {text: row for row, text in enumerate(every)}
        study = adapters.Study(run, spec, checkpoint.tensors, frozen, corpus, place, lower, str(recipe["looked_up"]))
        found: dict[tuple[str, str], adapters.Answers] = {}
        try:
            for tenant, trained in jobs:
                found[tenant.name, trained] = study.answers(tenant, trained)
        finally:  # an interrupted study shows what it has
            ended = f"Trained: {len(found)} of {len(jobs)}; the same command goes on." if len(found) < len(jobs) else ""
            about = {"encoder": folder.name, **same, "recipe": recipe, "finished": ended, **origin()}
            about |= {"containment": accuracies.known_before(chosen, table), "device": hardware(corpus.device)}
            about |= {"cpu_seconds": round(sum(run.journal.seconds("cpu_seconds").values()))}
            windows = {"trained on": states.keys_of(learned)}
            for task in loaded:
                own = distinct(tenant.evaluated for tenant in chosen if tenant.task == task)
                windows[f"{task}, evaluated"] = states.keys_of(corpus.picked([place[text] for text in own]))
            rows = accuracies.accuracy_rows(chosen, found)
            accuracies.write(arguments.out, rows, accuracies.coverage_rows(sizes, keys, windows), about)
    _print(accuracies.summary(rows))


def _costs(
    pace: float, corpus: Corpus, entries: int, sizes: Sequence[int], jobs: Sequence[tuple[Tenant, str]]
) -> dict[str, float]:
    """The seconds of every phase, by those that a token takes in training adapters."""
    from profiler.studies import adapters
    from profiler.studies.states import COMPUTED

    tokens, length = int(corpus.texts.lengths.sum()), float(corpus.texts.lengths.mean())
    found = {f"states-{COMPUTED}": LOWER * pace * tokens}
    found |= {f"states-{size}": WINDOW * pace * entries / len(sizes) for size in sizes} | {"cls": LOWER * pace * tokens}
    for tenant, trained in jobs:
        answered = LOWER * length * (len(tenant.tuning) + len(tenant.evaluated))
        passes = {"head": 0.0, "full": 1.0}.get(trained, 1.0 + len(sizes)) * answered
        learned = {"head": 0.01, "full": WHOLE}.get(trained, 1.0) * adapters.STEPS * adapters.BATCH * length
        found[adapters.file_of(tenant.name, trained)] = pace * (learned + passes)
    return found


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
