"""Values for flags: mostly of the kind that a flag takes, few of them right."""

from __future__ import annotations

import argparse

import numpy as np

import policies
from policies.registry import fields_of
from traces.lengths import LENGTHS
from traces.processes.generators import GENERATORS
from traces.spec import parameters

WHOLE = (
    "0", "-1", "1", "2", "3", "99999999999999999999", "-99999999999999999999", "2147483648", "1e3", "1.5", "nan", "",
    "0x10", "1_0", " 3", "\N{ARABIC-INDIC DIGIT ONE}", "1" * 5000,
)  # fmt: skip
NUMBERS = (
    "0", "-1", "0.5", "2", "nan", "inf", "-inf", "1e308", "-1e308", "1e-308", "5e-324", "1e18", "1e9", "1e-9", "abc",
    "", "1,5", "1" * 400,
)  # fmt: skip
TEXTS = (
    "", " ", "none", "0", "a\nb", "\udcff", "\0", "é" * 80, "x" * 5000, "--", "-", "-1", "{}", "[]", "null", "a=b",
    "=", "a=", "=b", ":", ";", ",", "a;b", "a,b", "%s", "{0}", "../..", "/", "/dev/null", "/dev/full",
    "/proc/self/mem", ".", "out", "missing", "missing/out", "out.csv", "out.png", "out.parquet", "out.json",
    "trace.csv", "table", "run", "plan", "sweep", "counts.csv", "empty", "folder", "link", "record", "study",
    "keys.json", "session", "pandas.json", "stamps.parquet", "grid.toml", "fit.json",
)  # fmt: skip
POLICIES = (
    "greedy", "none", "adaptive", "timeout(max_batch=0)", "timeout(timeout_s=1e308)", "timeout(timeout_s=nan)",
    "fixed(students=99)", "fixed(students=-1)", "admission(greedy)", "admission()", "admission", "greedy(greedy)",
    "router(greedy)", "margin(greedy)", "autoscale(greedy, most=2)", "hpa(greedy, interval_s=1e-9)", "optimum",
    "margin(greedy, items='trace.csv')", "margin(greedy, items='table')", "tokenbucket(greedy, rate=-1)",
    "slackfit(classes=0)", "smdp(rate=1e-300)", "smdp(penalty=1e300)", "mpc(steps=10000000)", "clipper(samples=0)",
    "nexus", "symphony", "cocktail(interval_s=0)", "switching(window_s=0)", "edf", "strict(greedy)", "lengths",
    "weighted(greedy, classes=('a',), weights=(0,))", "buckets(greedy, edges=(1, 0))", "codel(greedy, target_s=-1)",
    "my_policy:Mine", "my_policy:Nothing", "my_policy:Mine(limit='a')", "nowhere:Mine", "my_policy", "os:system",
    "my_policy:Quits", "my_policy:Stops", "my_policy:Needs", "my_policy:Interrupts", "my_policy:Scales", "quits:P",
    "greedy(", "greedy)", "(" * 300, "greedy; none", "greedy, none", "a b", "1", "'x'", "lambda: 0",
    "admission(" * 120 + "greedy" + ")" * 120,
)  # fmt: skip
TRACES = (
    "poisson", "poisson:", "poisson:rate=0", "poisson:rate=-1", "poisson:rate=1e12", "poisson:duration=1e12",
    "poisson:rate=nan", "poisson:rate=1e-300", "poisson:rate=1,rate=2", "poisson:x=1", "gamma:cv=0", "gamma:cv=1e9",
    "burst:factor=0", "burst:length=0,duration=1", "burst:start=1e300", "mmpp", "diurnal:duration=1",
    "fit:trace.csv", "fit:fit.json", "fit:missing", "tenants:table=table", "tenants:duration=1", "along:trace.csv",
    "along:missing", "constant:rate=10,duration=1", "uniform:duration=1", "nothing:rate=1",
    "poisson:rate=10,duration=0", "zipf", "lognormal:median=0", "lognormal:median=1e300,sigma=1e3",
    "constant:tokens=0", "constant:tokens=1e30", "trace.csv", "trace.parquet", "texts.jsonl", "counts.csv",
    "table.csv", "fit.json",
)  # fmt: skip
_SPECS = {"policy": POLICIES, "policies": POLICIES, "reference": POLICIES, "trace": TRACES, "lengths": TRACES,
          "source": TRACES, "sources": TRACES, "arrivals": TRACES}  # fmt: skip


def value(action: argparse.Action | None, rng: np.random.Generator) -> str:
    """A value for a flag: mostly of its kind."""
    pools: list[tuple[str, ...]] = [TEXTS, WHOLE, NUMBERS, POLICIES, TRACES]
    if action is not None and rng.random() < 0.8:
        own = _SPECS.get(action.dest, {int: WHOLE, float: NUMBERS}.get(action.type, TEXTS))  # type: ignore[call-overload]
        if own is POLICIES and rng.random() < 0.4:
            return _policy(rng)
        if own is TRACES and rng.random() < 0.4:
            return _generated(rng)
        pools = [tuple(map(str, action.choices)) if action.choices and rng.random() < 0.7 else own]
    pool = pools[rng.integers(len(pools))]
    return pool[rng.integers(len(pool))]


def _policy(rng: np.random.Generator) -> str:
    """Any policy that there is, with some of its parameters set, around another where it holds one."""
    name = list(policies.POLICIES)[rng.integers(len(policies.POLICIES))]
    names = list(fields_of(policies.POLICIES[name]))
    words = [f"{names[at]}={_setting(rng)}" for at in rng.permutation(len(names))[: rng.integers(3)]]
    inner = ["greedy"] if rng.random() < 0.5 else []
    return f"{name}({', '.join(inner + words)})"


def _generated(rng: np.random.Generator) -> str:
    """Any generator or lengths, with some of its settings set."""
    functions = {**GENERATORS, **LENGTHS}
    name = list(functions)[rng.integers(len(functions))]
    names = list(parameters(functions[name]))
    words = [f"{names[at]}={_setting(rng)}" for at in rng.permutation(len(names))[: rng.integers(4)]]
    return f"{name}:{','.join([*words, *(['duration=1'] if rng.random() < 0.5 else [])])}"


def _setting(rng: np.random.Generator) -> str:
    more = ("1/5", "0/1", "1e-300/1", "True", "None", "()", "(1, 2)", "'a'", "trace.csv", "1e5", "1e-5", "10")
    pool = (NUMBERS, WHOLE, more, more)[rng.integers(4)]
    return pool[rng.integers(len(pool))]
