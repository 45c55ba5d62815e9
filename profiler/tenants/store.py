"""The host store: the adapters of all tenants in one memory-mapped file, [tenants, layers, parameters] and heads."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import ClassVar, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from profiler.models.adapters import WIDTH, TenantAdapters, parameters
from traces.shared.atomic import replacing, write_text
from traces.shared.documents import checked, json_text, read_json

FORMAT = "cohort-adapters/1"
#: Spread of random parameters; BERT's own is the same.
SPREAD = 0.02


@dataclass(frozen=True)
class AdapterShape:
    """What every tenant of a store has: bottlenecks of `width` in the `layers` last layers, and a head of `classes`."""

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    layers: int
    hidden: int
    width: int = WIDTH
    classes: int = 2

    def __post_init__(self) -> None:
        for name, value in asdict(self).items():
            if value < 1:
                raise ValueError(f"adapters: {name} is {value} (must be at least 1)")

    @property
    def parameters(self) -> int:
        """P, the numbers of one layer's adapter."""
        return parameters(self.hidden, self.width)

    @property
    def numbers(self) -> int:
        """Of a whole tenant: L layers of P, then the head, [H, C] and [C]."""
        return self.layers * self.parameters + (self.hidden + 1) * self.classes

    @property
    def bytes(self) -> int:
        """Of a whole tenant in float32, as adapters.csv has them."""
        return 4 * self.numbers

    @classmethod
    def of_bytes(cls, layers: int, hidden: int, width: int, size: int) -> AdapterShape:
        """The shape of tenants of so many bytes. Raises ValueError where no number of classes makes them."""
        bare = cls(layers, hidden, width, 1)
        classes, rest = divmod(size // 4 - layers * bare.parameters, hidden + 1)
        if rest or classes < 1 or size % 4:
            raise ValueError(
                f"{size} bytes are no tenant of {layers} layers, {hidden} wide, with bottlenecks of {width} in "
                f"float32: it takes {bare.bytes} with a head of one class, and {4 * (hidden + 1)} for each further one"
            )
        return cls(layers, hidden, width, classes)


class AdapterParts(NamedTuple):
    """What is loaded with one layer, views of the store. flat: [P]. head: [(H + 1) C] with the last layer, else []."""

    flat: NDArray[np.float32]
    head: NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class AdapterStore:
    """rows: float32 [T, N], mapped from the file, N as of `AdapterShape.numbers`. names: of the tenants, by row.

    The system reads a page when it is first used, and may give it back: the file may be larger than memory.
    """

    shape: AdapterShape
    names: tuple[str, ...]
    rows: NDArray[np.float32]

    def part(self, row: int, layer: int) -> AdapterParts:
        """One layer of a tenant, from 0, the lowest of those with adapters; the head comes with the last."""
        size, own = self.shape.parameters, self.rows[row]
        last = layer == self.shape.layers - 1
        return AdapterParts(own[layer * size : (layer + 1) * size], own[(layer + 1) * size :] if last else own[:0])

    def adapters(self, rows: Sequence[int]) -> TenantAdapters:
        """These tenants in memory, in this order."""
        its, own = self.shape, torch.from_numpy(np.array(self.rows[list(rows)]))
        flat, head = torch.split(own, [its.layers * its.parameters, (its.hidden + 1) * its.classes], 1)
        weight, bias = torch.split(head, [its.hidden * its.classes, its.classes], 1)
        flat = flat.reshape(-1, its.layers, its.parameters)
        return TenantAdapters(flat, weight.reshape(-1, its.hidden, its.classes), bias.clone())

    @cached_property
    def _place(self) -> dict[str, int]:
        """The row of each tenant."""
        return {name: row for row, name in enumerate(self.names)}

    def classes(self, row: int) -> int:
        """How many classes a tenant has: the bias of others is -inf."""
        return int((self.rows[row, -self.shape.classes :] > -np.inf).sum())

    def numbered(self, names: Iterable[str]) -> list[int]:
        """The rows of these tenants. Raises LookupError for one that is not there."""
        place, found = self._place, list[int]()
        for name in names:
            if name not in place:
                raise LookupError(
                    f"no adapter of tenant {name!r}: the store has {len(place):,}, {self.names[0]} to {self.names[-1]}"
                )
            found.append(place[name])
        return found

    @classmethod
    def open(cls, path: Path) -> AdapterStore:
        """Map a store's file. Raises LookupError where there is none, ValueError where it is not one."""
        if not path.is_file() or not described(path).is_file():
            raise LookupError(
                f"no store of adapters at {path}: it is an .npy file with {described(path).name} beside it"
            )
        about = read_json(described(path))
        if not isinstance(about, dict) or about.get("format") != FORMAT:
            raise ValueError(f"{described(path)} does not describe a store of adapters (format {FORMAT})")
        shape = checked(AdapterShape, about.get("shape"), f"{described(path)}: its shape")
        names = checked(tuple[str, ...], about.get("tenants"), f"{described(path)}: its tenants")
        try:
            rows = np.load(path, mmap_mode="c")  # private: what is written to it stays here
        except ValueError as error:
            raise ValueError(f"{path} cannot be read: {error}") from None
        if rows.dtype != np.float32 or rows.shape != (len(names), shape.numbers):
            raise ValueError(
                f"{path} is {rows.dtype} {rows.shape}; its description wants float32 {len(names), shape.numbers}"
            )
        return cls(shape, names, rows)


def described(path: Path) -> Path:
    """The file beside a store that says what it holds."""
    return path.with_suffix(".json")


def write_store(
    path: Path, shape: AdapterShape, names: Sequence[str], of: Callable[[int], NDArray[np.float32]]
) -> AdapterStore:
    """Write a store tenant by tenant, and map it. of: the numbers [N] of a row. Raises OSError for a full disk."""
    if not names:
        raise ValueError("a store of adapters needs at least one tenant")
    path.parent.mkdir(parents=True, exist_ok=True)
    header = {"descr": "<f4", "fortran_order": False, "shape": (len(names), shape.numbers)}
    with replacing(path) as part, part.open("wb") as file:  # written, not mapped: a full disk is an OSError then
        np.lib.format.write_array_header_1_0(file, header)
        for row in range(len(names)):
            file.write(np.ascontiguousarray(of(row), "<f4").data)
    write_text(described(path), json_text({"format": FORMAT, "shape": asdict(shape), "tenants": list(names)}) + "\n")
    return AdapterStore.open(path)


def random_store(path: Path, shape: AdapterShape, names: Sequence[str], seed: int) -> AdapterStore:
    """A store of random tenants; each depends on the seed and its row alone, so that it can be made again."""
    return write_store(path, shape, names, partial(drawn, shape, seed))


def drawn(shape: AdapterShape, seed: int, row: int) -> NDArray[np.float32]:
    """The numbers [N] of a random tenant: uniform, with BERT's spread."""
    rng = np.random.default_rng((seed, row))
    return (rng.random(shape.numbers, np.float32) - np.float32(0.5)) * np.float32(SPREAD * 12**0.5)
