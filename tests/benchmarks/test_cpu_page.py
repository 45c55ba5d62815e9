"""The page of the CPU benchmark: ratios to ours, aims by their medians, and the command itself on a small model."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("transformers", reason="transformers is not installed")

from executor_cpu import main
from processor.page import Row, aims, page

from profiler.table import ShapeKey

ROWS = [
    Row(
        threads, "students-2x384", ShapeKey(8, batch, 32), {"hf sdpa": 4.0, "onnx": 3.0, "ours": 2.0, "ours bf16": fast}
    )
    for threads, fast in ((1, 1.0), (2, 2.0))
    for batch in (1, 8)
]


def test_ratios_are_over_ours_and_aims_over_onnx_runtime() -> None:
    text = page(ROWS, {"students-2x384/8": {"ours": 2e-7, "ours bf16": 8e-3}}, ["about"])
    assert "| students-2x384 | 8 | 1 | 32 | 2000.00 | 2.00 | 1.50 | 0.50 |" in text
    assert "| students-2x384/8 | - | - | 2.0e-07 | 8.0e-03 |" in text
    assert [line.rpartition(": ")[2] for line in aims(ROWS)] == ["met", "met", "met", "missed"]


@pytest.mark.slow
def test_the_quick_run_writes_a_page(tmp_path: Path) -> None:
    assert main(["--quick", "--ways", "hf sdpa,hf vmap,ours", "--page", str(tmp_path / "cpu.md")]) in (0, 1)
    assert "## Answers" in (tmp_path / "cpu.md").read_text()
