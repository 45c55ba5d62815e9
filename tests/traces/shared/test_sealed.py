"""A flipped bit of a sealed file is an error, or changes nothing that is read."""

from __future__ import annotations

import random

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from traces.shared.sealed import KEY, check_seal, read_sealed, seal, sealable, write_sealed

TABLE = pa.table(
    {"key": [f"cell-{i}" for i in range(30)], "value": [0.5 * i for i in range(30)], "name": ["a", "b", None] * 10}
).replace_schema_metadata({"about": "a table"})


def flipped(path, bit):
    content = bytearray(path.read_bytes())
    content[bit // 8] ^= 1 << bit % 8
    other = path.with_name("flipped.parquet")
    other.write_bytes(content)
    return other


def test_it_is_parquet_for_every_reader_and_comes_back_as_it_was(tmp_path):
    write_sealed(TABLE, tmp_path / "t.parquet", compression="zstd")
    assert read_sealed(tmp_path / "t.parquet", required=True).equals(TABLE, check_metadata=True)
    assert read_sealed(tmp_path / "t.parquet", ["value"]).column_names == ["value"]
    assert pq.read_table(tmp_path / "t.parquet").equals(TABLE)


@pytest.mark.parametrize("required", [False, True])
def test_no_flipped_bit_shows_another_value(tmp_path, required):
    """Every 7th bit, and a hundred at random: headers, pages, dictionaries, footer and seal are all met."""
    path = tmp_path / "t.parquet"
    write_sealed(TABLE, path)
    bits = 8 * path.stat().st_size
    drawn = [*range(0, bits, 7), *random.Random(0).sample(range(bits), 100)]
    found = 0
    for bit in drawn:
        try:
            other = read_sealed(flipped(path, bit), required=required)
        except ValueError:
            found += 1
        else:
            assert other.equals(TABLE), f"bit {bit}"
    assert found >= 0.98 * len(drawn)


def test_a_file_that_was_written_in_pieces_is_sealed(tmp_path):
    path = tmp_path / "t.parquet"
    with pq.ParquetWriter(path, sealable(TABLE.schema)) as writer:
        writer.write_table(TABLE.slice(0, 10))
        writer.write_table(TABLE.slice(10))
    seal(path)
    assert read_sealed(path, required=True).equals(TABLE)
    with pytest.raises(ValueError, match="damaged"):
        check_seal(flipped(path, 8 * 40))


def test_a_file_that_was_rewritten_or_never_sealed_is_read_where_no_seal_is_required(tmp_path):
    path = tmp_path / "t.parquet"
    write_sealed(TABLE, path)
    pq.write_table(pq.read_table(path).slice(0, 5), path)
    assert KEY in pq.read_schema(path).metadata
    assert read_sealed(path).num_rows == 5
    with pytest.raises(ValueError, match="not as it was written"):
        read_sealed(path, required=True)
    pq.write_table(TABLE, path)
    assert read_sealed(path).num_rows == 30


@pytest.mark.parametrize("content", [b"", b"PAR1", b"PAR1" * 10, b"\x00" * 100])
def test_what_is_no_parquet_is_refused_in_one_line(tmp_path, content):
    (tmp_path / "t.parquet").write_bytes(content)
    with pytest.raises(ValueError, match=r"t\.parquet") as raised:
        read_sealed(tmp_path / "t.parquet")
    assert "\n" not in str(raised.value)
    with pytest.raises(FileNotFoundError):
        read_sealed(tmp_path / "none.parquet")
