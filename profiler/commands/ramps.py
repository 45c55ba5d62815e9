"""python -m profiler ramps: train a classifier after every layer of a teacher, and record what they answer."""

from __future__ import annotations

import argparse
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

from profiler.commands.distill import chosen_device, half_precision
from profiler.commands.printing import print_grid, progress_bar
from profiler.studies.tasks import DATA, NAMED

#: Training texts that ramps learn from, unless told.
TEXTS = 20_000


def add_arguments(parser: argparse.ArgumentParser) -> None:
    names = ", ".join(NAMED)
    parser.add_argument(
        "--teacher", type=Path, required=True, metavar="FILE|DIR", help="a study's teacher, or a folder"
    )
    parser.add_argument("--task", required=True, metavar="FILE|NAME", help=f"columns text and label; or one of {names}")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder for ramps and recorded answers")
    parser.add_argument("--data", type=Path, default=DATA, metavar="DIR", help=f"where named tasks lie ({DATA})")
    parser.add_argument("--shape", default="linear", help="linear, or pooler: a dense layer before it")
    parser.add_argument("--texts", type=int, default=TEXTS, metavar="N", help=f"training texts ({TEXTS})")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", choices=["cuda", "cpu"], help="default: the GPU where there is one")
    parser.add_argument("--threads", type=int, help="CPU threads (default: torch's)")


def main(arguments: argparse.Namespace) -> int:
    """Train, record the tuning and evaluated texts, say how far each layer agrees; 0 done, 1 below a gate."""
    from profiler.answers.recorded import TUNING
    from profiler.distill.learning import initial
    from profiler.distill.learning.corpus import Corpus
    from profiler.distill.learning.journal import StudyLog
    from profiler.distill.learning.texts import tokenize
    from profiler.distill.learning.training import Setup
    from profiler.distill.preparation import alone, joined, split_names, teacher_classes
    from profiler.studies import ramps, tasks
    from traces.shared.origin import origin

    if arguments.texts < 1:
        raise ValueError(f"--texts is {arguments.texts}: at least one text is needed")
    device = chosen_device(arguments)
    path: Path = arguments.teacher
    folder = path.parent if path.is_file() else initial.teacher_folder(str(path))
    teacher = initial.saved_teacher(path) if path.is_file() else initial.load_teacher(folder)
    if not teacher.head:
        raise ValueError(f"the teacher {path} has no head yet: fine-tune it by python -m profiler distill")
    classes = teacher_classes(folder, teacher)
    task = tasks.load(tasks.find(arguments.task, arguments.data), most=arguments.texts, classes=classes)
    spec, most = teacher.spec, min(128, teacher.spec.positions)
    tensors = {name: tensor.to(device) for name, tensor in teacher.tensors.items()}
    with ExitStack() as stack:
        work = arguments.out / "work"
        stack.enter_context(alone(work))
        journal = StudyLog(arguments.out / "log.jsonl", {f"ramps-{arguments.shape}": 1.0}, progress_bar(stack))
        run = Setup(work, arguments.seed, device, half_precision(device), journal)
        about = {"model": spec.name, "task": task.name, "weights": initial.digest(teacher.tensors)}
        about |= {"seed": str(arguments.seed), "commit": str(origin().get("commit", "unknown"))}
        fitting = tokenize(task.training.texts, folder, most, spec.vocab)
        learned = ramps.trained(run, arguments.shape, ramps.seen(run, spec, tensors, Corpus(fitting, device)), about)
        learned.save(arguments.out / "ramps.safetensors")
        whole = replace(task, evaluated={TUNING: task.tuning, **task.evaluated})
        shown = joined(whole)
        texts = tokenize(shown.texts, folder, most, spec.vocab)
        found = ramps.seen(run, spec, tensors, Corpus(texts, device))
        rows = ramps.Rows(texts.lengths, shown.labels, split_names(whole), shown.rows)
        items = ramps.recorded(learned, found, rows, learned.about)
        items.write(arguments.out / "answers.parquet")
    agrees, right = ramps.agreement(items, items.served), items.correct[:, items.served].mean(1)
    cells = [(str(layer), f"{a:.4f}", f"{r:.4f}") for layer, (a, r) in enumerate(zip(agrees, right, strict=True), 1)]
    title = f"{task.name}: ramps of {spec.name} on {len(items.served):,} texts that nothing was tuned on"
    print_grid(title, ("after layer", "as the whole model", "right"), cells)
    passed = ramps.gates(items, items.served)
    words = {True: "passed", False: "missed"}
    print(f"gates: {', '.join(f'{name} {words[good]}' for name, good in passed.items())}")
    return 0 if all(passed.values()) else 1
