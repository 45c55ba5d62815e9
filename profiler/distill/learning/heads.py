"""A head for every prefix: refitted to the sum it stands on, and calibrated, both on texts made for choices."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812  its usual name
from torch import Tensor

from profiler.distill.learning.teacher import Target, cross_entropy, divergence

#: The refit starts at the target's own head and is held there by so much (per squared change of an entry, in its unit).
HOLD = 1e-3
#: Weight of the labels beside the teacher's answers in the refit, and its iterations.
LABELS, ITERATIONS = 0.5, 60
#: More texts than these say nothing more about a head.
MOST = 3_000
#: Temperatures that are tried for calibration.
TEMPERATURES = np.geomspace(0.25, 4.0, 65)


def refit(total: Tensor, said: Tensor, labels: Tensor, target: Target) -> tuple[Tensor, Tensor]:
    """A head [O, C], [C] for sums [N, O] of a prefix: the teacher's answers and the labels, from the target's head."""
    base_weight, base_bias = target.head()
    change = torch.zeros(len(base_weight) + 1, target.classes, device=total.device, requires_grad=True)
    unit = base_weight.abs().max()
    optimizer = torch.optim.LBFGS([change], max_iter=ITERATIONS, line_search_fn="strong_wolfe")
    total, said, labels = total[:MOST].float(), said[:MOST], labels[:MOST]

    def closure() -> Tensor:
        optimizer.zero_grad()
        logits = total @ (base_weight + unit * change[:-1]) + base_bias + unit * change[-1]
        loss = (1 - LABELS) * divergence(logits, said, 1.0).mean() + LABELS * cross_entropy(logits, labels)
        loss = loss + HOLD * change.square().sum()
        loss.backward()  # type: ignore[no-untyped-call]
        return loss

    with torch.enable_grad():
        optimizer.step(closure)  # type: ignore[no-untyped-call]
    change = change.detach()
    return base_weight + unit * change[:-1], base_bias + unit * change[-1]


def fitted(
    fitting: tuple[Tensor, Tensor, Tensor], tuning: tuple[Tensor, Tensor], target: Target
) -> tuple[Tensor, Tensor]:
    """The better, on the tuning texts, of the refitted head and the target's own, with the temperature divided out.

    fitting: sums of the prefix, the teacher's logits, labels, of texts with labels. tuning: sums and labels.
    """
    sums, labels = tuning[0].float(), tuning[1]
    found = []
    for weight, bias in (target.head(), refit(*fitting, target)):
        logits = sums @ weight + bias
        losses = [float(F.cross_entropy(logits / heat, labels)) for heat in TEMPERATURES.tolist()]
        best = int(np.argmin(losses))
        found.append((losses[best], weight / TEMPERATURES[best], bias / TEMPERATURES[best]))
    _, weight, bias = min(found, key=lambda head: head[0])
    return weight, bias
