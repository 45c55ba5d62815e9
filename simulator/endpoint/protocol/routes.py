"""The routes that are answered: the protocol's own, and thin ones for clients of OpenAI's embeddings and of TEI.

https://platform.openai.com/docs/api-reference/embeddings and
https://huggingface.github.io/text-embeddings-inference. All are the same requests, in other words; what the protocol
calls `parameters` (slo_ms, priority, partial) they take under the same name.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from functools import partial
from typing import Any

from scipy.special import expit

from simulator.endpoint.protocol import reply as protocol
from simulator.endpoint.protocol.reply import Reply
from simulator.endpoint.protocol.request import (
    EMBEDDINGS,
    SCORES,
    Inference,
    Limits,
    checked_ids,
    checked_texts,
    inference,
    message_of,
    read,
)
from simulator.endpoint.protocol.tensors import BadRequest, lone_surrogate

#: The body and the headers of an answer, from the model's name, the answers, and the reply's parameters.
Write = Callable[[str, Reply, dict[str, Any]], tuple[bytes, dict[str, str]]]
#: What is asked, and how the answer is written; from a body, and the header with the length of its JSON.
Route = Callable[[bytes, str | None, Limits], tuple[Inference, Write]]


def infer(body: bytes, header_length: str | None, limits: Limits) -> tuple[Inference, Write]:
    """/v2/models/NAME/infer, of the Open Inference Protocol."""
    asked = read(body, header_length, limits)

    def write(model: str, reply: Reply, parameters: dict[str, Any]) -> tuple[bytes, dict[str, str]]:
        return protocol.write(model, asked.id, reply, parameters, asked.outputs)

    return asked, write


def embeddings(body: bytes, header_length: str | None, limits: Limits) -> tuple[Inference, Write]:
    """/v1/embeddings, of OpenAI: `input` is a text, token ids, or a list of either."""
    message = message_of(body)
    if limits.gives != EMBEDDINGS:
        raise BadRequest(f"this model gives no embeddings but {limits.gives}: ask /predict or /v2/models/NAME/infer")
    form = message.get("encoding_format", "float")
    if form not in ("float", "base64"):
        raise BadRequest("encoding_format must be float or base64")
    given = message.get("input")
    listed = [given] if isinstance(given, str) or _whole(given) else given
    asked = partial(inference, message, limits, model=_name(message))
    if isinstance(listed, list) and listed and all(_whole(each) for each in listed):
        return asked(ids=checked_ids(listed, limits)), partial(_embeddings, form)
    texts: list[tuple[str, str | None]] = [(text, None) for text in _texts(listed, "input")]
    return asked(texts=checked_texts(texts, limits)), partial(_embeddings, form)


def rerank(body: bytes, header_length: str | None, limits: Limits) -> tuple[Inference, Write]:
    """/rerank, of TEI: scores of `texts` against `query`, the best first."""
    message = message_of(body)
    if limits.width != 1 or limits.gives == EMBEDDINGS:
        raise BadRequest(f"this model gives {limits.width} {limits.gives}: /rerank needs a model with one output")
    raw, back = (_flag(message, name) for name in ("raw_scores", "return_text"))
    raw = raw or limits.gives == SCORES
    texts, (query,) = _texts(message.get("texts"), "texts"), _texts([message.get("query")], "query")
    asked = inference(message, limits, texts=checked_texts([(query, text) for text in texts], limits))
    return asked, partial(_ranked, raw, texts if back else None)


def predict(body: bytes, header_length: str | None, limits: Limits) -> tuple[Inference, Write]:
    """/predict, of TEI: `inputs` is a text, a pair of texts, or a list of lists of one or two."""
    message = message_of(body)
    if "probabilities" not in limits.outputs:
        raise BadRequest("probabilities of this model's classes are not known: ask /v2/models/NAME/infer")
    raw, given = _flag(message, "raw_scores"), message.get("inputs")
    several = isinstance(given, list) and given and all(isinstance(each, list) for each in given)
    listed: list[Any] = [*given] if isinstance(given, list) and several else [given]
    rows = [_texts([each] if isinstance(each, str) else each, "inputs") for each in listed]
    if not all(1 <= len(row) <= 2 for row in rows):
        raise BadRequest("inputs must be a text, two texts of a pair, or a list of lists of one or two texts")
    texts = [(row[0], row[1] if len(row) > 1 else None) for row in rows]
    return inference(message, limits, texts=checked_texts(texts, limits)), partial(
        _predictions, raw, not several, len(rows)
    )


#: The thin routes by their paths.
THIN: dict[str, Route] = {"/v1/embeddings": embeddings, "/rerank": rerank, "/predict": predict}


def _embeddings(form: str, model: str, reply: Reply, parameters: dict[str, Any]) -> tuple[bytes, dict[str, str]]:
    vectors: list[Any] = reply.logits.tolist()
    if form == "base64":
        vectors = [base64.b64encode(row.astype("<f4").tobytes()).decode() for row in reply.logits]
    data = [{"object": "embedding", "index": at, "embedding": row} for at, row in zip(reply.rows, vectors, strict=True)]
    usage = {"prompt_tokens": reply.tokens, "total_tokens": reply.tokens}
    return _json({"object": "list", "model": model, "data": data, "usage": usage})


def _ranked(
    raw: bool, texts: list[str] | None, model: str, reply: Reply, parameters: dict[str, Any]
) -> tuple[bytes, dict[str, str]]:
    logits = reply.logits[:, 0].astype(float)
    scores = (logits if raw else expit(logits)).tolist()
    found: list[dict[str, Any]] = [{"index": at, "score": score} for at, score in zip(reply.rows, scores, strict=True)]
    if texts is not None:
        found = [{**each, "text": texts[each["index"]]} for each in found]
    return _json(sorted(found, key=lambda each: -each["score"]))


def _predictions(
    raw: bool, alone: bool, count: int, model: str, reply: Reply, parameters: dict[str, Any]
) -> tuple[bytes, dict[str, str]]:
    found: list[Any] = [None] * count  # a text without an answer
    scores = reply.output("logits" if raw else "probabilities").tolist()
    for at, row in zip(reply.rows, scores, strict=True):
        named = [{"score": score, "label": label} for label, score in zip(reply.labels, row, strict=True)]
        found[at] = sorted(named, key=lambda each: -each["score"])
    return _json(found[0] if alone else found)


def _texts(given: Any, name: str) -> list[str]:
    if not isinstance(given, list) or not given or not all(isinstance(each, str) for each in given):
        raise BadRequest(f"{name} must be text: a string, or a list of strings where several are taken")
    if any(map(lone_surrogate, given)):
        raise BadRequest(f"{name}: it is not Unicode text (a lone surrogate)")
    return given


def _whole(given: Any) -> bool:
    """Whether this is a list of token ids."""
    return isinstance(given, list) and bool(given) and all(type(each) is int for each in given)


def _flag(message: dict[str, Any], name: str) -> bool:
    if type(value := message.get(name, False)) is not bool:
        raise BadRequest(f"{name} must be true or false")
    return value


def _name(message: dict[str, Any]) -> str:
    if not isinstance(name := message.get("model", ""), str):
        raise BadRequest("model must be a string")
    return name


def _json(values: Any) -> tuple[bytes, dict[str, str]]:
    return json.dumps(values, separators=(",", ":"), allow_nan=False).encode(), {"content-type": "application/json"}
