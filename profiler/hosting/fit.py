"""From seconds per answer of a busy endpoint to the host's times: least squares, none of them negative."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import nnls

from profiler.table import HostTimes

#: Rounds may differ by this share, and the fitted times miss what was measured by this share.
MOST_SPREAD, MOST_OFF = 0.05, 0.05
#: The endpoint's process must have a processor for this share of the time: else something else was the limit.
LEAST_BUSY = 0.9


class AnsweredCell(NamedTuple):
    """What an answer took of a busy endpoint: requests of so many tokens, batches per answer, seconds in each round.

    server: the share of the time that the endpoint's process had a processor, in each round.
    """

    tokens: int
    batches: float
    seconds: tuple[float, ...]
    server: tuple[float, ...]

    def __str__(self) -> str:
        return f"{self.tokens} tokens, batches of {1 / self.batches:.1f}"


class Fitted(NamedTuple):
    """times: the means over rounds; spread: their standard deviations, by name; off: the worst miss, as a share.

    reasons: why it is not valid.
    """

    times: HostTimes
    spread: dict[str, float]
    off: float
    reasons: list[str]


def fitted(cells: Sequence[AnsweredCell], tokenizer: tuple[float, float] = (0.0, 0.0), ingress: float = 0.5) -> Fitted:
    """The host's times. tokenizer: seconds per text and per token of it, which the answers' seconds include.

    ingress: the share of a request's own time, tokenizer and batch apart, that is spent before the queue.
    """
    design = np.array([[1.0, cell.tokens, cell.batches] for cell in cells])
    seconds = np.array([cell.seconds for cell in cells])
    own = seconds - (tokenizer[0] + tokenizer[1] * design[:, 1])[:, None]
    found = np.array([_solved(design, each) for each in own.T])
    request_s, token_s, batch_s = found.mean(axis=0).tolist()
    times = HostTimes(
        ingress_s=ingress * request_s,
        egress_s=(1 - ingress) * request_s,
        ingress_token_s=token_s,
        tokenizer_s=tokenizer[0],
        tokenizer_token_s=tokenizer[1],
        batch_s=batch_s,
    )
    apart = np.std(found, axis=0, ddof=1).tolist() if len(found) > 1 else [0.0] * 3
    spread = {"ingress_s": ingress * apart[0], "egress_s": (1 - ingress) * apart[0]}
    spread |= {"ingress_token_s": apart[1], "batch_s": apart[2]}
    predicted = np.array([1 / times.rate(cell.tokens, 1 / cell.batches) for cell in cells])
    off = float(np.max(np.abs(predicted / seconds.mean(axis=1) - 1)))
    return Fitted(times, spread, off, _reasons(cells, off))


def rounded(times: HostTimes) -> dict[str, float]:
    """Times for meta.json, to a tenth of a nanosecond."""
    return {name: round(value, 10) for name, value in vars(times).items()}


def _solved(design: NDArray[np.float64], seconds: NDArray[np.float64]) -> NDArray[np.float64]:
    """Seconds per request, per token and per batch; misses count by their share."""
    weights = 1 / np.maximum(seconds, 1e-12)
    scale = np.abs(design).max(axis=0)  # tokens are hundreds, batches per answer at most 1
    solved: NDArray[np.float64] = nnls(design / scale * weights[:, None], seconds * weights)[0] / scale
    return solved


def _reasons(cells: Sequence[AnsweredCell], off: float) -> list[str]:
    found = []
    for cell in cells:
        if (least := min(cell.server)) < LEAST_BUSY:
            found.append(f"{cell}: the endpoint had a processor for {least:.0%} of the time; need {LEAST_BUSY:.0%}")
        spread = max(cell.seconds) / min(cell.seconds) - 1
        if spread > MOST_SPREAD:
            found.append(f"{cell}: rounds are {spread:.0%} apart; at most {MOST_SPREAD:.0%}")
    if off > MOST_OFF:
        found.append(f"the fitted times miss what was measured by up to {off:.0%}; at most {MOST_OFF:.0%}")
    return found
