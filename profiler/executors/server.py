"""The executor of a running server: a batch is one request, and its answers are the reply."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from time import perf_counter, sleep
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from profiler.executors.interface import Away, BatchResult, Ids
from profiler.models.spec import Dims
from profiler.servers.client import HttpClient, ServerError, ServerGone, ServerRefused
from profiler.servers.dialect import Dialect, Told
from profiler.servers.wording import Wording
from profiler.table import BucketPlan, ShapeKey

#: Vocabulary that is taken for granted where nothing says which: BERT's. Its own words begin at 1000.
VOCAB, WORDS = 30522, 1000


#: Statuses of a server that is there but takes nothing now, and seconds until it is asked again.
BUSY, AGAIN_S = (429, 502, 503, 504), 0.2


class Exchange(NamedTuple):
    """One request and its reply. seconds: the round trip, writing and reading included; staging_s: the writing."""

    logits: NDArray[np.float32]
    told: Told | None
    seconds: float
    staging_s: float


class ServerExecutor:
    """Runs batches on a server. wording: turns ids into texts, where the server takes these.

    refused, why: how many texts the server refused, and the last reason. Raises LookupError where it takes texts and
    there is no wording.
    """

    dtype, students = "float32", (1,)

    def __init__(
        self,
        client: HttpClient,
        dialect: Dialect,
        plan: BucketPlan,
        name: str,
        vocab: int | None = None,
        wording: Wording | None = None,
    ) -> None:
        if dialect.takes == "texts" and wording is None:
            raise LookupError(
                f"{client.url} takes texts: give the folder of its model's tokenizer.json, so that texts of a known "
                "number of tokens can be sent (--tokenizer DIR to measure it, --weights DIR to serve with it)"
            )
        self.client, self.dialect, self.plan, self.wording = client, dialect, plan, wording
        self.refused, self.why = 0, ""
        vocab = vocab or (VOCAB if wording is None else wording.vocab)
        self.spec = Dims(name, 1, 1, 1, 1, 1, vocab=vocab, positions=plan.max_tokens)

    def implementation(self, key: ShapeKey) -> str:
        return self.dialect.name

    def warm(self, keys: Iterable[ShapeKey] | None = None) -> float:
        """Ask for the smallest and the largest batch, and learn how wide answers are; seconds."""
        began = perf_counter()
        rng = np.random.default_rng(0)
        for batch, tokens in ((1, self.plan.tokens[0]), (self.plan.max_batch, self.plan.max_tokens)):
            found = self.ask(self.draw(ShapeKey(1, batch, tokens), rng))
        width = found.logits.shape[1]
        self.spec = Dims(**{**vars(self.spec), "classes": width, "outputs": width})
        return perf_counter() - began

    def draw(self, key: ShapeKey, rng: np.random.Generator) -> list[Ids]:
        """Random texts of exactly the key's length, all different but by chance."""
        if self.wording is not None:
            return [self.wording.ids(key.tokens, rng) for _ in range(key.batch)]
        first = min(WORDS, self.spec.vocab - 1)
        return list(rng.integers(first, self.spec.vocab, (key.batch, key.tokens), dtype=np.int32))

    def ask(self, ids: Sequence[Ids]) -> Exchange:
        """The answers to a batch, as one request. Raises ServerError."""
        began = perf_counter()
        texts = self.dialect.takes == "texts" and self.wording
        written = self.dialect.write([texts.text(row) for row in ids] if texts else ids)
        ready = perf_counter()
        reply = self.client.post(written.path, written.body, written.headers)
        logits, told = self.dialect.read(reply, len(ids))
        return Exchange(logits, told, perf_counter() - began, ready - began)

    def run(self, students: int, ids: Sequence[Ids]) -> BatchResult:
        """Answer a batch; see profiler.executors.interface.Engine. device_s: what the server says it computed.

        Raises Away where the server is not there or takes nothing now. Where it refuses a batch, or answers it with
        nonsense, each text is sent alone: those that fail again get NaN, and `refused` counts them.
        """
        key, began = self.plan.key(1, [len(row) for row in ids]), perf_counter()
        try:
            found = self.ask(ids)
        except ServerError as error:
            self._raise_away(error)
            rows = [self._alone(row) for row in ids]
            return BatchResult(np.stack(rows), key, perf_counter() - began, 0.0, float("nan"))
        computed = float("nan") if found.told is None else found.told.compute_s
        return BatchResult(found.logits, key, found.seconds, found.staging_s, computed)

    def _alone(self, ids: Ids) -> NDArray[np.float32]:
        """The answer to one text; NaN where it is refused."""
        try:
            return self.ask([ids]).logits.reshape(-1)
        except ServerError as error:
            self._raise_away(error)
            self.refused += 1
            self.why = str(error)
            return np.full(self.spec.outputs, np.nan, np.float32)

    def _raise_away(self, error: ServerError) -> None:
        """Raise Away for what passes: a server that is not there, or is too busy."""
        if isinstance(error, ServerGone) or (isinstance(error, ServerRefused) and error.status in BUSY):
            raise Away(str(error), self._back) from error

    def _back(self, goes_on: Callable[[], bool]) -> bool:
        """Ask for one short text now and then until that is answered."""
        rng = np.random.default_rng(0)
        while goes_on():
            try:
                self.ask(self.draw(ShapeKey(1, 1, self.plan.tokens[0]), rng))
            except ServerError:
                sleep(AGAIN_S)
            else:
                return True
        return False

    def close(self) -> None:
        """End the connection."""
        self.client.close()
