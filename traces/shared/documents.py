"""JSON documents: strict to read, strict to write, and checked against a model in one line."""

from __future__ import annotations

import json
import math
from difflib import get_close_matches
from pathlib import Path
from typing import Any, NoReturn, TypeVar

T = TypeVar("T")
#: Objects and lists within each other; what is deeper is no document of ours, and whatever walks it would fail.
DEEPEST = 50


def parse_json(text: str | bytes, where: object) -> Any:
    """What a JSON text holds. where: what it is, for the error.

    Raises ValueError in one line for text that is not JSON, NaN and infinite numbers, a key that stands twice in an
    object, text that is not Unicode, and nesting that is too deep.
    """
    try:
        values = json.loads(text, parse_constant=_no_number, parse_float=_finite, object_pairs_hook=_object)
    except RecursionError:
        raise ValueError(f"{where} is nested too deeply to be read") from None
    except ValueError as error:  # UnicodeDecodeError is one, too
        raise ValueError(f"{where} is not valid JSON: {error}") from None
    if _deeper(values, DEEPEST):
        raise ValueError(f"{where} is nested too deeply to be read")
    try:
        json.dumps(values, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        raise ValueError(f"{where} holds half of a surrogate pair (\\ud800 to \\udfff), which is no text") from None
    return values


def read_json(path: Path) -> Any:
    """What a JSON file holds, in UTF-8, with a byte order mark or without. Raises as `parse_json`, or OSError."""
    return parse_json(path.read_bytes().removeprefix(b"\xef\xbb\xbf"), path)


def json_text(values: Any, indent: int | None = None, **options: Any) -> str:
    """Valid JSON: NaN and infinity, which it does not have, become null. options: those of json.dumps."""
    return json.dumps(_known(values), indent=indent, allow_nan=False, **options)


def checked(kind: type[T], values: Any, where: object) -> T:
    """JSON values as a pydantic model, a dataclass or any other type, nothing converted: "1" and true are no numbers.

    where: what they are, for the error. Raises ValueError in one line that names the first place which is wrong; for an
    unknown key it lists the known ones.
    """
    from pydantic import TypeAdapter, ValidationError

    try:
        return TypeAdapter(kind).validate_json(json.dumps(values, default=str), strict=True)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in first["loc"]).lstrip(".")
        if first["type"] in ("extra_forbidden", "unexpected_keyword_argument"):
            raise ValueError(f"{where}: unknown key {place!r}{_nearest(place, kind)}") from None
        if first["type"] in ("missing", "missing_argument"):
            raise ValueError(f"{where}: {place} is missing") from None
        said = str(first.get("ctx", {}).get("error") or first["msg"])
        said = f"{said[:1].lower()}{said[1:]}"
        given = json.dumps(first["input"], default=str)
        shown = given if len(given) < 60 else f"{given[:57]}..."
        raise ValueError(f"{where}: {place or 'the whole'} is {shown}: {said}") from None


def _nearest(place: str, kind: Any) -> str:
    fields = getattr(kind, "model_fields", None) or getattr(kind, "__dataclass_fields__", {})
    if "." in place or "[" in place or not fields:
        return ""
    near = "".join(f"did you mean {name}? " for name in get_close_matches(place, list(fields), 1))
    return f" ({near}known: {', '.join(sorted(fields))})"


def _no_number(name: str) -> NoReturn:
    raise ValueError(f"{name} is no number")


def _finite(text: str) -> float:
    if math.isinf(number := float(text)):
        raise ValueError(f"{text} is larger than any number can be")
    return number


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"the key {next(name for name in names if names.count(name) > 1)!r} stands twice in an object")
    return found


def _deeper(values: Any, levels: int) -> bool:
    inner = values.values() if isinstance(values, dict) else values if isinstance(values, list) else ()
    return not levels or any(_deeper(each, levels - 1) for each in inner)


def _known(values: Any) -> Any:
    if isinstance(values, float):
        return values if math.isfinite(values) else None
    if isinstance(values, dict):
        return {name: _known(each) for name, each in values.items()}
    return [_known(each) for each in values] if isinstance(values, (list, tuple)) else values
