"""Servers of texts with a route per task, as a client: OpenAI's embeddings, infinity's /classify, TEI's two."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from profiler.servers.client import BadReply, HttpReply, json_of
from profiler.servers.dialect import Told, Written, rows_of, scores_of

Read = tuple[NDArray[np.float32], Told | None]


@dataclass(frozen=True)
class Embeddings:
    """OpenAI's /embeddings, below a prefix: infinity, TEI, vLLM and others have it."""

    model: str
    prefix: str = "/v1"
    takes = "texts"
    name = "OpenAI embeddings"
    gives = "embeddings"

    def write(self, batch: Sequence[str]) -> Written:
        return _written(f"{self.prefix}/embeddings", model=self.model, input=list(batch))

    def read(self, reply: HttpReply, count: int) -> Read:
        what = f"the answer of {self.model}"
        data = _data(json_of(reply, what), what)
        by_index = {at: each.get("embedding") for each in data if type(at := each.get("index")) is int}
        if len(data) != count or sorted(by_index) != list(range(count)):
            raise BadReply(f"{what}: its data does not number {count} texts from 0 on")
        return rows_of([by_index[at] for at in range(count)], count, what), None


@dataclass(frozen=True)
class Classify:
    """infinity's /classify."""

    model: str
    prefix: str = ""
    takes = "texts"
    name = "infinity /classify"
    gives = "scores"

    def write(self, batch: Sequence[str]) -> Written:
        return _written(f"{self.prefix}/classify", model=self.model, input=list(batch))

    def read(self, reply: HttpReply, count: int) -> Read:
        what = f"the answer of {self.model}"
        return scores_of(_data_of(json_of(reply, what)), count, what), None


@dataclass(frozen=True)
class Embed:
    """TEI's /embed."""

    model: str
    takes = "texts"
    name = "TEI /embed"
    gives = "embeddings"

    def write(self, batch: Sequence[str]) -> Written:
        return _written("/embed", inputs=list(batch))

    def read(self, reply: HttpReply, count: int) -> Read:
        what = f"the answer of {self.model}"
        return rows_of(json_of(reply, what), count, what), None


@dataclass(frozen=True)
class Predict:
    """TEI's /predict. Of several texts each is a list of its own: a flat list of two would be a pair."""

    model: str
    takes = "texts"
    name = "TEI /predict"
    gives = "scores"

    def write(self, batch: Sequence[str]) -> Written:
        return _written("/predict", inputs=[[text] for text in batch])

    def read(self, reply: HttpReply, count: int) -> Read:
        what = f"the answer of {self.model}"
        found = json_of(reply, what)
        if count == 1 and isinstance(found, list) and found and isinstance(found[0], dict):
            found = [found]
        return scores_of(found, count, what), None


def _written(path: str, **message: Any) -> Written:
    return Written(path, json.dumps(message).encode(), {})


def _data_of(found: Any) -> Any:
    """What stands under `data` in a reply; None where there is none."""
    return found.get("data") if isinstance(found, dict) else None


def _data(found: Any, what: str) -> list[dict[str, Any]]:
    data = _data_of(found)
    if not isinstance(data, list) or not all(isinstance(each, dict) for each in data):
        raise BadReply(f"{what} has no list `data` of objects")
    return data
