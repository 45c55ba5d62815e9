"""The interface of everything that runs batches: one bucket plan, one blocking call, one clock around it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from profiler.models.spec import Dims
from profiler.table import BucketPlan, ShapeKey

#: The token ids of one request, [CLS] first: int32, one dimension.
Ids = NDArray[np.int32]


class BatchResult(NamedTuple):
    """What a batch came to, and how long it took.

    logits: float32 [requests, classes], in the order of the batch; the caller owns it. key: the shape that was run.
    seconds: the host cycle, from batch in hand to answers in hand (`latency_us` of a table). staging_s: the part of it
    before the device had all its work. device_s: the time the device worked (CUDA events; on a CPU the forward pass),
    NaN where it was not measured.
    """

    logits: NDArray[np.float32]
    key: ShapeKey
    seconds: float
    staging_s: float
    device_s: float


class Away(RuntimeError):
    """The device took no batch, and its requests are to wait again. back: returns once the device takes batches.

    It is asked whether to go on waiting (`goes_on`), and returns whether the device is back.
    """

    def __init__(self, words: str, back: Callable[[Callable[[], bool]], bool]) -> None:
        super().__init__(words)
        self.back = back


class PartKey(NamedTuple):
    """Some of the students by themselves, first + 1 to last, on a batch of this shape."""

    first: int
    last: int
    shape: ShapeKey


class Engine(Protocol):
    """One device with one model loaded, whose every key is ready to run.

    spec: the model. plan: the sizes it runs at. students: the prefix lengths that are ready, ascending. dtype: float32,
    bfloat16, float16 or int8. Executors are not thread-safe: one dispatcher calls one executor.
    """

    @property
    def spec(self) -> Dims: ...

    @property
    def plan(self) -> BucketPlan: ...

    @property
    def students(self) -> tuple[int, ...]: ...

    @property
    def dtype(self) -> str: ...

    def warm(self, keys: Iterable[ShapeKey] | None = None) -> float:
        """Make these keys (by default all) ready, so that none is compiled, captured or allocated while serving.

        Returns the seconds it took. Running a key that is not ready is a LookupError, never a silent stall.
        """
        ...

    def implementation(self, key: ShapeKey) -> str:
        """How a key is run, in a word or two, for the column `impl`."""
        ...

    def run(self, students: int, ids: Sequence[Ids]) -> BatchResult:
        """Answer a batch with the first `students` students, at the plan's next size up; block until it is done.

        Raises LookupError for a batch, a length or a number of students that is not ready, ValueError for ids outside
        the vocabulary.
        """
        ...

    def close(self) -> None:
        """Give the device's memory back."""
        ...


@runtime_checkable
class BackToBack(Protocol):
    """An executor whose device can be kept busy without the host in between."""

    def back_to_back(self, key: ShapeKey, repetitions: int) -> float:
        """Seconds per batch of so many batches queued one behind the other, with inputs already staged."""
        ...


@runtime_checkable
class Parts(Protocol):
    """An executor that runs some of its students by themselves, so that a request may stop at any prefix."""

    @property
    def heads(self) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Of every prefix: weights [K, O, C] and biases [K, C]. Its logits are (sum of vectors) @ weight + bias."""
        ...

    def warm_parts(self, keys: Iterable[PartKey]) -> float:
        """Make these parts ready, after `warm`; as there. What is ready already takes no time."""
        ...

    def part(self, first: int, last: int, ids: Sequence[Ids]) -> BatchResult:
        """Students first + 1 to last; as `run`, with the sum of their vectors [requests, O] in place of logits."""
        ...


class Layers(Protocol):
    """A batch under way, layer by layer. Until its end the executor runs nothing else."""

    def run(self, layers: int) -> None:
        """Go on up to the end of so many layers."""
        ...

    def ramp(self) -> NDArray[np.float32]:
        """What the ramp after the last layer that was run answers: logits [requests that are left, classes]."""
        ...

    def keep(self, rows: Sequence[int]) -> None:
        """Go on with these of the requests alone, by position, before the last layer; at the plan's size for them."""
        ...

    def so_far(self, logits: NDArray[np.float32]) -> BatchResult:
        """These answers, with what the batch took until now."""
        ...

    def end(self) -> BatchResult:
        """Run the layers that are left and the model's own head; the answers of the requests that are left."""
        ...


@runtime_checkable
class Layered(Protocol):
    """An executor that can run a batch layer by layer, so that answers leave at ramps.

    ramps: how many layers have a ramp, from the first on; 0 without ramps, when `begin` cannot be called.
    """

    @property
    def ramps(self) -> int: ...

    def begin(self, ids: Sequence[Ids], ahead: Sequence[int] = ()) -> Layers:
        """Begin a batch; errors as of `Engine.run`.

        ahead: layers whose ramps will be looked at in a batch that runs to its end whatever they say: an asynchronous
        device may be given all of it at once.
        """
        ...


def all_keys(plan: BucketPlan, students: Iterable[int]) -> list[ShapeKey]:
    """Every key of a plan for these numbers of students, largest first (so that shared memory pools are sized once)."""
    keys = [key for k in students for key in plan.keys(k)]
    return sorted(keys, key=lambda key: (-key.students * key.rows, key))
