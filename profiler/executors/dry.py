"""Devices that compute nothing: they answer zeros, at once or when the table says, to measure what is around them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path
from time import perf_counter, sleep

import numpy as np

from profiler.executors.interface import BatchResult, Ids
from profiler.executors.server import VOCAB
from profiler.executors.serving import Served
from profiler.models.spec import Dims
from profiler.servers.wording import Wording
from profiler.table import BucketPlan, LatencyTable, Level, ShapeKey

#: How `--device` names them: what they take.
NOTHING, AS_TABLE = "none", "table"
DRY = {
    NOTHING: "no device: every answer is zero, at once",
    AS_TABLE: "no device: every answer is zero, when the table says",
}
#: What a batch takes at least, as the loop wants it.
SECONDS = 1e-6


class DryExecutor:
    """Answers any batch of the plan with zeros. takes: seconds by number of students and key."""

    dtype = "float32"

    def __init__(
        self, spec: Dims, plan: BucketPlan, students: tuple[int, ...], takes: Callable[[int, ShapeKey], float]
    ) -> None:
        self.spec, self.plan, self.students, self._takes = spec, plan, students, takes

    def warm(self, keys: Iterable[ShapeKey] | None = None) -> float:
        return 0.0

    def implementation(self, key: ShapeKey) -> str:
        return "dry"

    def run(self, students: int, ids: Sequence[Ids]) -> BatchResult:
        began = perf_counter()
        key = self.plan.key(students, [len(each) for each in ids])
        logits = np.zeros((len(ids), self.spec.outputs), np.float32)
        if (left := self._takes(students, key) - (perf_counter() - began)) > 0:
            sleep(left)
        seconds = max(SECONDS, perf_counter() - began)
        return BatchResult(logits, key, seconds, 0.0, seconds)

    def close(self) -> None:
        pass


def open_dry(
    device: str,
    table: LatencyTable,
    models: Sequence[str],
    plan: BucketPlan,
    *,
    count: int = 1,
    tokenizer: Path | None = None,
) -> Served:
    """`count` dry devices of a kind in DRY, for these models of a table. tokenizer: the folder with the one in use."""
    vocab = VOCAB if tokenizer is None else Wording(tokenizer).vocab
    own = {}
    for model in models:
        spec = Dims(model, 1, 1, 1, 1, 1, vocab=vocab, positions=plan.max_tokens)
        levels = {level.students: level for level in table.levels(model)}
        takes = partial(_looked_up, table, levels) if device == AS_TABLE else _nothing
        own[model] = DryExecutor(spec, plan, tuple(levels), takes)
    return Served(device, (own,) * count, (_bind,) * count, (DRY[device],), 0.0, 0.0)


def _looked_up(table: LatencyTable, levels: dict[int, Level], students: int, key: ShapeKey) -> float:
    return table.seconds(levels[students], key)


def _nothing(students: int, key: ShapeKey) -> float:
    return 0.0


def _bind() -> None:
    """No thread needs anything before it uses such a device."""
