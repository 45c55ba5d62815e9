"""Capacity, plans and runs with a packed table: the tokens that are computed decide, not their padding."""

from __future__ import annotations

import numpy as np
import pytest

import analysis
from profiler.table import Deployment
from profiler.table.writing import write_table
from simulator.conformance.cases import formula, packed_formula
from simulator.settings import Settings, prepare

#: Half of all texts are short, half are long: padding computes about twice the tokens.
LENGTHS = "uniform:low=2,high=64"
BATCHES = (1, 2, 4, 8, 16)
ASKED = {"lengths": LENGTHS, "slo_ms": 40.0, "seeds": 1}


@pytest.fixture(scope="module")
def tables(tmp_path_factory):
    """By layout: 200 us, and 0.5 us per student and row; the packed one is filled up by less than a tenth."""
    folder = tmp_path_factory.mktemp("tables")
    totals = sorted({*np.geomspace(8, 1024, 60).round().astype(int).tolist()})
    made = {"padded": formula([1, 2], BATCHES, [16, 32, 64]), "packed": packed_formula([1, 2], BATCHES, totals)}
    for name, table in made.items():
        rows = [
            {"model": model, "students": k, "task": task, "accuracy": a} for model, k, task, a in table.accuracy.rows
        ]
        write_table(folder / name, table.records(), table.meta, accuracy=rows)
    return {name: str(folder / name) for name in made}


@pytest.mark.parametrize(("policy", "least"), [("greedy", 1.2), pytest.param("adaptive", 1.05, marks=pytest.mark.slow)])
def test_the_capacity_of_a_packed_table_is_that_of_its_tokens(tables, policy, least):
    """adaptive keeps texts of like length together, so that padding costs it less."""
    found = {name: analysis.capacity(policy=[policy], table=table, requests=3000, tolerance=0.05, **ASKED)
             for name, table in tables.items()}  # fmt: skip
    ratio = float(found["packed"]["capacity"].iloc[0] / found["padded"]["capacity"].iloc[0])
    work = {}
    for name, table in tables.items():
        deployment = Deployment.of(table)
        rng, plan = np.random.default_rng(0), deployment.plan
        mixes = [rng.integers(2, 65, BATCHES[-1]).tolist() for _ in range(200)]
        work[name] = np.mean([deployment.predictions.service[-1][plan.kind(mix)][len(mix)] for mix in mixes])
    assert least < ratio < 1.25 * work["padded"] / work["packed"]


def test_a_plan_needs_fewer_gpus_without_padding(tables):
    trace = "poisson:rate=30000,duration=0.3"
    gpus = {}
    for name, table in tables.items():
        found = analysis.plan(trace, tables=table, policies="greedy", **ASKED)
        gpus[name] = found.choices[0].best.gpus
    assert gpus["packed"] < gpus["padded"]


def test_the_padding_of_a_packed_run_is_its_filler(tables):
    prepared = prepare(
        Settings(trace="poisson:rate=800,duration=2", table=tables["packed"], lengths=LENGTHS, slo_ms=40)
    )
    for policy in ("greedy", "tokenbudget", "lengths", "adaptive"):
        report = prepared.run(policy)
        rows = int(report.batches["padded_tokens"].sum())
        served = report.requests["outcome"].isin(["ok", "late"])
        assert report.summary["padding"] == pytest.approx(1 - report.requests["tokens"][served].sum() / rows)
        assert 0 <= report.summary["padding"] < 0.12
