"""The keys that clients of an endpoint have: a file with one a line."""

from __future__ import annotations

from pathlib import Path


def read_keys(path: Path) -> tuple[bytes, ...]:
    """The keys in a file, one a line; blank lines do not count. Raises OSError, and ValueError for what is no key."""
    keys = [line.strip() for line in path.read_bytes().splitlines()]
    for number, key in enumerate(keys, 1):
        if any(not 33 <= byte <= 126 for byte in key):
            raise ValueError(f"{path}, line {number}: a key is visible ASCII without spaces, one key a line")
    if not (found := tuple(dict.fromkeys(filter(None, keys)))):
        raise ValueError(f"{path} has no keys: write one a line")
    return found
