"""python -m profiler ramps: train a classifier after every layer of a teacher, and record what they answer."""

from __future__ import annotations

import argparse
import shutil
import sys
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from profiler.commands.distill import chosen_device
from profiler.commands.printing import print_grid, progress_bar
from profiler.studies.tasks import DATA, NAMED

if TYPE_CHECKING:
    from profiler.answers.recorded import Answers
    from profiler.distill.learning.encoder import Tensors
    from profiler.distill.learning.initial import Checkpoint
    from profiler.models.spec import Dims

#: Training texts that ramps learn from, unless told.
TEXTS = 20_000
#: The backbone that learned with its ramps, in the folder of results.
JOINT = "joint.safetensors"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    names = ", ".join(NAMED)
    parser.add_argument(
        "--teacher", type=Path, required=True, metavar="FILE|DIR", help="a study's teacher, or a folder"
    )
    parser.add_argument("--task", required=True, metavar="FILE|NAME", help=f"columns text and label; or one of {names}")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder for ramps and recorded answers")
    parser.add_argument(
        "--data", type=Path, default=DATA, metavar="DIR", help=f"where named tasks lie (default: {DATA})"
    )
    parser.add_argument(
        "--shape", default="linear", metavar="NAME", help="linear, or pooler: a dense layer before it (default: linear)"
    )
    parser.add_argument(
        "--joint", action="store_true", help="train the teacher's layers with the ramps: it is another model then"
    )
    parser.add_argument(
        "--limit", type=int, default=TEXTS, metavar="N", help=f"use so many training rows (default: {TEXTS:,})"
    )
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="of all random numbers (default: 0)")
    parser.add_argument("--device", choices=["cuda", "cpu"], help="default: the GPU where there is one")
    parser.add_argument("--threads", type=int, metavar="N", help="CPU threads (default: torch's)")


def main(arguments: argparse.Namespace) -> int:
    """Train, record the tuning and evaluated texts, say how far each layer agrees; 0 done, 1 below a gate."""
    try:
        items = _study(arguments)
    except KeyboardInterrupt:
        print("interrupted: the same command goes on from the last checkpoint", file=sys.stderr)
        return 130
    return show(items)


def _study(arguments: argparse.Namespace) -> Answers:
    import torch

    from profiler.distill.learning.corpus import Corpus
    from profiler.distill.learning.journal import StudyLog
    from profiler.distill.learning.training import Setup
    from profiler.distill.preparation import alone, settle
    from profiler.distill.results import hardware
    from profiler.models import weights
    from profiler.studies import exits, ramps, tasks
    from traces.shared.origin import origin

    if arguments.limit < 1:
        raise ValueError(f"--limit is {arguments.limit}: at least one row is needed")
    device = chosen_device(arguments)
    folder, teacher, classes = opened(arguments.teacher)
    task = tasks.load(tasks.find(arguments.task, arguments.data), most=arguments.limit, classes=classes)
    spec, out = teacher.spec, arguments.out
    tensors = {name: tensor.to(device) for name, tensor in teacher.tensors.items()}
    with ExitStack() as stack:
        stack.enter_context(alone(out / "work"))
        same = {"task": task.name, "training": len(task.training), "shape": arguments.shape, "seed": arguments.seed}
        same |= {"joint": arguments.joint, "weights": weights.digest(teacher.tensors), "device": device.type}
        settle(out / "work", same)
        phase = f"{'joint' if arguments.joint else 'ramps'}-{arguments.shape}"
        journal = StudyLog(out / "log.jsonl", {phase: 1.0, "record": 1.0}, progress_bar(stack))
        # Not in bfloat16: it rounds away how the [CLS] rows of early layers differ from text to text.
        run = Setup(out / "work", arguments.seed, device, half=False, journal=journal)
        about = {"model": spec.name, "task": task.name, "weights": str(same["weights"]), "training": "frozen"}
        about |= {"seed": str(arguments.seed), "commit": str(origin().get("commit", "unknown"))}
        corpus = Corpus(exits.tokenized(task.training.texts, folder, spec), device)
        if arguments.joint:
            labels = torch.from_numpy(task.training.labels).to(device)
            tensors, learned = ramps.trained_jointly(run, arguments.shape, spec, tensors, corpus, labels, about)
            about |= _joint(out, folder, spec, tensors, task.name)
            learned = replace(learned, about={**learned.about, **about})
        else:
            learned = ramps.trained(run, arguments.shape, ramps.seen(run, spec, tensors, corpus), about)
        learned.save(out / "ramps.safetensors")
        journal.begin("record")
        items = exits.answered(run, spec, tensors, folder, learned, exits.TextSet.of_task(task), learned.about)
        items.write(out / "answers.parquet")
        journal.end("record")
        card = {**learned.about, "teacher": str(arguments.teacher), "training_texts": len(task.training)}
        card |= {"recipe": ramps.recipe(arguments.joint), "device": hardware(device)}
        _write_card(out, card | {"seconds": run.journal.seconds(), **origin()}, items, task)
    return items


def opened(path: Path) -> tuple[Path, Checkpoint, tuple[str, ...]]:
    """A teacher with its head, named as tables name it: the folder of its tokenizer, its tensors, its classes.

    Raises LookupError or ValueError where it is none.
    """
    from profiler.distill.learning import initial
    from profiler.distill.preparation import teacher_classes

    folder = path.parent if path.is_file() else initial.teacher_folder(str(path))
    teacher = initial.saved_teacher(path) if path.is_file() else initial.load_teacher(folder)
    if not teacher.head:
        raise ValueError(f"the teacher {path} has no head yet: fine-tune it by python -m profiler distill")
    joint = "-joint" if teacher.spec.name.endswith("-joint") else ""
    name = f"teacher-{teacher.spec.layers}x{teacher.spec.hidden}{joint}"
    named = replace(teacher, spec=replace(teacher.spec, name=name))
    return folder, named, teacher_classes(folder, teacher)


def show(items: Answers) -> int:
    """Print how far each layer agrees and is right on the served texts, and the gates; 0, or 1 below a gate."""
    from profiler.studies import exits

    rows = items.served
    agrees, (right, whole) = exits.agreement(items, rows), exits.accuracy(items, rows)
    cells = [(str(layer), f"{a:.4f}", f"{r:.4f}") for layer, (a, r) in enumerate(zip(agrees, right, strict=True), 1)]
    cells.append(("whole model", f"{1:.4f}", f"{whole:.4f}"))
    what = f"{items.about['task']}: ramps of {items.about['model']} ({items.about['training']} backbone)"
    title = f"{what} on {len(rows):,} texts that nothing was tuned on"
    print_grid(title, ("after layer", "as the whole model", "right"), cells)
    passed = exits.gates(items, rows)
    words = {True: "passed", False: "missed"}
    print(f"gates: {', '.join(f'{name} {words[good]}' for name, good in passed.items())}")
    return 0 if all(passed.values()) else 1


def _joint(out: Path, folder: Path, spec: Dims, tensors: Tensors, task: str) -> dict[str, str]:
    """Write the backbone that learned with its ramps, as a teacher of its own; what is said about it from then on."""
    import torch

    from profiler.models import weights

    name = f"{spec.name.removesuffix('-joint')}-joint"
    own = {key: tensor.detach().cpu() for key, tensor in tensors.items()}
    head = torch.eye(spec.classes)[None]
    whole = own | {"head_weight": head, "head_bias": torch.zeros_like(head[:, 0])}
    weights.save(weights.assemble(replace(spec, name=name), whole), out / JOINT, task=task)
    for file in ("tokenizer.json", "config.json"):
        if (folder / file).is_file():
            shutil.copy(folder / file, out / file)
    return {"model": name, "weights": weights.digest(own), "training": "joint"}


def _write_card(out: Path, card: Mapping[str, Any], items: Answers, task: Any) -> None:
    from profiler.studies import exits
    from profiler.studies.splits import containment
    from traces.shared.atomic import write_text
    from traces.shared.documents import json_text

    found = {**card, "texts": items.about["texts"], "exits": exits.figures(items)}
    found["containment"] = containment(task.training, task.tuning, task.evaluated)
    write_text(out / "card.json", json_text(found, indent=1) + "\n")
