"""Running servers as devices: one connection each, asked for the model by the name that the table has for it."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from contextlib import ExitStack

from profiler.executors.server import ServerExecutor
from profiler.servers.client import HttpClient
from profiler.servers.offer import look_at_server
from profiler.servers.wording import Wording
from profiler.table import LatencyTable
from profiler.table.plan import BucketPlan


def open_servers(
    urls: Sequence[str],
    table: LatencyTable,
    models: Sequence[str],
    plan: BucketPlan,
    *,
    tokenizer: str | os.PathLike[str] | None = None,
    on_progress: Callable[[str], None] = lambda what: None,
) -> tuple[list[ServerExecutor], list[str]]:
    """Open a server per device, warm: each was asked for the smallest and the largest batch of the plan; and notes.

    tokenizer: the folder of the model's, needed where a server takes texts. Raises ValueError for several models,
    LookupError where a server does not serve the model, or takes texts and there is no tokenizer; ServerError where
    it is not there or refuses those batches.
    """
    if len(models) > 1:
        raise ValueError(f"a server runs one model, not {', '.join(models)}: name one --model")
    (model,) = models
    about = table.meta.get("black_box", {})
    wording: Wording | None = None
    executors: list[ServerExecutor] = []
    with ExitStack() as opened:
        for url in urls:
            on_progress(f"asking {url}")
            client = opened.enter_context(HttpClient(url))
            offer = look_at_server(client, model)
            if offer.dialect.takes == "texts" and tokenizer is not None:
                wording = wording or Wording(tokenizer)
            executors.append(ServerExecutor(client, offer.dialect, plan, model, about.get("vocab"), wording))
            executors[-1].warm()
        opened.pop_all()  # whoever serves with them closes them
    return executors, [] if about else [f"table {table.name} was measured on {table.device}, not at these servers"]
