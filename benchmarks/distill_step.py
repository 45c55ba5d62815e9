"""What one step of training takes on a CPU: attention in float32 against attention in bfloat16, products in bfloat16.

python benchmarks/distill_step.py [--threads 1] [--steps 20]

Both are run in turn, `ROUNDS` times; medians. Where the CPU has no bfloat16 both are slow, and the ratio says little.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Callable
from dataclasses import replace
from time import perf_counter

import torch
import torch.nn.functional as F  # noqa: N812  its usual name

from profiler.distill.learning import encoder, initial
from profiler.distill.learning.encoder import encode
from profiler.models.weights import EMBEDDINGS

ROUNDS, TEXTS, TOKENS = 5, 32, 16


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--steps", type=int, default=20)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    in_float32 = encoder._weighted
    in_bfloat16 = lambda q, k, v, seen: F.scaled_dot_product_attention(q, k, v, attn_mask=seen)  # noqa: E731
    for layers, learns in ((2, False), (6, True)):
        step = stepper(layers, embeddings=learns)
        taken: dict[str, list[float]] = {"float32": [], "bfloat16": []}
        for _ in range(ROUNDS):
            for name, attention in (("float32", in_float32), ("bfloat16", in_bfloat16)):
                encoder._weighted = attention
                step()
                began = perf_counter()
                for _ in range(given.steps):
                    step()
                taken[name].append((perf_counter() - began) / given.steps * 1e3)
        ours, other = (statistics.median(taken[name]) for name in ("float32", "bfloat16"))
        words = "its embeddings learn" if learns else "embeddings frozen"
        print(f"{layers} layers, {words}: {ours:.0f} ms a step, {other:.0f} in bfloat16: {other / ours:.2f}x as fast")


def stepper(layers: int, embeddings: bool) -> Callable[[], None]:
    """A step on 32 texts of 13 to 16 tokens, of the first layers of the packaged teacher."""
    checkpoint = initial.load_teacher(initial.teacher_folder("minilm"))
    spec, tensors = checkpoint.spec, checkpoint.tensors
    spec = replace(spec, layers=layers)
    own = {
        name: tensor.clone()
        for name, tensor in tensors.items()
        if not name.startswith("layers.") or int(name.split(".")[1]) < layers
    }
    frozen = {} if embeddings else {name: own.pop(name) for name in EMBEDDINGS}
    for tensor in own.values():
        tensor.requires_grad_()
    optimizer = torch.optim.AdamW(list(own.values()), lr=1e-5, fused=True)
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(1000, 20_000, (TEXTS, TOKENS), generator=generator)
    mask = torch.arange(TOKENS)[None] < torch.randint(TOKENS - 3, TOKENS + 1, (TEXTS, 1), generator=generator)

    def step() -> None:
        optimizer.zero_grad(set_to_none=True)
        with torch.autocast("cpu", torch.bfloat16):
            loss = encode(spec, frozen | own, ids, mask).cls.float().square().mean()
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(list(own.values()), 1.0)
        optimizer.step()

    return step


if __name__ == "__main__":
    main()
