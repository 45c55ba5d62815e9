"""Invariants I1 to I6 and I8 to I10 in random cases of random policies, and the command that tries them."""

from __future__ import annotations

import re
import shlex
from collections import Counter

import numpy as np
import pytest
from trials import Trial, record
from trying_cases import found, main

from policies import POLICIES, RESIDENCY
from simulator import simulate
from simulator.conformance.cases import random_case
from simulator.conformance.drawing import ON_DEMAND

#: 2,000 cases in the default run; `python tests/simulator/random_cases --cases 100000` tries more.
PARTS, CASES = 4, 500
PLAIN = (
    "none",
    "greedy",
    "timeout(max_batch=4, timeout_s=0.0005)",
    "triton",
    "adaptive",
    "admission(greedy, max_waiting=3)",
)
SPYING = """from policies import Dispatch


class Spy:
    def decide(self, view):
        soon = view._backlog.next_arrival() < view.now + 1e-3
        return Dispatch(view.oldest(1), view.levels[0 if soon else -1])
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    found = tmp_path_factory.mktemp("recorded")
    record(found)
    return found


@pytest.mark.parametrize("part", range(PARTS))
def test_random_cases_of_all_policies_keep_all_rules(part, folder):
    names, kinds = Counter(), Counter()
    for seed in range(part * CASES, (part + 1) * CASES):
        trial = Trial(seed, folder)
        trial.check()
        names.update(set(re.findall(r"[\w.:]+(?=\()", trial.spec)))
        kinds.update((trial.more, trial.noisy, ("device", trial.device)))
    assert set(names) == {*POLICIES, ON_DEMAND} - {*RESIDENCY}
    assert PARTS * min(names.values()) >= 20
    assert len(kinds) == 5 + 2 + 6


def test_a_broken_rule_is_told_with_the_command_that_repeats_it(tmp_path, monkeypatch, capsys):
    (tmp_path / "spying.py").write_text(SPYING)
    monkeypatch.syspath_prepend(tmp_path)
    assert main(["--cases", "100", "--policies", "spying:Spy; spying:Spy()"]) == 1
    (line,) = capsys.readouterr().out.splitlines()
    assert line.startswith("I5")
    command = shlex.split(line)
    assert main(command[command.index("--cases") :]) == 1
    assert capsys.readouterr().out.splitlines() == [line]


def test_the_command_ends_with_the_usual_statuses(monkeypatch, capsys, folder):
    assert main(["--cases", "3", "--seed", "7"]) == 0
    assert main(["--cases", "0"]) == 2
    assert main(["--cases", "1", "--policies", "greddy"]) == 2
    assert found(folder, ["greedy"], 5) == ""

    def interrupted(self):
        raise KeyboardInterrupt

    monkeypatch.setattr(Trial, "check", interrupted)
    assert main(["--cases", "3"]) == 130


@pytest.mark.parametrize("seed", range(30))
def test_the_summary_follows_from_the_columns(seed):
    case = random_case(seed, most=60)
    report = simulate(case.trace, PLAIN[seed % len(PLAIN)], case.table, gpus=case.gpus, slo_s=case.slo_s)
    requests, batches, summary, trace = report.requests, report.batches, report.summary, case.trace
    slo = case.slo_s if trace.slo_s is None else np.where(np.isnan(trace.slo_s), case.slo_s, trace.slo_s)
    late = requests["finish_s"] > trace.arrival_s + slo
    assert np.array_equal(late, requests["outcome"] == "late")
    on_time = requests["outcome"] == "ok"
    assert summary["attainment"] == on_time.mean()
    accuracy = {level.students: level.accuracy for level in report.levels}
    worth = sum(accuracy[k] for k in requests["students"][on_time].tolist())
    assert summary["accuracy_weighted_goodput"] == pytest.approx(worth / len(trace))
    if len(batches["size"]):
        assert summary["padding"] == pytest.approx(
            1 - requests["tokens"][requests["batch"] >= 0].sum() / batches["padded_tokens"].sum()
        )
        assert summary["batch_mean"] == pytest.approx(batches["size"].mean())
        assert 0 < summary["utilisation"] <= 1 + 1e-12
        longest = [requests["tokens"][requests["batch"] == b].max() for b in batches["batch"]]
        assert batches["tokens_max"].tolist() == longest
    seconds = trace.arrival_s[-1] - trace.arrival_s[0]
    assert summary["goodput"] == (pytest.approx(on_time.sum() / seconds) if seconds else None)
