"""Progress in a pipe: a line every ten seconds, by what this run has done itself."""

from __future__ import annotations

import pytest

from traces.shared.progress import EVERY_S, Lines


def test_a_line_every_ten_seconds_says_what_is_left(capsys: pytest.CaptureFixture[str]) -> None:
    clock = [0.0]
    lines = Lines(lambda: clock[0])
    for second in range(41):
        clock[0] = float(second)
        lines(0.5 + second / 200, f"cells {second}")  # half was found
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 40 / EVERY_S
    assert said[0].split() == ["55%", "cells", "10;", "about", "90", "s", "left"] or "2 min" in said[0]
    assert "cells 40" in said[-1]
    assert "60 s" in said[-1]
