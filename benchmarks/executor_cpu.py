"""How fast the CPU executor is: against Hugging Face eager and SDPA with the same weights and threads, key by key.

Ours is the whole host cycle, from a list of token arrays to logits in NumPy. Hugging Face gets tensors that are padded
already and is timed from there to NumPy; K students are K models, one after the other. `sequential` and `stacked` are
our forward pass with the rule switched off; `all tokens` and `all biases` are ours without a short cut each. Rounds are
interleaved and the best of each is taken, since other work can only slow a round down; the ratio's denominator is
Hugging Face with SDPA. Exit status 1 where ours is more than 5 % slower for some key.

    python benchmarks/executor_cpu.py [--models students-2x384,teacher-12x768] [--students 1,8] [--seconds 1]
    python benchmarks/executor_cpu.py --batches 1,2,4,8,16,32 --tokens 16,32,64,128 --ways ours    (a whole grid)
    python benchmarks/executor_cpu.py --rule    (where stacking stops to pay: STACKED_ROWS of profiler/executors/cpu.py)
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from transformers import BertConfig, BertForSequenceClassification
from transformers.utils import logging

from profiler.commands.keys import whole_numbers
from profiler.executors.cpu import STACKED_ROWS, CpuExecutor
from profiler.executors.interface import Ids
from profiler.measuring.gate import distance
from profiler.measuring.inputs import random_batch
from profiler.models import weights
from profiler.models.checkpoints import from_checkpoints
from profiler.models.spec import Dims, parse_spec
from profiler.table import BucketPlan, ShapeKey

TOLERANCE = 1.05
Run = Callable[[], object]
#: Our executor, and what it is without one of its choices each: the flags of CpuExecutor.
OURS: dict[str, dict[str, Any]] = {
    "sequential": {"stacked_rows": 0},
    "stacked": {"stacked_rows": 1 << 30},
    "all tokens": {"cls_only": False},
    "all biases": {"simplified": False},
    "ours": {},
}
WAYS = ("hf eager", "hf sdpa", *OURS)


def hugging_face(spec: Dims, attention: str) -> Any:
    """One random classifier of this shape."""
    config = BertConfig(
        hidden_size=spec.hidden,
        num_hidden_layers=spec.layers,
        num_attention_heads=spec.heads,
        intermediate_size=spec.ffn,
        vocab_size=spec.vocab,
        attn_implementation=attention,
    )
    return BertForSequenceClassification(config).eval()


def padded(ids: Sequence[Ids], tokens: int) -> dict[str, torch.Tensor]:
    """The arguments of a Hugging Face model; without a mask where every row is of full length."""
    rows = torch.zeros(len(ids), tokens, dtype=torch.int64)
    mask = torch.zeros(len(ids), tokens, dtype=torch.int64)
    for index, row in enumerate(ids):
        rows[index, : len(row)] = torch.from_numpy(row)
        mask[index, : len(row)] = 1
    return {"input_ids": rows} if bool(mask.all()) else {"input_ids": rows, "attention_mask": mask}


def best(runs: dict[str, Run], seconds: float) -> dict[str, float]:
    """The shortest time of each, in interleaved rounds (at least three) that take about so many seconds."""
    times = dict.fromkeys(runs, float("inf"))
    for run in runs.values():
        run()
    end, rounds = time.perf_counter() + seconds, 0
    while rounds < 3 or time.perf_counter() < end:
        for name, run in runs.items():
            start = time.perf_counter()
            run()
            times[name] = min(times[name], time.perf_counter() - start)
        rounds += 1
    return times


def against_hugging_face(arguments: argparse.Namespace) -> int:
    """Print milliseconds of every way to run each key, then the ratios; 1 where ours loses."""
    names = [name for name in WAYS if name in (*arguments.ways, "hf sdpa", "ours")]
    print(f"{'model':16s} {'key':>12s} " + " ".join(f"{name:>10s}" for name in names) + f" {'ours/sdpa':>10s}")
    ratios: dict[str, float] = {}
    plan = BucketPlan(arguments.batches, arguments.tokens)
    for model in arguments.models.split(","):
        for students in (1,) if model.startswith("teacher") else arguments.students:
            runs_of = _Ways(parse_spec(model, students), plan, names)
            for batch in plan.batches:
                for tokens in plan.tokens:
                    times = best(runs_of.key(ShapeKey(students, batch, tokens)), arguments.seconds)
                    key = f"{students}x{batch}x{tokens}"
                    ratios[f"{model} {key}"] = ratio = times["ours"] / times["hf sdpa"]
                    row = " ".join(f"{times[name] * 1e3:10.2f}" for name in names)
                    print(f"{model:16s} {key:>12s} {row} {ratio:10.3f}", flush=True)
    worst = sorted(ratios, key=lambda key: -ratios[key])[:5]
    low, middle, high = np.quantile(list(ratios.values()), (0.0, 0.5, 1.0))
    print(f"ours / Hugging Face SDPA on {torch.get_num_threads()} threads, {len(ratios)} keys:", end=" ")
    print(f"min {low:.3f}, median {middle:.3f}, max {high:.3f} (limit {TOLERANCE})")
    print("slowest keys: " + ", ".join(f"{key} {ratios[key]:.3f}" for key in worst))
    return int(high > TOLERANCE)


class _Ways:
    """Those ways to run one ensemble, with equal weights."""

    def __init__(self, spec: Dims, plan: BucketPlan, names: Sequence[str]) -> None:
        self._spec = spec
        sdpa = [hugging_face(spec, "sdpa") for _ in range(spec.students)]
        self._models = {"hf sdpa": sdpa}
        if "hf eager" in names:
            self._models["hf eager"] = [hugging_face(spec, "eager") for _ in sdpa]
            for own, other in zip(self._models["hf eager"], sdpa, strict=True):
                own.load_state_dict(other.state_dict())
        stacked = from_checkpoints(sdpa, spec.name)
        self._executors = {
            name: CpuExecutor(stacked, plan, [spec.students], **flags) for name, flags in OURS.items() if name in names
        }
        for executor in self._executors.values():
            executor.warm()

    def key(self, key: ShapeKey) -> dict[str, Run]:
        """The ways to run one batch of this key, which agree on the answer."""
        ids = random_batch(key, self._spec.vocab, np.random.default_rng(0))
        arguments = padded(ids, key.tokens)
        runs: dict[str, Run] = {name: partial(_answer, models, arguments) for name, models in self._models.items()}
        for name, executor in self._executors.items():
            runs[name] = partial(_own, executor, key.students, ids)
        want = np.asarray(runs["hf sdpa"](), np.float64)
        for name, run in runs.items():
            error = distance(np.asarray(run()), want)
            if error > 1e-4:
                raise ArithmeticError(f"{name} differs from Hugging Face by {error:.1e} at {key}")
        return runs


def _own(executor: CpuExecutor, students: int, ids: Sequence[Ids]) -> object:
    return executor.run(students, ids).logits


def _answer(models: Sequence[Any], arguments: dict[str, torch.Tensor]) -> object:
    with torch.inference_mode():
        logits = [model(**arguments).logits for model in models]
        return (torch.stack(logits).mean(0) if len(logits) > 1 else logits[0]).numpy()


def rule(arguments: argparse.Namespace) -> int:
    """Print sequential over stacked for several numbers of rows."""
    print(f"sequential over stacked (above 1 stacking wins); the rule stacks to {STACKED_ROWS} rows per thread")
    shapes = ((1, 16), (1, 32), (2, 32), (4, 32), (1, 128), (8, 32), (2, 128), (16, 32), (4, 128), (8, 128))
    plan = BucketPlan((1, 2, 4, 8, 16), (16, 32, 128))
    print(f"{'model':16s} {'students':>8s} " + " ".join(f"{f'{b}x{s}':>7s}" for b, s in shapes))
    for model in arguments.models.split(","):
        for students in arguments.students:
            if model.startswith("teacher") or students == 1:
                continue
            own = weights.random(parse_spec(model, students), 0)
            ways = {"sequential": 0, "stacked": 1 << 30}
            executors = {name: CpuExecutor(own, plan, [students], stacked_rows=rows) for name, rows in ways.items()}
            ratios = []
            for batch, tokens in shapes:
                key = ShapeKey(students, batch, tokens)
                ids = random_batch(key, own.spec.vocab, np.random.default_rng(0))
                runs: dict[str, Run] = {}
                for name, executor in executors.items():
                    executor.warm([key])
                    runs[name] = partial(executor.run, students, ids)
                times = best(runs, arguments.seconds)
                ratios.append(times["sequential"] / times["stacked"])
            print(f"{model:16s} {students:8d} " + " ".join(f"{ratio:7.2f}" for ratio in ratios), flush=True)
    return 0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", default="students-2x384,teacher-6x384,teacher-12x768")
    parser.add_argument("--students", type=whole_numbers, default=(1, 4, 8))
    parser.add_argument("--batches", type=whole_numbers, default=(1, 8))
    parser.add_argument("--tokens", type=whole_numbers, default=(16, 32, 128))
    parser.add_argument(
        "--ways",
        type=lambda text: text.split(","),
        default=WAYS,
        help=f"which columns besides `hf sdpa` and `ours` (default: all): {','.join(WAYS)}",
    )
    parser.add_argument("--seconds", type=float, default=1.0, help="per key (default: 1)")
    parser.add_argument("--threads", type=int, default=1, help="default: 1")
    parser.add_argument("--rule", action="store_true", help="measure where stacking stops to pay, instead")
    arguments = parser.parse_args()
    if unknown := [name for name in arguments.ways if name not in WAYS]:
        parser.error(f"unknown way {', '.join(unknown)}: use {', '.join(WAYS)}")
    torch.set_num_threads(arguments.threads)
    logging.set_verbosity_error()
    return rule(arguments) if arguments.rule else against_hugging_face(arguments)


if __name__ == "__main__":
    sys.exit(main())
