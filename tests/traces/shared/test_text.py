"""Numbers in text: bytes with their units."""

from __future__ import annotations

import pytest

from traces.shared.text import bytes_of


def test_bytes_are_written_with_units_or_without() -> None:
    for text, expected in {
        "1": 1,
        "1000": 1000,
        "2KiB": 2048,
        "1.5 MiB": 1572864,
        "1e3": 1000,
        "3GiB": 3 * 2**30,
    }.items():
        assert bytes_of(text, "x") == expected


@pytest.mark.parametrize("text", ["", "GiB", "0", "-1", "1GB", "1TiB", "nan", "1e99", "1 2KiB", "inf"])
def test_what_is_no_size_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="adapter_budget"):
        bytes_of(text, "adapter_budget")
