"""Tenants made of data sets: small tasks with the splits of those, and what is said of their accuracies."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.stats import ttest_1samp, ttest_rel

from profiler.models import lookup
from profiler.studies import accuracies
from profiler.studies.splits import Split
from profiler.studies.tasks import Task
from profiler.studies.tenants import TRAINING, Tenant, distinct, tenants

WORDS = [f"w{number}" for number in range(300)]


def split(classes: int, count: int, rng: np.random.Generator, more: str = "") -> Split:
    texts = tuple(
        " ".join([more, *(WORDS[word] for word in rng.integers(0, 300, rng.integers(3, 25)))]) for _ in range(count)
    )
    return Split(texts, rng.integers(0, classes, count), np.arange(count))


def task(name: str, classes: tuple[str, ...], more: str = "") -> Task:
    rng = np.random.default_rng(len(name))
    training, tuning, evaluated = (split(len(classes), count, rng, more) for count in (3000, 500, 900))
    return Task(name, classes, training, tuning, {"held-out": evaluated}, 0)


def made() -> dict[str, Task]:
    banking = tuple(f"{word}_{number}" for number in range(11) for word in ("card", "Transfer", "top_up", "cash"))
    return {
        "banking77": task("banking77", banking),
        "snips": task("snips", tuple("ABCDEFG")),
        "sst2": task("sst2", ("0", "1"), more="a film"),
    }


def test_tenants_keep_the_splits_of_their_data_sets() -> None:
    data = made()
    found = tenants(data, 0)
    assert len({tenant.name for tenant in found}) == len(found) > 30
    assert [tenant.name for tenant in tenants(data, 1)] != [tenant.name for tenant in found]
    for tenant in found:
        whole = data[tenant.task]
        origin = {"training": whole.training, "tuning": whole.tuning, "evaluated": whole.evaluated["held-out"]}
        assert len(tenant.training) <= TRAINING
        for name, own in tenant.splits.items():
            assert set(own.texts) <= set(origin[name].texts)
            assert len(set(own.texts)) == len(own) > 0
            assert set(own.labels.tolist()) <= set(range(len(tenant.classes)))
            for text, label, row in zip(own.texts, own.labels.tolist(), own.rows.tolist(), strict=True):
                assert origin[name].texts[row] == text
                if tenant.kind == "intents":
                    assert tenant.classes[label] == whole.classes[origin[name].labels[row]]
            if tenant.kind == "question":
                assert (own.labels == 0).sum() == (own.labels == 1).sum()


def test_a_question_is_whether_the_name_of_the_intent_has_the_word() -> None:
    data = made()
    question = next(tenant for tenant in tenants(data, 0) if tenant.name == "banking77-about-transfer")
    names = [data["banking77"].classes[data["banking77"].training.labels[row]] for row in question.training.rows]
    assert ["transfer" in name.lower() for name in names] == question.training.labels.astype(bool).tolist()


def tenant(name: str, kind: str, labels: list[int]) -> Tenant:
    own = Split(tuple(f"{name} {row}" for row in range(len(labels))), np.array(labels), np.arange(len(labels)))
    return Tenant(name, "toy", kind, ("a", "b"), own, own, own)


def test_gaps_are_paired_over_the_tenants_that_have_both() -> None:
    rng = np.random.default_rng(3)
    every = [
        tenant(f"t{number}", "intents" if number < 4 else "question", rng.integers(0, 2, 40).tolist())
        for number in range(9)
    ]
    found: dict[tuple[str, str], accuracies.Answers] = {}
    for number, own in enumerate(every):
        labels = torch.from_numpy(own.evaluated.labels)
        wrong = {"computed": number, "10": 2 * number + 1}
        found[own.name, "adapters"] = {
            f"evaluated {states}": torch.where(torch.arange(40) < count, 1 - labels, labels)
            for states, count in wrong.items()
        }
        if number < 5:
            found[own.name, "full"] = {"evaluated computed": labels, "tuning computed": labels}
    rows = accuracies.accuracy_rows(every, found)
    assert len(rows) == 23
    assert rows[0]["accuracy"] == 1.0
    assert 0.9 < rows[0]["low"] < rows[0]["high"] == 1.0
    whole = {(row["trained"], row["states"]): row for row in accuracies.summary(rows) if row["kind"] == "all"}
    exact, looked = 1 - np.arange(9) / 40, 1 - (2 * np.arange(9) + 1) / 40
    base = whole["adapters", "computed"]
    assert [base["low"], base["high"]] == pytest.approx(list(ttest_1samp(exact, 0).confidence_interval()))
    assert "gap" not in base
    ends = ttest_rel(looked, exact).confidence_interval()
    own = whole["adapters", "10"]
    assert [own["gap_low"], own["gap_high"]] == pytest.approx(list(ends), abs=1e-6)
    assert whole["full", "computed"]["tenants"] == 5
    assert whole["full", "computed"]["gap"] == pytest.approx((1 - exact)[:5].mean())


def test_coverage_counts_tokens_by_the_longest_window() -> None:
    known = torch.tensor([[3, 4, 5, 3, 4]])
    keys = lookup.commonest(lookup.windows(known, torch.tensor([5])))
    other = torch.tensor([[3, 4, 5, 9, 4]])  # two are known, 5 alone, 9 not at all, 4 without what is before it
    texts = {"own": lookup.windows(known, torch.tensor([5])), "other": lookup.windows(other, torch.tensor([5]))}
    whole, other_row = accuracies.coverage_rows([len(keys)], keys, texts, lambda size, name: {"own": 0.5}.get(name))
    assert (whole["trigram"], whole["unknown"], whole["explained"]) == (1.0, 0.0, 0.5)
    shares = {kind: other_row[kind] for kind in ("trigram", "bigram", "unigram", "unknown")}
    assert shares == {"trigram": 0.4, "bigram": 0.2, "unigram": 0.2, "unknown": 0.2}


def test_a_leak_between_tenants_stands_in_the_card() -> None:
    clean, other = tenant("clean", "intents", [0, 1]), tenant("other", "intents", [0, 1])
    table = {"toy": Split(("nothing of theirs",), np.zeros(1, np.int64), np.arange(1))}
    leaking = accuracies.known_before([clean, other], table)["toy"]["evaluated"]
    assert leaking["in_training"] == len(distinct([clean.evaluated, other.evaluated])) == 4
