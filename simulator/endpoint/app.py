"""The routes of the Open Inference Protocol over HTTP, health and metrics: validate, tokenize, ask, answer."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass
from time import perf_counter
from typing import Any

import numpy as np
from numpy.typing import NDArray
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from simulator.endpoint import protocol
from simulator.endpoint.asking import Unanswered
from simulator.endpoint.metrics import Metrics
from simulator.endpoint.protocol import BadRequest, Limits
from simulator.endpoint.service import Service

log = logging.getLogger("cohort.http")
#: Gives the token ids of a text, cut to what the model takes.
Tokenize = Callable[[str], NDArray[np.int32]]
#: Seconds after which a client may retry a refused request.
RETRY_S = 1


@dataclass(frozen=True)
class Endpoint:
    """A service under its model's name. about: what metadata shows beside inputs and outputs.

    body: the most bytes of a request. within_s: how long a request waits for its answer. tokenize: None where there is
    no tokenizer. closed: called when the service has ended.
    """

    service: Service
    model: str
    classes: int
    limits: Limits
    about: dict[str, Any]
    metrics: Metrics
    version: str
    body: int = 1 << 18
    within_s: float = 30.0
    tokenize: Tokenize | None = None
    closed: Sequence[Callable[[], object]] = ()

    def app(self) -> Starlette:
        """The application, for any ASGI server."""
        model = "/v2/models/{model}"
        routes = [  # in the order of how often they are asked for
            Route(f"{path}{end}", handler, methods=[method])
            for end, handler, method in (
                ("/infer", self._infer, "POST"),
                ("/ready", self._model_ready, "GET"),
                ("", self._metadata, "GET"),
            )
            for path in (model, f"{model}/versions/{{version}}")
        ]
        routes += [
            Route("/v2/health/live", self._live, methods=["GET"]),
            Route("/v2/health/ready", self._ready, methods=["GET"]),
            Route("/metrics", self._show_metrics, methods=["GET"]),
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
        app.add_middleware(Closing, self.service)
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
        return _json(protocol.metadata(self.model, self.classes, self.limits, self.about))

    async def _show_metrics(self, request: Request) -> Response:
        return Response(self.metrics.text(), media_type=CONTENT_TYPE_LATEST)

    async def _infer(self, request: Request) -> Response:
        self._refuse_unknown(request)
        if request.headers.get("content-encoding", "identity") != "identity":
            raise HTTPException(415, "compressed bodies are not understood")
        body = await self._body(request)
        asked = protocol.read(body, request.headers.get("inference-header-content-length"), self.limits)
        if (ids := asked.ids) is None:
            ids = await self._tokenized(request, asked.text or "")
        (answer,) = await self.service.ask([ids], asked.slo_s, asked.klass, self.within_s)
        figures = {
            "students_used": answer.students,
            "queue_us": round((answer.start_s - answer.arrival_s) * 1e6),
            "batch_size": answer.batch_size,
            "compute_us": round((answer.finish_s - answer.start_s) * 1e6),
        }
        content, headers = protocol.write(self.model, asked.id, answer.logits, figures, asked.binary)
        return Response(content, headers=headers)

    async def _body(self, request: Request) -> bytes:
        """The whole body; HTTPException 413 as soon as it is known to be too large."""
        length = request.headers.get("content-length", "0")
        pieces = bytearray()
        if not (length.isdigit() and int(length) > self.body):
            async for piece in request.stream():
                pieces += piece
                if len(pieces) > self.body:
                    break
            else:
                return bytes(pieces)
        raise HTTPException(413, f"a request may have {self.body} bytes", {"connection": "close"})

    async def _tokenized(self, request: Request, text: str) -> NDArray[np.int32]:
        assert self.tokenize is not None
        began = perf_counter()
        pool: ThreadPoolExecutor = request.app.state.pool
        ids = await asyncio.get_running_loop().run_in_executor(pool, self.tokenize, text)
        self.metrics.tokenized(perf_counter() - began)
        if not len(ids):
            raise BadRequest("input text: it has no tokens")
        return ids

    def _refuse_unknown(self, request: Request) -> None:
        found = request.path_params
        if found["model"] != self.model:
            raise HTTPException(404, f"there is no such model; {self.model} is served")
        if found.get("version", protocol.VERSION) != protocol.VERSION:
            raise HTTPException(404, f"there is no such version of {self.model}; {protocol.VERSION} is served")


class Closing:
    """Ends the connection of every answer once the service drains, so that no client asks on it again."""

    def __init__(self, app: ASGIApp, service: Service) -> None:
        self._app, self._service = app, service

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def closing(message: Message) -> None:
            if self._service.draining and message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], (b"connection", b"close")]
            await send(message)

        await self._app(scope, receive, closing if scope["type"] == "http" else send)


def _unanswered(request: Request, error: Exception) -> Response:
    assert isinstance(error, Unanswered)
    return _error(error.status, error.reason, {"retry-after": str(RETRY_S)} if error.status == 503 else None)


def _error(status: int, message: str, headers: Any = None) -> Response:
    return _json({"error": message}, status, headers)


def _json(values: Any, status: int = 200, headers: Any = None) -> Response:
    return Response(json.dumps(values, allow_nan=False).encode(), status, headers, "application/json")
