"""What meta.json says of a table: every key that there is, of its kind and in its range. Checked here and nowhere else.

A key that acts on a run is checked in full; one that only says where a table comes from must be of its type.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, field_validator

from traces.shared.documents import checked, read_json

#: Keys that an earlier version obeyed and this one does not: a table that has them means another machine.
NO_LONGER = {
    "freed": "GPUs that pruning frees always hold the same students again",
    "students_per_gpu": "it follows from gpus= of split:TABLE,gpus=N,reduce_us=R",
}

#: How a checkpoint can run: our engine, or transformers with plain, fused or compiled attention, or ONNX Runtime.
CHECKPOINT_ENGINES = ("own", "eager", "sdpa", "compile", "onnx")
#: How a model of random weights can run on a CPU: our engine, or others to compare it with.
MODEL_ENGINES = ("own", "eager", "sdpa", "onnx", "onnx-int8", "openvino")

_Number = Annotated[float, Field(ge=-1e15, le=1e15)]
_Amount = Annotated[float, Field(ge=0, le=1e15)]
_Positive = Annotated[float, Field(gt=0, le=1e15)]
_Factor = Annotated[float, Field(ge=1e-6, le=1e6)]
_Count = Annotated[int, Field(ge=0, le=2**53)]
_Line = Annotated[str, StringConstraints(min_length=1)]
_Free = dict[str, Any]
#: Every key may be left out; null is a value, and only right where the type says so.
ABSENT: Any = None


class _Document(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)


class _Noise(_Document):
    verdict: Literal["quiet", "noisy"]
    reasons: list[str] = []
    canary_drift: _Number | None = None
    run_queue_delay_share: _Number | None = None


class _Card(_Document):
    """A study that accuracies come from, and for which models (`profiler.distill.card.source`)."""

    card: str
    data: dict[str, str] | None
    split: str | None
    seed: int
    recipe: str
    commit: str | None
    models: list[str]
    teacher: str
    about: str


class CheckpointMeta(_Document):
    """What a model is that is named after a checkpoint: the folder it was in, its class, how it ran, its classes."""

    folder: str
    architecture: str
    engine: Literal[CHECKPOINT_ENGINES]  # type: ignore[valid-type]
    classes: Annotated[int, Field(ge=1, le=10_000_000)]


class BlackBoxMeta(_Document):
    """How a running server was measured from outside, and what that showed (`profiler.blackbox`).

    way: what its times come from. padding: what it makes of sizes between others. valid: whether all gates were passed;
    reasons: why not. vocab: how many token ids there are. capacity: of a server that takes one text at a time.
    """

    url: _Line
    protocol: str
    way: Literal["replies", "counters", "round trips"]
    vocab: Annotated[int, Field(ge=1, le=2**30)]
    valid: bool
    reasons: list[str]
    gates: _Free
    padding: dict[str, str]
    unknown: list[str]
    capacity: str = ABSENT


@dataclass(frozen=True)
class Ceilings:
    """What a device can do at best. given or measured, as `source` says.

    flops: per second, dense, in the dtype of the table; a multiply-add counts two. bytes_s: of main memory.
    cache_bytes_s: of the last cache. resident_bytes: weights up to so many bytes stay in that cache between batches.
    spill_bytes: a kernel whose activations exceed this moves them through main memory. kernel_s: the least time between
    two dependent kernels (on a CPU: of one operator call). width: bytes of a number. source: where they come from.
    """

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid", strict=True)

    flops: float
    bytes_s: float
    cache_bytes_s: float
    resident_bytes: float
    spill_bytes: float
    kernel_s: float
    width: int
    source: str

    def __post_init__(self) -> None:
        for name, value in asdict(self).items():
            if name != "source" and not 0 < value < float("inf"):
                raise ValueError(f"ceilings: {name} is {value} (must be positive)")

    @classmethod
    def of(cls, meta: Mapping[str, Any]) -> Ceilings | None:
        """The ceilings that a table's metadata carries, None where it has none."""
        own = meta.get("ceilings")
        return cls(**own) if own else None


class HostMeta(_Document):
    """The host's times in seconds (`profiler.table.host`), and how they were measured (`profiler.hosting`).

    spread: of each of them, the standard error. inputs: what was sent. answered_s: seconds per answer that were
    measured, by what was sent. off: by how much the fitted times miss those, at most, as a share. valid: whether all
    gates were passed; reasons: why not.
    """

    ingress_s: _Amount
    egress_s: _Amount
    ingress_token_s: _Amount = 0.0
    tokenizer_s: _Amount = 0.0
    tokenizer_token_s: _Amount = 0.0
    batch_s: _Amount = 0.0
    spread: dict[str, _Amount] = ABSENT
    inputs: Literal["ids", "texts"] = ABSENT
    answered_s: dict[str, _Positive] = ABSENT
    off: _Amount = ABSENT
    valid: bool = ABSENT
    reasons: list[str] = ABSENT
    processor: str = ABSENT
    how: str = ABSENT
    measured: str = ABSENT


class _AdapterMeta(BaseModel):
    """How adapters of a model were measured. beside: the factors by which batches and loads slow each other."""

    model_config = ConfigDict(extra="allow", strict=True, allow_inf_nan=False)

    beside: dict[Literal["compute", "load"], _Factor] = ABSENT


class TableMeta(_Document):
    """Every key that a table's metadata may have."""

    # What acts on a run or a plan.
    kind: Literal["measured", "modelled", "black-box", "unknown"] = ABSENT
    device: _Line = ABSENT
    dtype: Literal["float32", "bfloat16", "float16", "int8"] = ABSENT
    threads: Annotated[int, Field(ge=1, le=4096)] = ABSENT
    rank: int = ABSENT
    accuracy: dict[str, str] = ABSENT
    idle_factor: list[tuple[_Amount, _Factor]] = ABSENT
    cold_start_s: _Amount = ABSENT
    power_w: _Amount = ABSENT
    price_per_gpu_hour: _Amount = ABSENT
    adapters: dict[str, _AdapterMeta] = ABSENT
    noise: _Noise = ABSENT
    host: HostMeta = ABSENT
    ceilings: Ceilings = ABSENT
    # Where it comes from.
    created: str = ABSENT
    command: str = ABSENT
    commit: str | None = ABSENT
    versions: dict[str, str] = ABSENT
    platform: str = ABSENT
    cores: _Count | None = ABSENT
    note: str = ABSENT
    cards: dict[str, list[_Card]] = ABSENT
    checkpoints: dict[str, CheckpointMeta] = ABSENT
    black_box: BlackBoxMeta = ABSENT
    vocabulary: str = ABSENT
    token_ratio: dict[str, dict[str, _Positive]] = ABSENT
    # How it was measured.
    seed: int = ABSENT
    canary: str = ABSENT
    measured_s: _Amount = ABSENT
    precision: dict[str, _Number | None] = ABSENT
    idle_observed: list[tuple[_Amount, _Positive]] = ABSENT
    numerics: _Free = ABSENT
    cold_start: _Free = ABSENT
    skipped: dict[str, str] = ABSENT
    measured_as: dict[str, str] = ABSENT
    threads_tried: dict[str, _Positive] = ABSENT
    products_refused: _Free = ABSENT
    products_untried: dict[str, _Count] = ABSENT
    layers: _Free = ABSENT
    campaign_part: str = ABSENT
    # What a GPU says of itself.
    multiprocessors: _Count | None = ABSENT
    cache_bytes: _Count | None = ABSENT
    memory_bytes: _Count | None = ABSENT
    capability: str = ABSENT
    cuda: str | None = ABSENT
    card: _Free = ABSENT
    # What it was made from.
    model: str = ABSENT
    band: _Line = ABSENT
    parts: _Free = ABSENT
    scaled: _Positive = ABSENT
    gpus_per_device: _Count = ABSENT
    reduce_us: _Amount = ABSENT
    derived_from: _Free = ABSENT

    @field_validator("idle_factor")
    @classmethod
    def _ascending(cls, curve: list[tuple[float, float]]) -> list[tuple[float, float]]:
        gaps = [gap for gap, _ in curve]
        if gaps != sorted(set(gaps)):
            raise ValueError("the gaps must be distinct and ascending: [[gap in seconds, factor], ...]")
        return curve


def check_meta(meta: Mapping[str, Any], where: object) -> None:
    """Raise ValueError for metadata with a key that is unknown or no longer acts, or a value of a wrong kind or range.

    where: whose it is, for the error.
    """
    for name in NO_LONGER.keys() & meta.keys():
        raise ValueError(f"{where}: {name} is no longer heeded ({NO_LONGER[name]}): take the key out")
    checked(TableMeta, dict(meta), where)


def read_meta(path: Path) -> dict[str, Any]:
    """The object in a table's meta.json, unchecked: LatencyTable does that. Raises LookupError where it is missing."""
    if not path.exists():
        raise LookupError(f"{path} is missing: a table's folder says there what was measured where")
    meta = read_json(path)
    if not isinstance(meta, dict):
        raise ValueError(f"{path} must hold a JSON object")
    return meta
