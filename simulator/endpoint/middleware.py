"""What stands around the routes: who may ask, and how connections end."""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Callable, Sequence

from starlette.types import ASGIApp, Message, Receive, Scope, Send

#: Paths that need no key: an orchestrator's probes have none.
OPEN = ("/v2/health/live", "/v2/health/ready")
REFUSED = json.dumps({"error": "an API key is needed, as `Authorization: Bearer KEY` or `x-api-key: KEY`"}).encode()


class Guarded:
    """Lets in whoever has one of these keys."""

    def __init__(self, app: ASGIApp, keys: Sequence[bytes]) -> None:
        self._app = app
        self._keys = [hashlib.sha256(key).digest() for key in keys]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] in OPEN or self._has_key(scope):
            await self._app(scope, receive, send)
            return
        headers = [
            (b"content-type", b"application/json"),
            (b"content-length", str(len(REFUSED)).encode()),
            (b"www-authenticate", b"Bearer"),
        ]
        await send({"type": "http.response.start", "status": 401, "headers": headers})
        await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else REFUSED})

    def _has_key(self, scope: Scope) -> bool:
        given = []
        for name, value in scope["headers"]:
            kind, _, rest = value.partition(b" ")
            if name == b"x-api-key":
                given.append(value.strip())
            elif name == b"authorization" and kind.lower() == b"bearer":
                given.append(rest.strip())
        # Every pair is compared, and digests are, so that the time tells nothing of a key.
        digests = [hashlib.sha256(each).digest() for each in given]
        return sum(hmac.compare_digest(each, key) for each in digests for key in self._keys) > 0


class Closing:
    """Ends the connection of every answer once the end is announced, so that no client asks on it again."""

    def __init__(self, app: ASGIApp, draining: Callable[[], bool]) -> None:
        self._app, self._draining = app, draining

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def closing(message: Message) -> None:
            if message["type"] == "http.response.start" and self._draining():
                message["headers"] = [*message["headers"], (b"connection", b"close")]
            await send(message)

        await self._app(scope, receive, closing if scope["type"] == "http" else send)
