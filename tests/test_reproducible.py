"""I4: the same bytes with any number of BLAS threads."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from traces.shared.sums import dot

ROOT = Path(__file__).parents[1]
#: 25,000 batches of one request; OpenBLAS shares out sums of more than 10,000.
MANY_BATCHES = """
import numpy as np
from conftest import formula_table
from simulator import simulate
from simulator.reporting.output import to_json
from traces import Trace
rng = np.random.default_rng(0)
trace = Trace(rng.exponential(1e-3, 25_000).cumsum(), rng.integers(1, 17, 25_000).astype(np.int32))
table = formula_table(lambda k, b, t: 50 + 7 * k + b, students=(1, 2, 3), accuracy=lambda k: 0.7 + k / 31)
report = simulate(trace, "{policy}", table)
assert report.summary["batches"] > 10_000
print(to_json(report.summary), report.requests.to_csv())
"""
#: 257 states; OpenBLAS shares out systems of about 100 equations and more.
PLANS = """
from profiler.table import Deployment
from policies.pruning.smdp import actions_of, optimal_plan
rows = [[(40 + 7 * level) * (1 + b / 40) * 1e-6 for b in range(129)] for level in range(1, 9)]
sizes = [1, 2, 4, 8, 16, 32, 64, 128]
plan = optimal_plan(actions_of(rows, [0.8 + level / 50 for level in range(8)], sizes), 300_000.0, 30.0, 256)
print(repr(plan.gain), plan.choice.tolist())
"""
#: More states than most, solved by a sparse factorisation.
OUTLOOK = """
from policies.pruning.adaptive.outlook import Outlook
sizes = [1, 2, 4, 8, 16, 32, 64, 128] * 8
seconds = [0.002 * (1 + b / 40) * (1 + i // 8) for i, b in enumerate(sizes)]
losses = [0.3 - 0.03 * (i // 8) for i in range(64)]
of = dict(sizes=sizes, seconds=seconds, losses=losses, reach=[1.0] * 64)
outlook = Outlook(10_000.0, 4.0, **of, worst=1.0, gpus=4)
print([outlook.at(n, age) for n in range(0, 20_000, 7) for age in (0, 0.1, 0.5, 0.9)], outlook.per_slo)
"""
PROGRAMS = {
    "none": MANY_BATCHES.format(policy="none"),
    "bentoml": MANY_BATCHES.format(policy="bentoml(samples=20000, refresh_s=0.5, max_batch=1, max_latency_s=1.0)"),
    "smdp": PLANS,
    "adaptive": OUTLOOK,
}


@pytest.mark.parametrize("program", PROGRAMS.values(), ids=PROGRAMS)
def test_results_do_not_depend_on_the_threads_of_blas(program):
    def printed(threads):
        more = {"OPENBLAS_NUM_THREADS": threads, "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'tests'}"}
        done = subprocess.run(
            [sys.executable, "-c", program], cwd=ROOT, env=os.environ | more, capture_output=True, check=True
        )
        return done.stdout

    first = printed("1")
    assert len(first) > 100
    assert printed("2") == first


def test_dot_sums_products_over_the_last_axis():
    a, b = np.arange(6.0).reshape(2, 3), np.array([1.0, 10.0, 100.0])
    assert dot(a, b).tolist() == [210.0, 543.0]
    assert dot([1, 2], [3, 4]) == 11.0


#: What numpy hands to BLAS and LAPACK.
_BLAS = {"dot", "vdot", "inner", "matmul", "tensordot", "cov", "corrcoef", "convolve", "correlate", "polyfit", "linalg"}
_REPORTED = ("traces", "policies", "simulator", "analysis", "profiler/table", "profiler/answers")


def test_no_reported_number_passes_through_blas():
    found = {
        str(path.relative_to(ROOT))
        for folder in _REPORTED
        for path in (ROOT / folder).rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if (isinstance(node, ast.BinOp) and isinstance(node.op, ast.MatMult))
        or (isinstance(node, ast.Attribute) and node.attr in _BLAS and getattr(node.value, "id", "") == "np")
    }
    assert not found
