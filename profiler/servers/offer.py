"""What a server offers: which protocol it speaks, whether it counts, and how much it takes at once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from profiler.servers.client import BadReply, HttpClient, HttpReply, json_of
from profiler.servers.counters import read_counters
from profiler.servers.dialect import Dialect
from profiler.servers.inference import binary_offered, model_path, of_metadata
from profiler.servers.routes import Classify, Embed, Embeddings, Predict


@dataclass(frozen=True)
class Offer:
    """How to ask a model. counters: whether the server counts batches by size.

    most_texts, most_tokens: of one request, and of one text, where the server says so.
    """

    dialect: Dialect
    counters: bool = False
    most_texts: int | None = None
    most_tokens: int | None = None


def look_at_server(client: HttpClient, model: str) -> Offer:
    """Find out how a server is asked for a model.

    Raises LookupError where it has no such model or speaks nothing that is known, ServerError where it is not there.
    """
    for look in (_inference, _tei, _openai):
        if (found := look(client, model)) is not None:
            return found
    raise LookupError(
        f"{client.url} speaks none of the known protocols: the Open Inference Protocol (/v2), TEI (/info), "
        "OpenAI's or infinity's (/models)"
    )


def _inference(client: HttpClient, model: str) -> Offer | None:
    server = client.get("/v2")
    found = client.get(model_path(model))
    if found.status != 200:
        if server.status == 200:
            raise LookupError(f"{client.url} serves no model {model!r} (status {found.status}): name another --model")
        return None
    dialect = of_metadata(json_of(found, f"the metadata of {model}"), model, binary_offered(server))
    config = _object(client.get(f"{model_path(model)}/config"))
    most = config.get("max_batch_size")
    counts = _tried(lambda: read_counters(client, model)) is not None
    return Offer(dialect, counts, most if type(most) is int and most > 0 else None)


def _tei(client: HttpClient, model: str) -> Offer | None:
    about = _object(client.get("/info"))
    kinds = about.get("model_type")
    if "model_id" not in about or not isinstance(kinds, dict):
        return None
    dialect: Dialect
    if "classifier" in kinds:
        dialect = Predict(model)
    elif "embedding" in kinds:
        dialect = Embed(model)
    else:
        raise LookupError(f"{client.url} serves a {', '.join(kinds)}: embeddings and classifiers are measured")
    return Offer(dialect, False, _count(about, "max_client_batch_size"), _count(about, "max_input_length"))


def _openai(client: HttpClient, model: str) -> Offer | None:
    for prefix in ("", "/v1"):
        data = _object(client.get(f"{prefix}/models")).get("data")
        if not isinstance(data, list):
            continue
        by_name = {each["id"]: each for each in data if isinstance(each, dict) and isinstance(each.get("id"), str)}
        if model not in by_name:
            raise LookupError(f"{client.url} serves no model {model!r}; it has {', '.join(by_name)[:120] or 'none'}")
        able = by_name[model].get("capabilities")
        classifies = isinstance(able, list) and "classify" in able
        return Offer(Classify(model, prefix) if classifies else Embeddings(model, prefix))
    return None


def _object(reply: HttpReply) -> dict[str, Any]:
    """The object in a reply; empty where there is none."""
    if reply.status != 200:
        return {}
    found = _tried(lambda: json_of(reply, "what the server says of itself"))
    return found if isinstance(found, dict) else {}


def _tried(what: Callable[[], Any]) -> Any:
    try:
        return what()
    except BadReply:
        return None


def _count(about: dict[str, Any], name: str) -> int | None:
    value = about.get(name)
    return value if type(value) is int and value > 0 else None
