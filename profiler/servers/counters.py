"""Triton's counters of a model: how many batches of each size it ran, and what they took."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from profiler.servers.client import BadReply, HttpClient, json_of
from profiler.servers.inference import model_path

#: Counts and nanoseconds up to here are believed: 300 years.
MOST = 10**19
#: What a batch takes at the server, besides waiting.
COMPUTE = ("compute_input", "compute_infer", "compute_output")


@dataclass(frozen=True)
class Counters:
    """So far: by batch size how many ran and their seconds; all requests' seconds in the queue, and their count."""

    ran: dict[int, int]
    compute_s: dict[int, float]
    queue_s: float
    queued: int

    def since(self, before: Counters) -> Counters:
        """What has happened since then; sizes that did not run are left out. Raises BadReply where less has."""
        ran = {size: count - before.ran.get(size, 0) for size, count in self.ran.items()}
        compute = {size: each - before.compute_s.get(size, 0.0) for size, each in self.compute_s.items()}
        queue_s, queued = self.queue_s - before.queue_s, self.queued - before.queued
        if min([*ran.values(), *compute.values(), queue_s, queued], default=0) < 0 or before.ran.keys() - ran.keys():
            raise BadReply("the counters of the server went backwards: was it started again?")
        moved = {size: count for size, count in ran.items() if count}
        return Counters(moved, {size: compute[size] for size in moved}, queue_s, queued)


def read_counters(client: HttpClient, model: str) -> Counters | None:
    """The counters of a model, its versions together; None where the server has none. Raises BadReply for nonsense."""
    reply = client.get(f"{model_path(model)}/stats")
    if reply.status != 200:
        return None
    what = f"the statistics of {model}"
    found = json_of(reply, what)
    listed = found.get("model_stats") if isinstance(found, dict) else None
    if not isinstance(listed, list) or not all(isinstance(each, dict) for each in listed):
        return None
    ran: dict[int, int] = {}
    compute: dict[int, float] = {}
    queue_s, queued, counts = 0.0, 0, False
    for each in listed:
        if each.get("name") != model or not isinstance(each.get("batch_stats"), list):
            continue
        counts = True
        whole = each.get("inference_stats")
        ns, count = _duration(whole.get("queue") if isinstance(whole, dict) else None, f"{what}: queue")
        queue_s, queued = queue_s + ns * 1e-9, queued + count
        for own in each["batch_stats"]:
            size = own.get("batch_size") if isinstance(own, dict) else None
            if not (type(size) is int and 1 <= size <= 100_000):
                raise BadReply(f"{what}: batch_size is {size!r:.40}, which is no size of a batch")
            spent = {name: _duration(own.get(name), f"{what}: {name}") for name in COMPUTE if name in own}
            if "compute_infer" not in spent:
                raise BadReply(f"{what}: batches of {size} have no compute_infer")
            ran[size] = ran.get(size, 0) + spent["compute_infer"][1]
            compute[size] = compute.get(size, 0.0) + sum(ns for ns, _ in spent.values()) * 1e-9
    return Counters(ran, compute, queue_s, queued) if counts else None


def _duration(values: Any, what: str) -> tuple[int, int]:
    """Nanoseconds and count."""
    own = values if isinstance(values, dict) else {}
    ns, count = own.get("ns"), own.get("count")
    if not (type(ns) is int and type(count) is int and 0 <= ns < MOST and 0 <= count < MOST):
        raise BadReply(f"{what} has no count and ns")
    return ns, count
