"""python -m profiler distill: fine-tune a teacher on a task, and train students that answer together like it."""

from __future__ import annotations

import argparse
import sys
from contextlib import ExitStack
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from profiler.commands.keys import set_threads
from profiler.commands.printing import print_grid, progress_bar
from profiler.distill.learning.recipe import RECIPES, TINY_ROWS, Recipe
from profiler.studies.tasks import DATA, NAMED

if TYPE_CHECKING:
    import torch

    from profiler.distill.results import Results


def add_arguments(parser: argparse.ArgumentParser) -> None:
    names = ", ".join(NAMED)
    parser.add_argument("--task", required=True, metavar="FILE|NAME", help=f"columns text and label; or one of {names}")
    parser.add_argument("--teacher", required=True, metavar="DIR|minilm", help="a BERT checkpoint's folder, or minilm")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder for results and checkpoints")
    parser.add_argument(
        "--data", type=Path, default=DATA, metavar="DIR", help=f"where named tasks lie (default: {DATA})"
    )
    parser.add_argument("--development", type=Path, metavar="FILE", help="a further file to evaluate on")
    parser.add_argument("--held-out", type=int, metavar="N", help="training rows kept for evaluation")
    parser.add_argument("--texts", type=Path, nargs="*", default=(), metavar="FILE", help="more texts, without labels")
    parser.add_argument("--limit", type=int, metavar="N", help="use so many training rows only")
    parser.add_argument("--recipe", choices=list(RECIPES), help="default: full on a GPU, reduced on a CPU")
    parser.add_argument(
        "--fine-tune", action="store_true", help="train the teacher and a new head, although it has one"
    )
    parser.add_argument(
        "-p", dest="settings", action="append", default=[], metavar="KEY=VALUE", help="change the recipe"
    )
    parser.add_argument(
        "--seed", type=int, default=0, metavar="N", help="of weights, order and augmentation (default: 0)"
    )
    parser.add_argument("--device", choices=["cuda", "cpu"], help="default: the GPU where there is one")
    parser.add_argument("--threads", type=int, metavar="N", help="CPU threads (default: torch's)")


def main(arguments: argparse.Namespace) -> int:
    """Train and evaluate; 0 done, 130 interrupted: the same command then goes on from there."""
    try:
        results, card = _study(arguments)
    except KeyboardInterrupt:
        print("interrupted: the same command goes on from the last checkpoint", file=sys.stderr)
        return 130
    _print(results, card)
    return 0


def _study(arguments: argparse.Namespace) -> tuple[Results, dict[str, Any]]:
    from profiler.distill import costs
    from profiler.distill.card import files_digest
    from profiler.distill.learning import initial
    from profiler.distill.learning.corpus import Corpus
    from profiler.distill.learning.journal import StudyLog
    from profiler.distill.learning.training import Setup
    from profiler.distill.preparation import alone, digest, prepare, settle, teacher_classes
    from profiler.distill.results import Results, hardware
    from profiler.distill.study import Study
    from profiler.models import weights
    from profiler.studies import tasks
    from traces.shared.origin import origin

    if arguments.limit is not None and arguments.limit < 1:
        raise ValueError(f"--limit is {arguments.limit}: at least one row is needed")
    device = chosen_device(arguments)
    base = _recipe(arguments, device)
    source = tasks.find(arguments.task, arguments.data, development=arguments.development, held_out=arguments.held_out)
    folder = initial.teacher_folder(arguments.teacher)
    checkpoint = initial.load_teacher(folder)
    checkpoint = checkpoint.encoder() if arguments.fine_tune else checkpoint
    task = tasks.load(source, most=arguments.limit, classes=teacher_classes(folder, checkpoint))
    recipe = base.scaled(len(task.training)).changed(arguments.settings)
    task = task.thinned(TINY_ROWS) if arguments.recipe == "tiny" else task
    initial.shape(checkpoint.spec, recipe.depth, recipe.width, recipe.students, len(task.classes))
    if recipe.tokens > (most := checkpoint.spec.positions):
        raise ValueError(f"tokens is {recipe.tokens}, but the teacher has positions for {most}: -p tokens=...")
    work, half = arguments.out / "work", half_precision(device)
    with ExitStack() as stack:
        bar = progress_bar(stack)
        bar(0.0, "reading texts")
        data = prepare(task, folder, checkpoint.spec.vocab, recipe, arguments.data, arguments.texts)
        stack.enter_context(alone(work))
        same = {"task": task.name, "training": len(task.training), "seed": arguments.seed, "device": device.type}
        same |= {"bfloat16": half, "teacher": folder.name, "weights": weights.digest(checkpoint.tensors)}
        split = digest(data)
        settle(work, {**same, "texts": split, **asdict(recipe)})
        silent = Setup(work, arguments.seed, device, half, StudyLog(arguments.out / "log.jsonl", {}))
        pace = costs.pace(silent, recipe, checkpoint, Corpus(data.training[0], device))
        seconds = costs.estimate(costs.phases(recipe, checkpoint, len(task.training)), pace)
        _plan(seconds, {name for name in seconds if silent.has(name)})
        journal = StudyLog(arguments.out / "log.jsonl", seconds, bar, lambda line: print(line, flush=True))
        study = Study(replace(silent, journal=journal), recipe, data, checkpoint)
        models = study.models()
        records = dict(zip(models, study.evaluated(list(models.values())), strict=True))
    traced = {"data": files_digest(source.train, source.development), "split": split}
    about = {**traced, "seed": arguments.seed, "recipe": vars(recipe), "teacher": str(arguments.teacher)}
    about |= {"seconds": journal.seconds(), "cpu_seconds": journal.seconds("cpu_seconds")}
    about |= {"device": hardware(device), "bfloat16": half, **origin()}
    results = Results(task, data.evaluated[0], models, records, next(iter(models)), study.spec.name, about)
    return results, results.write(arguments.out, folder / "tokenizer.json")


def _plan(seconds: dict[str, float], done: set[str]) -> None:
    """Say what will be trained and how long that takes; students in one row."""
    alike: dict[str, list[str]] = {}
    for name in seconds:
        alike.setdefault("students" if name.startswith("student-") else name, []).append(name)
    rows = [
        (name, str(len(own)), _time(sum(seconds[each] for each in own)), "done" if set(own) <= done else "")
        for name, own in alike.items()
    ]
    left = sum(own for name, own in seconds.items() if name not in done)
    title = f"about {_time(left)} to go, by a trial of a few steps just now"
    print_grid(title, ("phase", "models", "time", ""), rows, words=("phase", ""))


def _time(seconds: float) -> str:
    return f"{seconds / 60:.0f} min" if seconds >= 90 else f"{seconds:.0f} s"


def chosen_device(arguments: argparse.Namespace) -> torch.device:
    """The device of `--device`, with the threads of `--threads`. Raises LookupError where it is not there."""
    import torch

    set_threads(arguments.threads)
    chosen = arguments.device or ("cuda" if torch.cuda.is_available() else "cpu")
    if chosen == "cuda" and not torch.cuda.is_available():
        raise LookupError("no CUDA device is visible to torch: use --device cpu")
    return torch.device(chosen)


def _recipe(arguments: argparse.Namespace, device: torch.device) -> Recipe:
    """The recipe by name, once its settings are known to be right."""
    name = arguments.recipe or ("full" if device.type == "cuda" else "reduced")
    RECIPES[name].changed(arguments.settings)
    return RECIPES[name]


def half_precision(device: torch.device) -> bool:
    """Whether products are faster in bfloat16: on GPUs, and on processors that say so."""
    if device.type == "cuda":
        return True
    flags = Path("/proc/cpuinfo")
    return flags.exists() and any(word in flags.read_text() for word in ("amx_bf16", "avx512_bf16"))


def _print(results: Results, card: dict[str, Any]) -> None:
    rows = []
    for row in card["accuracy"]:
        figures = (f"{row['accuracy']:.4f}", f"{row['low']:.4f} to {row['high']:.4f}", f"{row['agreement']:.4f}")
        rows.append((row["model"], str(row["students"]), row["task"], *figures))
    names = ("model", "students", "task", "accuracy", "95 % (texts alone)", "as the teacher")
    print_grid(f"{card['task']}: accuracy on texts that nothing was trained on", names, rows)
    for name, own in card.get("closing", {}).items():
        share = "it is not measurable" if own["gap_closed"] is None else f"{own['gap_closed']:.2f} of it is closed"
        print(f"{name}: gap from {results.single} to {results.teacher}: {own['gap']:.4f}; {share}")
    for own in card["per_request"]:
        print(
            f"stopping text by text, at most {own['flips allowed']:.1%} of answers changed: "
            f"{own['students']:.2f} students on average, accuracy {own['accuracy']:.4f} "
            f"(all students on the same texts: {own['whole']:.4f}), {own['flips']:.1%} changed"
        )
    print(f"the CPU executor differs from training by at most {card['executor_gap']:.1e} in a logit")
