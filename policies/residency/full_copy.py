"""A whole model per tenant: batches of one tenant, models swapped."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from policies.interface import Dispatch, View
from policies.residency.lru import Lru


@dataclass
class FullCopy(Lru):
    """A fine-tuned copy of the model for every tenant: no batch mixes tenants, and the least recently used copy goes.

    Wants a table whose default kind of adapter is a whole model, with its bytes and its load time. Of a batch the
    requests of the oldest one's tenant go first.
    """

    whole: ClassVar[bool] = True

    def _plan(self, action: Dispatch, view: View) -> None:
        tenant = view.tenant_of(action.requests[0])
        mine = [each for each in action.requests if view.tenant_of(each) == tenant]
        others = [each for each in action.requests if view.tenant_of(each) != tenant]
        super()._plan(Dispatch(mine, action.level, action.gpu, action.plan), view)
        if others:
            self._rest = Dispatch(others, action.level, None, action.plan)
