"""The routes of the Open Inference Protocol over HTTP, health and metrics: validate, tokenize, ask, answer."""

from __future__ import annotations

import asyncio
import json
import logging
import zlib
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from time import perf_counter
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route

from simulator.endpoint import protocol
from simulator.endpoint.answering import answered, figures, missing
from simulator.endpoint.asking import Unanswered
from simulator.endpoint.metrics import Metrics
from simulator.endpoint.middleware import Closing, Guarded
from simulator.endpoint.protocol import BadRequest, Limits, Reply
from simulator.endpoint.service import Service

if TYPE_CHECKING:
    from profiler.executors.texts import Tokenize

log = logging.getLogger("cohort.http")
#: Seconds after which a client may retry a refused request.
RETRY_S = 1


@dataclass(frozen=True)
class Endpoint:
    """A service under its model's name. about: what metadata shows beside inputs and outputs.

    labels: the names of the classes, if they exclude each other. body: the most bytes of a request. within_s: how long
    a request waits for its answer. tokenize: None where there is no tokenizer. cuts: whether a text that is too long is
    cut, or refused. keys: of which a request must have one, if there are any. closed: called when the service ended.
    """

    service: Service
    model: str
    limits: Limits
    about: dict[str, Any]
    metrics: Metrics
    version: str
    body: int = 1 << 18
    within_s: float = 30.0
    labels: Sequence[str] = ()
    tokenize: Tokenize | None = None
    cuts: bool = True
    keys: Sequence[bytes] = ()
    closed: Sequence[Callable[[], object]] = ()

    def app(self) -> Starlette:
        """The application, for any ASGI server."""
        model = "/v2/models/{model}"
        routes = [  # in the order of how often they are asked for
            Route(f"{path}{end}", handler, methods=[method])
            for end, handler, method in (
                ("/infer", partial(self._answer, protocol.infer), "POST"),
                ("/ready", self._model_ready, "GET"),
                ("", self._metadata, "GET"),
                ("/stats", self._statistics, "GET"),
                ("/config", self._config, "GET"),
            )
            for path in (model, f"{model}/versions/{{version}}")
        ]
        routes += [
            *(Route(path, partial(self._answer, route), methods=["POST"]) for path, route in protocol.THIN.items()),
            Route("/v2/health/live", self._live, methods=["GET"]),
            Route("/v2/health/ready", self._ready, methods=["GET"]),
            Route("/metrics", self._show_metrics, methods=["GET"]),
            Route("/v2/repository/index", self._index, methods=["POST"]),
            Route("/v2", self._server, methods=["GET"]),
        ]
        handlers: Any = {
            BadRequest: lambda request, error: _error(400, str(error)),
            Unanswered: _unanswered,
            HTTPException: lambda request, error: _error(error.status_code, error.detail, error.headers),
            ClientDisconnect: lambda request, error: _error(400, "the connection ended before the request did"),
            Exception: lambda request, error: _error(500, "internal error"),
        }
        app = Starlette(routes=routes, exception_handlers=handlers, lifespan=self._lifespan)
        if self.keys:
            app.add_middleware(Guarded, self.keys)
        app.add_middleware(Closing, lambda: self.service.draining)
        return app

    @asynccontextmanager
    async def _lifespan(self, app: Starlette) -> AsyncIterator[None]:
        with ThreadPoolExecutor(1, "tokenizing") as pool:
            app.state.pool = pool
            await self.service.open()
            log.info("serving", extra={"model": self.model})
            yield
            await self.service.close()
            for each in self.closed:
                await asyncio.to_thread(each)

    async def _server(self, request: Request) -> Response:
        return _json({"name": "cohort", "version": self.version, "extensions": ["binary_tensor_data"]})

    async def _live(self, request: Request) -> Response:
        alive = self.service.alive
        return _json({"live": alive}, 200 if alive else 503)

    async def _ready(self, request: Request) -> Response:
        ready = self.service.ready
        return _json({"live": self.service.alive, "ready": ready}, 200 if ready else 503)

    async def _model_ready(self, request: Request) -> Response:
        self._refuse_unknown(request)
        ready = self.service.ready
        return _json({"name": self.model, "ready": ready}, 200 if ready else 503)

    async def _metadata(self, request: Request) -> Response:
        self._refuse_unknown(request)
        return _json(protocol.metadata(self.model, self.limits, self.about))

    async def _statistics(self, request: Request) -> Response:
        self._refuse_unknown(request)
        return _json(self.metrics.statistics())

    async def _config(self, request: Request) -> Response:
        self._refuse_unknown(request)
        return _json(protocol.config(self.model, self.limits))

    async def _index(self, request: Request) -> Response:
        state = "READY" if self.service.ready else "UNAVAILABLE"
        return _json([{"name": self.model, "version": protocol.VERSION, "state": state}])

    async def _show_metrics(self, request: Request) -> Response:
        return Response(self.metrics.text(), media_type=CONTENT_TYPE_LATEST)

    async def _answer(self, route: protocol.Route, request: Request) -> Response:
        """Read a request as its route does, tokenize, ask, and answer as the route writes it."""
        self._refuse_unknown(request)
        began = perf_counter()
        body = await self._body(request)
        asked, written = route(body, request.headers.get("inference-header-content-length"), self.limits)
        self._refuse_unknown(request, asked.model)
        tokenizing = perf_counter()
        ids, about = (asked.ids, {}) if asked.ids is not None else await self._tokenized(request, asked.texts or [])
        asking = perf_counter()
        found = await self.service.ask(ids, asked.slo_s, asked.klass, self.within_s, asked.tenant)
        answers = answered(found, asked.partial)
        logits = np.stack([each.logits for each in answers.values()])
        students, tokens = [each.used.students for each in answers.values()], sum(map(len, ids))
        about |= figures(answers.values()) | missing(found)
        content, headers = written(self.model, Reply(logits, students, self.labels, list(answers), tokens), about)
        times = {
            "x-total-time": perf_counter() - began,
            "x-ingress-time": tokenizing - began,
            "x-tokenization-time": asking - tokenizing,
            "x-queue-time": about["queue_us"] / 1e6,
            "x-inference-time": about["compute_us"] / 1e6,
        }
        return Response(content, headers=headers | {name: f"{1e3 * value:.3f}" for name, value in times.items()})

    async def _body(self, request: Request) -> bytes:
        """The whole body, unpacked; HTTPException 413 as soon as it is known to be too large."""
        length = request.headers.get("content-length", "0")
        pieces = bytearray()
        if not (length.isdigit() and int(length) > self.body):
            async for piece in request.stream():
                pieces += piece
                if len(pieces) > self.body:
                    break
            else:
                return self._unpacked(request.headers.get("content-encoding", "identity"), bytes(pieces))
        raise HTTPException(413, f"a request may have {self.body} bytes", {"connection": "close"})

    def _unpacked(self, encoding: str, body: bytes) -> bytes:
        """A body as it was before it was compressed; HTTPException 413 where that is too large, 415 for others."""
        if encoding == "identity":
            return body
        if encoding not in ("gzip", "deflate"):
            raise HTTPException(415, "bodies may be compressed by gzip or deflate")
        try:
            found = zlib.decompressobj(32 + zlib.MAX_WBITS).decompress(body, self.body + 1)
        except zlib.error:
            raise BadRequest(f"the body is not {encoding}") from None
        if len(found) > self.body:
            raise HTTPException(413, f"a request may have {self.body} bytes")
        return found

    async def _tokenized(
        self, request: Request, texts: Sequence[tuple[str, str | None]]
    ) -> tuple[list[NDArray[np.int32]], dict[str, Any]]:
        """The token ids of texts, and what the reply says of those that were cut."""
        assert self.tokenize is not None
        tokenize, began = self.tokenize, perf_counter()
        pool: ThreadPoolExecutor = request.app.state.pool
        running = asyncio.get_running_loop().run_in_executor(pool, lambda: [tokenize(*each) for each in texts])
        try:
            found = await running
        except ValueError as error:  # of this text alone
            raise BadRequest(f"input text: {error}") from None
        cut = [each.whole for each in found if each.whole > len(each.ids)]
        self.metrics.tokenized(perf_counter() - began, len(cut) if self.cuts else 0)
        if cut and not self.cuts:
            raise BadRequest(f"input text: it has {max(cut)} tokens; at most {self.limits.tokens} are served")
        return [each.ids for each in found], {"truncated": True, "text_tokens": max(cut)} if cut else {}

    def _refuse_unknown(self, request: Request, named: str = "") -> None:
        """Raise HTTPException for another model than is served. named: the model by the request's body."""
        found = request.path_params
        if (named or found.get("model", self.model)) != self.model:
            raise HTTPException(404, f"there is no such model; {self.model} is served")
        if found.get("version", protocol.VERSION) != protocol.VERSION:
            raise HTTPException(404, f"there is no such version of {self.model}; {protocol.VERSION} is served")


def _unanswered(request: Request, error: Exception) -> Response:
    assert isinstance(error, Unanswered)
    return _error(error.status, error.reason, {"retry-after": str(RETRY_S)} if error.status == 503 else None)


def _error(status: int, message: str, headers: Any = None) -> Response:
    return _json({"error": message}, status, headers)


def _json(values: Any, status: int = 200, headers: Any = None) -> Response:
    return Response(json.dumps(values, allow_nan=False).encode(), status, headers, "application/json")
