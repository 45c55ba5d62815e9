"""What the host takes beside the devices: to read requests, to make tokens of texts, to write answers. A leaf."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

#: Whether a run counts the host's time.
HOST_TIME = ("measured", "none")


@dataclass(frozen=True)
class HostTimes:
    """Seconds of the host, which does one thing at a time (a Python process runs one thread at a time).

    ingress_s: to read a request with one text; ingress_token_s: for each of its tokens, beside that. tokenizer_s,
    tokenizer_token_s: likewise to make tokens of the text; 0 where clients send ids. egress_s: to write an answer.
    batch_s: to form a batch and to hand its answers over.
    """

    ingress_s: float
    egress_s: float
    ingress_token_s: float = 0.0
    tokenizer_s: float = 0.0
    tokenizer_token_s: float = 0.0
    batch_s: float = 0.0

    @classmethod
    def of(cls, meta: Mapping[str, Any], name: str) -> HostTimes:
        """Those in a table's metadata. name: the table's. Raises LookupError where it has none."""
        if (found := meta.get("host")) is None:
            raise LookupError(
                f"table {name} has no host times: python -m profiler host measures them; or --host-time none"
            )
        return cls(**{each.name: found[each.name] for each in fields(cls) if each.name in found})

    def before(self, tokens: NDArray[Any]) -> NDArray[np.float64]:
        """Seconds until each request of so many tokens is ready for the queue, on an idle host."""
        per_token = self.ingress_token_s + self.tokenizer_token_s
        return self.ingress_s + self.tokenizer_s + per_token * np.asarray(tokens, np.float64)

    def rate(self, tokens: float, batch: float) -> float:
        """Requests per second that a host which does nothing else serves, of so many tokens, in batches of this size.

        Infinite where it takes no time.
        """
        seconds = float(self.before(np.array([tokens]))[0]) + self.egress_s + self.batch_s / batch
        return 1 / seconds if seconds else np.inf
