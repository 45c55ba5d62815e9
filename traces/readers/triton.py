"""What Triton traces of its requests (--trace-config triton,file=...,level=TIMESTAMPS)."""

from __future__ import annotations

import json
from pathlib import Path

from traces import files

#: Nanoseconds of Triton's clock by the names of a request's moments.
Moments = dict[str, int]


def requests(path: Path) -> tuple[list[Moments], int]:
    """The moments of every request, and how many parts of ensembles were left out.

    An object of the file has some of a request's moments; of two with one name the first in time counts. Raises
    ValueError for what is no JSON, and where no request has a moment.
    """
    try:
        found = json.loads(files.content(path))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} is not valid JSON: {error}") from None
    seen: dict[int | str, Moments] = {}
    inner: set[int | str] = set()
    for each in found if isinstance(found, list) else [found]:
        if not isinstance(each, dict) or not isinstance(number := each.get("id"), int | str):
            continue
        if each.get("parent_id"):
            inner.add(number)
        listed = each.get("timestamps")
        for one in listed if isinstance(listed, list) else ():
            if isinstance(one, dict) and type(ns := one.get("ns")) is int and 0 <= ns < 2**63:
                its, name = seen.setdefault(number, {}), str(one.get("name"))
                its[name] = min(its.get(name, ns), ns)
    own = [moments for number, moments in seen.items() if number not in inner]
    if not own:
        raise ValueError(f"{path} has no request with timestamps: trace with level=TIMESTAMPS")
    return own, len(inner)
