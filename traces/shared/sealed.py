"""Parquet files that carry a digest of their own bytes, so that a flipped bit is an error wherever it is.

pyarrow's checksums cover pages alone, neither their headers nor the footer. The digest lies in the footer's metadata;
other readers ignore it. A file that somebody rewrote has another size: its seal is void, and it is read as any other.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet

KEY = b"cohort_seal"
#: Size and digest, as they stand in the file while its digest is made.
_BLANK = b"%016d:%064d" % (0, 0)
_CHUNK = 1 << 20


def sealable(schema: pa.Schema) -> pa.Schema:
    """A schema whose files can be sealed once they are written."""
    return schema.with_metadata({**(schema.metadata or {}), KEY: _BLANK})


def seal(path: Path) -> None:
    """Put the digest into a file that was written with a `sealable` schema."""
    size = path.stat().st_size
    place = _place(path, _BLANK)
    assert place is not None, f"{path} has no room for a seal"
    text = b"%016d:%s" % (size, _digest(path, place).encode())
    with path.open("r+b") as file:
        file.seek(place)
        file.write(text)


def write_sealed(table: pa.Table, path: Path, **options: Any) -> None:
    """Write a Parquet file and seal it. options: those of pyarrow.parquet.write_table."""
    table = table.replace_schema_metadata(sealable(table.schema).metadata)
    pa.parquet.write_table(table, path, write_page_checksum=True, **options)
    seal(path)


def read_sealed(path: Path, columns: Sequence[str] | None = None, *, required: bool = False) -> pa.Table:
    """A Parquet file whose bytes are those that were written, without the seal.

    required: refuse a file without a seal, too. Raises ValueError in one line where it cannot be read or was damaged.
    """
    try:
        check_seal(path, required=required)
        table = pa.parquet.read_table(
            path, columns=None if columns is None else list(columns), page_checksum_verification=True
        )
    except FileNotFoundError:
        raise
    except (pa.ArrowException, OSError) as error:
        raise ValueError(f"{path} cannot be read ({str(error).splitlines()[0]})") from None
    metadata = {key: value for key, value in (table.schema.metadata or {}).items() if key != KEY}
    return table.replace_schema_metadata(metadata or None)


def check_seal(path: Path, *, required: bool = False) -> None:
    """Raise ValueError where the bytes of a sealed file are not those that were written; pyarrow's errors as they come.

    required: refuse a file without a seal, too.
    """
    text = (pa.parquet.read_metadata(path).metadata or {}).get(KEY)
    if text is None or len(text) != len(_BLANK) or not text[:16].isdigit() or int(text[:16]) != path.stat().st_size:
        if required:
            raise ValueError(f"{path} is not as it was written: delete it")
        return
    place = _place(path, text)
    if place is None or _digest(path, place).encode() != text[17:]:
        raise ValueError(f"{path} is damaged: its bytes are not those that were written")


def _place(path: Path, text: bytes) -> int | None:
    """Where the footer has this text."""
    with path.open("rb") as file:
        file.seek(-8, 2)
        length = int.from_bytes(file.read(4), "little")
        start = max(0, path.stat().st_size - 8 - length)
        file.seek(start)
        found = file.read(length).rfind(text)
    return None if found < 0 else start + found


def _digest(path: Path, place: int) -> str:
    """Of all bytes, the seal itself taken as blank."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        left = place
        while left:
            piece = file.read(min(left, _CHUNK))
            digest.update(piece)
            left -= len(piece)
        file.seek(len(_BLANK), 1)
        digest.update(_BLANK)
        while piece := file.read(_CHUNK):
            digest.update(piece)
    return digest.hexdigest()
