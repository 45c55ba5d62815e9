"""How fast the CPU executor is: against Hugging Face, ONNX Runtime and OpenVINO with the same weights and threads.

Every way is timed from a list of token arrays to logits in NumPy; K students are K models, one after the other, but in
`ours` and `hf vmap`. `sequential` and `stacked` are our forward pass with the rule switched off; `all tokens` and `all
biases` are ours without a short cut each. Rounds are interleaved and the best of each is taken, since other work can
only slow a round down. What is not installed is named and left out (pip install onnxruntime onnx openvino). Exit status
1 where ours is more than 5 % slower than Hugging Face with SDPA for some key.

    python benchmarks/executor_cpu.py --page docs/cpu.md                        (the page, under 8 minutes)
    python benchmarks/executor_cpu.py --quick                                   (one small model: does it work?)
    python benchmarks/executor_cpu.py --batches 1,2,4,8,16,32 --tokens 16,32,64,128 --ways "hf sdpa,ours" --threads 1
    python benchmarks/executor_cpu.py --rule    (where stacking stops to pay: STACKED_ROWS of profiler/executors/cpu.py)
"""

from __future__ import annotations

import argparse
import platform
import shlex
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from processor.page import Row, aims, page
from processor.ways import OURS, USUAL, WAYS, Judge, Run, best, opened, runs
from transformers.utils import logging

from profiler.commands.keys import whole_numbers
from profiler.executors.cpu import STACKED_ROWS, CpuExecutor
from profiler.measuring.mixes import random_batch
from profiler.measuring.noise import run_queue_delay_s
from profiler.models import weights
from profiler.models.spec import parse_spec
from profiler.table import BucketPlan, ShapeKey
from traces.shared.atomic import write_text
from traces.shared.origin import cpu_name, origin, version

TOLERANCE = 1.05
#: What ours is held to.
DENOMINATOR = "hf sdpa"


def measured(given: argparse.Namespace) -> tuple[list[Row], dict[str, dict[str, float]]]:
    """The times of every key by every way, and how far its answers are from float64, by model."""
    plan, rows, errors = BucketPlan(given.batches, given.tokens), [], {}
    for threads in given.threads:
        torch.set_num_threads(threads)
        for model in given.models.split(","):
            for students in given.students if model.startswith("students") else (1,):
                own = weights.random(parse_spec(model, students), 0)
                engines, judge = opened(own, plan, given.ways), Judge(own)
                for key in plan.keys(students):
                    ids = random_batch(plan, key, own.spec.vocab, np.random.default_rng(0))
                    judge.add(engines, ids)
                    times = best(runs(engines, students, ids), given.seconds)
                    rows.append(Row(threads, model, key, times))
                    said = "  ".join(f"{name} {1e3 * each:.2f}" for name, each in times.items())
                    print(
                        f"{threads} thread(s), {model}/{students} at {key.batch}x{key.tokens}, ms: {said}", flush=True
                    )
                errors[f"{model}/{students}"] = judge.errors(engines)
                for engine in engines.values():
                    engine.close()
    return rows, errors


def report(rows: Sequence[Row]) -> int:
    """Print the ratios to Hugging Face and the aims; 1 where ours loses to it."""
    ratios = [row.times["ours"] / row.times[DENOMINATOR] for row in rows if {"ours", DENOMINATOR} <= set(row.times)]
    print("\n".join(aims(rows)))
    if not ratios:
        return 0
    low, middle, high = np.quantile(ratios, (0.0, 0.5, 1.0))
    print(f"ours / {DENOMINATOR}, {len(ratios)} keys: {low:.3f} to {high:.3f}, median {middle:.3f} (limit {TOLERANCE})")
    return int(high > TOLERANCE)


def about(command: str, seconds: float, waited_s: float) -> list[str]:
    """Where the figures come from, for the page."""
    its = origin()
    names = ("torch", "transformers", "onnxruntime", "openvino")
    versions = ", ".join(f"{name} {version(name)}" for name in names if version(name))
    return [
        f"Written by `{command}` in {seconds / 60:.1f} minutes; not edited by hand.",
        "",
        f"{cpu_name(1).partition(',')[0]}, Python {platform.python_version()}, {versions}; {its['created']}, commit "
        f"{its['commit']}. The process waited for a core for {waited_s / seconds:.2%} of the time.",
    ]


def rule(given: argparse.Namespace) -> int:
    """Print sequential over stacked for several numbers of rows."""
    print(f"sequential over stacked (above 1 stacking wins); the rule stacks to {STACKED_ROWS} rows per thread")
    shapes = ((1, 16), (1, 32), (2, 32), (4, 32), (1, 128), (8, 32), (2, 128), (16, 32), (4, 128), (8, 128))
    plan = BucketPlan((1, 2, 4, 8, 16), (16, 32, 128))
    torch.set_num_threads(given.threads[0])
    print(f"{'model':16s} {'students':>8s} " + " ".join(f"{f'{b}x{s}':>7s}" for b, s in shapes))
    for model in given.models.split(","):
        for students in given.students:
            if model.startswith("teacher") or students == 1:
                continue
            own = weights.random(parse_spec(model, students), 0)
            executors = {name: CpuExecutor(own, plan, [students], **OURS[name]) for name in ("sequential", "stacked")}
            ratios = []
            for batch, tokens in shapes:
                key = ShapeKey(students, batch, tokens)
                ids = random_batch(plan, key, own.spec.vocab, np.random.default_rng(0))
                for executor in executors.values():
                    executor.warm([key])
                batches: dict[str, Run] = runs(executors, students, ids)
                times = best(batches, given.seconds)
                ratios.append(times["sequential"] / times["stacked"])
            print(f"{model:16s} {students:8d} " + " ".join(f"{ratio:7.2f}" for ratio in ratios), flush=True)
    return 0


def main(words: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", default="students-2x384,teacher-6x384")
    parser.add_argument("--students", type=whole_numbers, default=(1, 8))
    parser.add_argument("--batches", type=whole_numbers, default=(1, 8))
    parser.add_argument("--tokens", type=whole_numbers, default=(32, 128))
    parser.add_argument(
        "--ways",
        type=lambda text: text.split(","),
        default=USUAL,
        help=f"of {','.join(WAYS)} (default: without the ablations)",
    )
    parser.add_argument("--seconds", type=float, default=5.0, help="per key (default: 5)")
    parser.add_argument("--threads", type=whole_numbers, default=(1, 2), help="default: 1,2")
    parser.add_argument("--page", type=Path, metavar="FILE", help="write the page there")
    parser.add_argument("--rule", action="store_true", help="measure where stacking stops to pay, instead")
    parser.add_argument("--quick", action="store_true", help="one small model, two keys")
    given = parser.parse_args(words)
    if unknown := [name for name in given.ways if name not in WAYS]:
        parser.error(f"unknown way {', '.join(unknown)}: use {', '.join(WAYS)}")
    if given.page is not None and "ours" not in given.ways:
        parser.error("a page has ratios to ours: name it among --ways")
    if given.quick:
        given.models, given.students, given.batches, given.tokens = "students-1x64", (2,), (1, 2), (16,)
        given.threads, given.seconds = (1,), 0.05
    logging.set_verbosity_error()
    if given.rule:
        return rule(given)
    began, waited = time.perf_counter(), run_queue_delay_s()
    rows, errors = measured(given)
    if given.page is not None:
        command = shlex.join(["python", "benchmarks/executor_cpu.py", *(sys.argv[1:] if words is None else words)])
        took = time.perf_counter() - began
        write_text(given.page, page(rows, errors, about(command, took, run_queue_delay_s() - waited)))
    return report(rows)


if __name__ == "__main__":
    sys.exit(main())
