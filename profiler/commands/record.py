"""python -m profiler record: what a teacher with ramps answers to any texts, layer by layer."""

from __future__ import annotations

import argparse
from contextlib import ExitStack
from pathlib import Path

from profiler.commands.distill import chosen_device
from profiler.commands.printing import progress_bar
from profiler.commands.ramps import opened, show
from profiler.studies.tasks import DATA, NAMED


def add_arguments(parser: argparse.ArgumentParser) -> None:
    names = ", ".join(NAMED)
    parser.add_argument("--ramps", type=Path, required=True, metavar="FILE", help="ramps.safetensors")
    parser.add_argument("--teacher", type=Path, required=True, metavar="FILE|DIR", help="the model they were made for")
    which = parser.add_mutually_exclusive_group(required=True)
    which.add_argument("--task", metavar="FILE|NAME", help=f"its evaluated and tuning texts; a file, or one of {names}")
    which.add_argument("--texts", type=Path, nargs="+", metavar="FILE", help="column text, and label where it is known")
    parser.add_argument("--out", type=Path, required=True, metavar="FILE", help="answers.parquet")
    parser.add_argument(
        "--data", type=Path, default=DATA, metavar="DIR", help=f"where named tasks lie (default: {DATA})"
    )
    parser.add_argument("--limit", type=int, metavar="N", help="the first N texts of each split, or file")
    parser.add_argument("--device", choices=["cuda", "cpu"], help="default: the GPU where there is one")
    parser.add_argument("--threads", type=int, metavar="N", help="CPU threads (default: torch's)")


def main(arguments: argparse.Namespace) -> int:
    """Record, and say how far each layer agrees; 0 done, 1 below a gate."""
    from profiler.distill.learning.journal import StudyLog
    from profiler.distill.learning.training import Setup
    from profiler.models import weights
    from profiler.models.ramps import load_ramps
    from profiler.studies import exits, tasks
    from traces.shared.atomic import make_folder
    from traces.shared.origin import origin

    if arguments.limit is not None and arguments.limit < 1:
        raise ValueError(f"--limit is {arguments.limit}: at least one text is needed")
    device = chosen_device(arguments)
    ramps = load_ramps(arguments.ramps)
    folder, teacher, classes = opened(arguments.teacher)
    own, known = weights.digest(teacher.tensors), ramps.about.get("weights")
    if own != known:
        raise ValueError(
            f"{arguments.ramps} was made for another model (weights {known}; {arguments.teacher} has {own}): "
            f"name its own, or train ramps for this one by python -m profiler ramps"
        )
    if arguments.task is not None:
        task = tasks.load(tasks.find(arguments.task, arguments.data), classes=classes)
        texts = exits.TextSet.of_task(task, arguments.limit)
    else:
        texts = exits.TextSet.of_files(arguments.texts, classes, arguments.limit)
    make_folder(arguments.out.parent)
    with ExitStack() as stack:
        journal = StudyLog(arguments.out.with_suffix(".log.jsonl"), {}, progress_bar(stack))
        run = Setup(arguments.out.parent, 0, device, half=False, journal=journal)
        tensors = {name: tensor.to(device) for name, tensor in teacher.tensors.items()}
        about = {**ramps.about, "commit": str(origin().get("commit", "unknown"))}
        items = exits.answered(run, teacher.spec, tensors, folder, ramps, texts, about)
        items.write(arguments.out)
    return show(items)
