"""Every policy of exits keeps the rules of the conformance suite where batches really have ramps."""

from __future__ import annotations

from math import inf

import numpy as np
import pytest
from exit_doubles import made_up, table, traffic, write

from policies import make
from profiler.answers.recorded import Answers
from simulator.conformance.cases import Case
from simulator.conformance.check import keep, run, same
from simulator.conformance.drawing import EXITS
from simulator.conformance.invariants import RULES
from traces import Trace


@pytest.fixture(scope="module")
def items() -> Answers:
    return made_up(served=4000, tuning=1000)


@pytest.fixture(scope="module")
def recorded(items: Answers, tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(write(tmp_path_factory.mktemp("exits") / "items.parquet", items))


def case(items: Answers, gpus: int) -> Case:
    """Traffic whose second half is another in its twin."""
    trace, other = (traffic(items, requests=800, load=0.8 * gpus, seed=seed) for seed in (1, 2))
    half, cut = len(trace) // 2, float(trace.arrival_s[len(trace) // 2])
    twin = Trace(
        trace.arrival_s,
        np.concatenate([trace.tokens[:half], other.tokens[half:]]),
        item=np.concatenate([trace.item[:half], other.item[half:]]),
    )
    return Case(f"exits on {gpus}", trace, twin, cut, table(), gpus, 1.0)


@pytest.mark.parametrize("name", sorted(EXITS))
def test_policies_of_exits_keep_the_rules(items: Answers, recorded: str, name: str) -> None:
    for gpus, inner in ((1, "greedy"), (2, "timeout")):
        tried, spec = case(items, gpus), f"{name}({inner}, items={recorded!r})"
        report, log = run(make(spec), tried, tried.trace)
        assert report.summary["exit_layer_mean"] is not None
        for rule in RULES:
            keep(rule, report, log, tried)
        same(log, run(make(spec), tried, tried.trace)[1], inf, "I4: again", tried)
        if not name.startswith("oracle"):
            same(log, run(make(spec), tried, tried.twin)[1], tried.cut, "I5: the future", tried)
