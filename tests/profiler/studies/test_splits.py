"""Splits on made-up corpora, against a search by string: nothing evaluated stands in what is trained on."""

from __future__ import annotations

import numpy as np
import pytest

from profiler.studies.containment import Containers, words
from profiler.studies.splits import LINK, Split, containment, divided


def corpus(seed: int, sentences: int = 150) -> list[str]:
    """Sentences and phrases of them, as SST-2 has them; some phrases stand in several, some in other spelling."""
    rng = np.random.default_rng(seed)
    vocabulary = [f"w{number}" for number in range(60)]
    rows: list[str] = []
    for _ in range(sentences):
        own = rng.choice(vocabulary, int(rng.integers(1, 16))).tolist()
        if rows and rng.random() < 0.2:  # a phrase of an earlier sentence within
            own = [*own[:3], *words(rows[int(rng.integers(len(rows)))])[:7], *own[3:]]
        rows.append(" ".join(own))
        for _ in range(4):
            start, end = sorted(rng.integers(0, len(own) + 1, 2).tolist())
            phrase = " ".join(own[start:end])
            if phrase:
                rows.append(phrase if rng.random() < 0.8 else f"{phrase.upper()} , ...!")
    return [rows[place] for place in rng.permutation(len(rows)).tolist()]


def stands_in(inner: str, outer: str) -> bool:
    """The oracle: one string in the other, with blanks around words."""
    own, other = (f" {' '.join(words(text))} " for text in (inner, outer))
    return own in other


def test_containers_are_those_that_a_search_by_string_finds() -> None:
    texts = corpus(0, 40)
    found = Containers([words(text) for text in texts])
    for text in [*texts, "w1 w2", "elsewhere", "w1 w1 w1"]:
        assert found.of(words(text)) == [index for index, other in enumerate(texts) if stands_in(text, other)]


@pytest.mark.parametrize("seed", range(4))
def test_no_evaluated_text_stands_in_a_training_text(seed: int) -> None:
    texts = corpus(seed)
    development = [text.upper() for text in texts[::97]] + ["w3 w4", "never seen"]
    own = divided(texts, development, 100, 0.1, 1000)
    held, tuning, training = ([texts[row] for row in rows] for rows in (own.held_out, own.tuning, own.training))
    assert len(held) >= 100
    assert len(tuning) >= 0.1 * len(training)
    assert len(training) > 150
    for evaluated in (*held, *development):
        assert not any(stands_in(evaluated, other) for other in (*training, *tuning))
    for text in tuning:
        assert not any(stands_in(text, other) for other in training)
    # What is learned from stands in evaluated texts as a turn of phrase only.
    for text in (*training, *tuning):
        if len(words(text)) >= LINK:
            assert not any(stands_in(text, other) for other in (*held, *development))
    assert len({words(text) for text in held}) == len(held)
    rows = [*own.held_out, *own.tuning, *own.training, *own.removed]
    assert len(rows) == len(set(rows))
    assert {words(texts[row]) for row in rows} == set(map(words, texts))


def test_a_phrase_goes_with_its_sentence_unless_another_split_has_it_too() -> None:
    sentences = [f"{'abcdefgh'[n]}1 {'abcdefgh'[n]}2 {'abcdefgh'[n]}3 {'abcdefgh'[n]}4 the film ." for n in range(8)]
    texts = [*sentences, *(" ".join(text.split()[:2]) for text in sentences), "the film"]
    own = divided(texts, [], 4, 0.2, 100)
    for rows in (own.held_out, own.tuning, own.training):
        inside = {texts[row].split()[0] for row in rows} - {"the"}
        assert {texts[row] for row in rows if texts[row] != "the film"} == {
            text for text in texts if text.split()[0] in inside
        }
    assert len(own.held_out) == 4  # two sentences, each with its phrase
    assert texts.index("the film") in own.training


def test_the_report_counts_what_a_careless_split_would_leak() -> None:
    texts = ("a b c d e f", "b c", "x y", "g h i", "B, C!")

    def split(*rows: int) -> Split:
        return Split(tuple(texts[row] for row in rows), np.zeros(len(rows), np.int64), np.array(rows))

    found = containment(split(0, 2), split(3), {"held-out": split(1, 4)})
    assert found["held-out"] == {
        "texts": 2, "in_training": 2, "in_tuning": 0, "training_inside": 0, "longest_inside": 0, "half_known": 0.0
    }  # fmt: skip
    found = containment(split(1, 4), split(3), {"held-out": split(0, 2)})
    assert found["held-out"]["in_training"] == 0
    assert (found["held-out"]["training_inside"], found["held-out"]["longest_inside"]) == (1, 2)
    assert found["held-out"]["half_known"] == 0.0
    assert found["tuning"]["in_training"] == 0
