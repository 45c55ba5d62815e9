"""Length models: their distributions, files as models, clipping."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest

from traces import Trace, load, write
from traces.lengths import LENGTHS, SHORT_TEXT

MANY = "constant:rate=10000,duration=10"


def test_short_text_is_an_equal_mixture_of_three_published_sets() -> None:
    values = SHORT_TEXT.values
    assert SHORT_TEXT.median == np.median(values) == 15
    assert (values.min(), values.max()) == (3, 98)
    # A third of each set lies above its own median, half of that is a sixth of all: SST-2's is 24.
    assert (values > 44).mean() == pytest.approx((0.05 + 0.033 + 0) / 3, abs=0.006)


def test_every_model_draws_by_its_settings() -> None:
    assert set(load(MANY, lengths="constant:32").tokens) == {32}
    assert np.bincount(load(MANY, lengths="uniform:low=3,high=6").tokens)[3:] == pytest.approx([25_000] * 4, rel=0.03)
    lognormal = load(MANY, lengths="lognormal:median=20,sigma=0.5,high=4096").tokens
    assert np.median(lognormal) == 20
    assert np.log(lognormal).std() == pytest.approx(0.5, rel=0.02)
    assert set(LENGTHS) == {"short-text", "lognormal", "uniform", "constant"}


def test_lengths_of_a_file_are_drawn_from_its_rows(tmp_path: Path) -> None:
    (tmp_path / "lengths.csv").write_text("tokens\n5\n5\n5\n9\n")
    pyarrow.parquet.write_table(pa.table({"tokens": [5, 5, 5, 9]}), tmp_path / "lengths.parquet")
    for spec in (tmp_path / "lengths.csv", f"empirical:{tmp_path / 'lengths.csv'}", tmp_path / "lengths.parquet"):
        tokens = load(MANY, lengths=spec).tokens
        assert set(tokens) == {5, 9}
        assert (tokens == 5).mean() == pytest.approx(0.75, abs=0.01)


def test_lengths_along_a_trace_follow_its_time(tmp_path: Path) -> None:
    seconds = np.linspace(0, 100, 10_001)
    write(Trace(seconds, np.where(seconds < 50, 10, 40)), tmp_path / "trace.csv")
    tokens = load(MANY, lengths=f"along:{tmp_path / 'trace.csv'}").tokens
    assert set(tokens[:49_000]) == {10}
    assert set(tokens[51_000:]) == {40}


def test_lengths_replace_those_of_a_trace_and_add_a_note(tmp_path: Path) -> None:
    write(load("poisson:duration=1"), tmp_path / "trace.csv")
    trace = load(tmp_path / "trace.csv", lengths="constant:7")
    assert set(trace.tokens) == {7}
    assert any("constant:7, replacing" in note for note in trace.notes)


def test_drawn_lengths_are_clipped_to_the_table_and_counted() -> None:
    trace = load(MANY, lengths="uniform:low=1,high=100", max_tokens=90)
    clipped = next(note for note in trace.notes if "clipped" in note)
    assert int(clipped.split()[0]) == pytest.approx(10_000, rel=0.05)
    assert trace.tokens.max() == 90


@pytest.mark.parametrize(
    ("spec", "error", "message"),
    [
        ("nosuch", LookupError, "'nosuch'.*short-text"),
        ("along:nosuch.csv", LookupError, r"no file 'nosuch\.csv'"),
        ("uniform:low=5,high=4", ValueError, "low is 5.*high is 4"),
        ("constant:0", ValueError, "low is 0"),
        ("lognormal:median=-1", ValueError, "must be positive"),
        ("uniform:lo=5", ValueError, "uniform.* lo;.*low, high"),
    ],
)
def test_bad_length_specs_are_errors_that_name_the_mistake(spec: str, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        load("poisson:", lengths=spec)


def test_a_file_of_text_without_counts_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "arrivals.csv").write_text("arrival_s,text\n1,hello\n")
    with pytest.raises(ValueError, match=r"arrivals\.csv.*token counts"):
        load("poisson:", lengths=tmp_path / "arrivals.csv")


def test_tokens_of_text_are_counted_by_a_tokenizer(tmp_path: Path) -> None:
    tokenizers = pytest.importorskip("tokenizers")
    words = {"[UNK]": 0, "[CLS]": 1, "[SEP]": 2, "good": 3, "film": 4}
    tokenizer = tokenizers.Tokenizer(tokenizers.models.WordLevel(words, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    tokenizer.post_processor = tokenizers.processors.BertProcessing(("[SEP]", 2), ("[CLS]", 1))
    tokenizer.enable_truncation(2)
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    (tmp_path / "texts.txt").write_text("good film\ngood\n")
    trace = load(tmp_path / "texts.txt", arrivals="constant:rate=1", tokenizer=tmp_path)
    assert trace.tokens.tolist() == [4, 3]


def test_a_folder_without_tokenizer_is_named(tmp_path: Path) -> None:
    pytest.importorskip("tokenizers")
    (tmp_path / "texts.txt").write_text("good film\n")
    with pytest.raises(LookupError, match=r"has no tokenizer\.json"):
        load(tmp_path / "texts.txt", arrivals="constant:rate=1", tokenizer=tmp_path)
