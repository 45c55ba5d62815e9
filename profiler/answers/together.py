"""Recorded answers to the same texts, or to several sets of texts one after the other. A leaf: no torch."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence

import numpy as np

from profiler.answers.recorded import Answers


def digest(texts: Iterable[str]) -> str:
    """Which texts these are, in this order: 16 hexadecimal digits."""
    found = hashlib.sha256()
    for text in texts:
        found.update(text.encode("utf-8", "surrogatepass") + b"\0")
    return found.hexdigest()[:16]


def same_texts(first: Answers, second: Answers) -> None:
    """Raise ValueError where row numbers of these two do not mean the same texts, or a file does not say which."""
    texts = [each.about.get("texts") for each in (first, second)]
    if texts[0] != texts[1] or texts[0] is None:
        models = " and ".join(str(each.about.get("model")) for each in (first, second))
        said = " and ".join("an unknown one" if each is None else each for each in texts)
        raise ValueError(f"the answers of {models} are to other texts (digests {said}): record both on the same texts")


def concatenated(parts: Sequence[Answers]) -> Answers:
    """The answers to several sets of texts, one after the other; each row's domain is its task, or what it was.

    Raises ValueError for different axes or numbers of stages, and where a set of texts is there twice.
    """
    if len(parts) == 1:
        return parts[0]
    if len({(each.axis, each.stages) for each in parts}) > 1:
        shapes = ", ".join(f"{each.stages} {each.axis}" for each in parts)
        raise ValueError(f"answers by {shapes} cannot be put together: their stages must be the same")
    texts = [each.about.get("texts", "unknown") for each in parts]
    if len(set(texts) - {"unknown"}) < len(texts) - texts.count("unknown"):
        raise ValueError("answers to the same texts are there twice: give each set of texts once")
    domains = [
        np.full(len(each.split), each.about.get("task", "unknown"), object) if each.domain is None else each.domain
        for each in parts
    ]
    if len(set(np.concatenate(domains))) < sum(len(set(own)) for own in domains):
        raise ValueError(f"two files hold texts of the same task ({', '.join(sorted(set(np.concatenate(domains))))})")
    across = ("answer", "confidence", "margin")
    along = ("tokens", "label", "split", "row", "teacher_answer", "teacher_confidence")
    own = {name: np.concatenate([getattr(each, name) for each in parts], axis=-1) for name in (*across, *along)}
    keys = {key for each in parts for key in each.about}
    about = {key: "+".join(dict.fromkeys(each.about.get(key, "unknown") for each in parts)) for key in sorted(keys)}
    about["texts"] = digest(texts)
    return Answers(**own, about=about, axis=parts[0].axis, domain=np.concatenate(domains))
