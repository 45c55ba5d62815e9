"""Published latencies of BERT on GPUs, in FP16 and padded: what the estimator is fitted to and checked with.

TensorRT: NVIDIA/TensorRT, demo/BERT/README.md, averages without copies to and from the device (A100 and T4: commit
007c347; L4: a later one). FasterTransformer: NVIDIA/FasterTransformer, docs/bert_guide.md, its TensorFlow operator.
MLPerf: mlcommons/inference_results_v4.1, NVIDIA, 8 x H200, bert-99.9, offline.
"""

from __future__ import annotations

from typing import NamedTuple

from profiler.models.spec import Dims, parse_spec
from profiler.table import ShapeKey

_MODELS = {12: "teacher-12x768", 24: "teacher-24x1024"}
#: By runtime the figures that are taken, as layers, batch and tokens; and in that order the milliseconds by GPU.
_TAKEN: dict[str, tuple[tuple[tuple[int, int, int], ...], dict[str, tuple[float, ...]]]] = {
    "TensorRT": (
        ((12, 1, 128), (12, 8, 128), (12, 32, 128), (12, 128, 128), (12, 1, 384), (12, 32, 384),
         (24, 1, 128), (24, 8, 128), (24, 32, 128), (24, 128, 128)),
        {
            "NVIDIA A100": (0.67, 1.38, 4.10, 16.14, 1.31, 13.51, 1.64, 4.51, 13.85, 51.61),
            "NVIDIA L4": (1.01, 3.63, 13.75, 65.36, 2.08, 50.27, 3.10, 12.80, 48.33, 213.84),
            "NVIDIA T4": (1.95, 9.09, 36.63, 144.20, 4.04, 114.90, 5.53, 28.14, 121.09, 482.84),
        },
    ),
    "FasterTransformer": (
        tuple((12, batch, tokens) for batch in (1, 8, 32) for tokens in (32, 128, 384)),
        {
            "NVIDIA A100": (0.90, 1.00, 1.33, 1.04, 1.77, 4.39, 1.77, 4.81, 14.67),
            "NVIDIA T4": (1.92, 2.57, 3.85, 2.69, 8.31, 24.37, 8.40, 32.32, 97.66),
        },
    ),
}  # fmt: skip
#: Requests per second of one H200 (63,950.4 of eight), BERT-large in FP8 and FP16 without padding.
MLPERF_H200 = 63_950.4 / 8
#: How long its texts are on average (SQuAD, at most 384 tokens): an assumption, which MLPerf does not publish.
MLPERF_TOKENS = 180


class PublishedTime(NamedTuple):
    """A published time: of which runtime, how many layers, which batch, and the seconds."""

    runtime: str
    layers: int
    batch: int
    tokens: int
    seconds: float

    @property
    def spec(self) -> Dims:
        return parse_spec(_MODELS[self.layers])

    @property
    def key(self) -> ShapeKey:
        return ShapeKey(1, self.batch, self.tokens)


def figures(gpu: str) -> tuple[PublishedTime, ...]:
    """The published figures of a GPU; none of most."""
    return tuple(
        PublishedTime(runtime, *shape, took / 1e3)
        for runtime, (shapes, times) in _TAKEN.items()
        if gpu in times
        for shape, took in zip(shapes, times[gpu], strict=True)
    )
