"""Which texts stand inside others, word for word. Without torch."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Sequence
from itertools import pairwise

#: A text's words in order, as they are compared.
Words = tuple[str, ...]
_WORD = re.compile(r"\w+")


def words(text: str) -> Words:
    """The words of a text in lower case, without punctuation; of a text of punctuation alone, its marks."""
    lower = text.lower()
    return tuple(_WORD.findall(lower)) or tuple(lower.split())


class Containers:
    """An index of texts that finds those which contain another text.

    A text is looked up by the rarest pair of neighbouring words in it, and every occurrence of that pair is compared.
    """

    def __init__(self, texts: Sequence[Words]) -> None:
        self._texts = texts
        self._by_word: dict[str, list[int]] = defaultdict(list)
        self._by_pair: dict[tuple[str, str], list[tuple[int, int]]] = defaultdict(list)
        for index, own in enumerate(texts):
            for word in dict.fromkeys(own):
                self._by_word[word].append(index)
            for place, pair in enumerate(pairwise(own)):
                self._by_pair[pair].append((index, place))

    def of(self, own: Words) -> list[int]:
        """The texts in which these words stand side by side, in this order; an equal text is one of them. Ascending."""
        if len(own) == 1:
            return list(self._by_word.get(own[0], ()))
        offset, pair = min(enumerate(pairwise(own)), key=lambda pair: len(self._by_pair.get(pair[1], ())))
        found = dict[int, None]()
        for index, place in self._by_pair.get(pair, ()):
            start = place - offset
            if start >= 0 and self._texts[index][start : start + len(own)] == own:
                found[index] = None
        return list(found)
