"""What every policy decides, kept in a file, so that a change of the code can be replayed against it.

    python benchmarks/replay.py record FILE [--only SUBSTRING] [--workers 2]
    python benchmarks/replay.py check FILE [--only SUBSTRING] [--workers 2]
    python benchmarks/replay.py decisions SPEC TABLE TRAFFIC GPUS [service_noise=profiled]

record: every policy with its defaults (wrappers around greedy) on two tables, three kinds of traffic, one and three
GPUs; variants and compositions on the burst and on the overload; some runs with measured noise, with two models, and
over groups of GPUs. Of each run it keeps digests of its decisions, of every column of the report and of the summary,
and a few figures. Numbers in angle brackets are multiples of the default target: `timeout(timeout_s=<0.2>)`.

check: runs again what the file lists, prints what differs and ends with status 1 where a plain run does. Runs that are
not plain need stops, layers or groups; they are compared, too, but never fail. Columns that are new are named, and are
no difference. decisions: prints every decision of one run, for a diff between two checkouts.

The file also says what made it: another version of numpy may round otherwise, and so may another kind of processor.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import multiprocessing
import os
import platform
import re
import resource
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, field, fields, is_dataclass
from functools import cache
from itertools import product
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

import simulator
from policies import POLICIES, RESIDENCY, make
from profiler.table import LatencyTable
from simulator import simulate
from traces import Trace
from traces.shared.origin import commit

Kept = dict[str, Any]
Result = TypeVar("Result")

#: Per table, about how many requests per second full batches of like lengths serve at the highest level, and the
#: default target in seconds. Written down here, so that the traffic stays what it is whatever the code says.
TABLES = {"synthetic": (14_600.0, 0.004), "cpu-epyc-1thread": (59.0, 0.16)}
GROUPS = {"split:h200-modelled,gpus=4,reduce_us=8": (225_000.0, 0.00047)}
#: Where the modelled table lies as it was when runs were recorded.
PINNED = Path(__file__).parents[1] / "tests" / "data" / "tables" / "h200-modelled"
TRAFFIC = ("poisson", "burst", "overload")
#: Loads of each kind, and up to which share of the requests.
LOADS = {
    "poisson": ([1.0], [0.3]),
    "burst": ([0.3, 0.6, 0.8, 0.9, 1.0], [0.25, 2.0, 0.25, 1.5, 0.2]),
    "overload": ([1.0], [1.1]),
    "short": ([1.0], [2.5]),
}
REQUESTS, SHORT = 3000, 300
CLASSES = ("gold", "silver", "bronze")
FIGURES = ("requests", "batches", "attainment", "p99_s", "students_mean")

#: Else the order of sums (BLAS) and of what is equal in sorting (numpy) differs from processor to processor.
SAME = {f"{library}_NUM_THREADS": "1" for library in ("OMP", "OPENBLAS", "MKL")} | {
    "OPENBLAS_CORETYPE": "Haswell",
    "NPY_DISABLE_CPU_FEATURES": "X86_V4 AVX512_ICL AVX512_SPR",
}

FLEET = "interval_s=<1>, down_delay_s=<6>, most=6"
#: What the defaults do not exercise.
VARIANTS = (
    "timeout(max_batch=8, timeout_s=<0.2>)",
    "triton(preferred=(4, 8), delay_s=<0.2>)",
    "fixed(students=1)",
    "bentoml(refresh_s=<3>, tick_s=<0.05>)",
    "nexus(lazy=True)",
    "shepherd(ratio=1.3)",
    "shepherd(preempt=False)",
    "adaptive(drop='hopeless')",
    "adaptive(window=4.0, max_batch=12)",
    "slackfit(drop=True)",
    "slackfit(choice='batch', drop=True)",
    "slackfit(choice='accuracy', drop=True)",
    "accscale(period_s=<3>)",
    "switching(window_s=<4>, period_s=<0.5>, votes=3)",
    "cocktail(interval_s=<2>)",
    f"cocktail(interval_s=<2>, classes={CLASSES[:2]}, losses=(0.0, 0.01))",
    "admission(adaptive)",
    "admission(greedy, max_waiting=60, hopeless=False)",
    "admission(edf)",
    "predicted(adaptive)",
    "predicted(greedy, full=True)",
    "codel(adaptive)",
    "codel(greedy, target_s=<0.3>, interval_s=<2>)",
    "tokenbucket(adaptive)",
    "tokenbucket(greedy, burst=20.0, classes=('gold',))",
    "tokenbucket(codel(predicted(timeout), target_s=<0.2>, interval_s=<1>), classes=('gold',))",
    "buckets(adaptive)",
    "buckets(timeout(timeout_s=<0.3>), edges=(16, 64))",
    f"strict(greedy, classes={CLASSES})",
    f"strict(adaptive, classes={CLASSES})",
    f"weighted(timeout(timeout_s=<0.3>), classes={CLASSES})",
    f"weighted(adaptive, classes={CLASSES}, weights=(3, 2, 1))",
    f"autoscale(greedy, target=20.0, look_back_s=<2>, up_delay_s=<1>, {FLEET})",
    f"hpa(adaptive, {FLEET})",
    "tail(greedy, interval_s=<1>, window_s=<4>, most=6)",
    "margin(adaptive)",
    "margin(timeout(timeout_s=<0.2>), flips=0.03)",
    "lazybatching(conservative=False)",
)
#: Those that several GPUs are for.
ON_THREE = (
    "router(greedy, rule='round-robin')",
    "router(greedy, rule='two-choices')",
    "router(greedy, rule='least-backlog')",
    "router(adaptive)",
    "router(buckets(timeout(timeout_s=<0.3>)), rule='least-backlog')",
    "router(shepherd, rule='least-backlog')",
    "router(admission(greedy, max_waiting=30))",
    "admission(router(timeout, rule='two-choices'), max_waiting=60)",
    f"autoscale(router(timeout), target=20.0, look_back_s=<2>, up_delay_s=<1>, {FLEET})",
    "router(lazybatching)",
    "router(margin(adaptive), rule='least-backlog')",
)
#: The table that knows how times spread, and has several models.
MEASURED = "cpu-epyc-1thread"
NOISY = ("greedy", "timeout", "adaptive", "nexus")
#: Several models at once.
MODELS = "students-2x384,teacher-6x384"
CHOOSERS = (
    "greedy",
    "adaptive",
    "slackfit",
    "switching(window_s=<4>, period_s=<0.5>, votes=3)",
    "cascadeserve",
    "deferral",
)
GROUPED = ("greedy", "adaptive", "fixed(students=8)")


@dataclass(frozen=True, order=True)
class Run:
    """One run; options are further arguments of `simulate`."""

    spec: str
    table: str
    traffic: str
    gpus: int
    options: dict[str, str] = field(default_factory=dict, compare=False)

    @property
    def plain(self) -> bool:
        """Whether it needs neither stops nor layers nor groups."""
        needing = ("margin(", "lazybatching", "cascadeserve", "deferral")
        return not (self.table in GROUPS or any(each in self.spec for each in needing))

    def __str__(self) -> str:
        options = "".join(f", {name}={value}" for name, value in self.options.items())
        return f"{self.spec} on {self.table}, {self.traffic}, {self.gpus} GPU{'s'[: self.gpus - 1]}{options}"


def runs() -> Iterator[Run]:
    """All that is recorded."""
    for name, cls in POLICIES.items():
        if name == "optimum":  # which is exact for one GPU and one length
            yield from (Run(name, table, "short", 1) for table in TABLES)
            continue
        if name == "deferral" or name in RESIDENCY:  # which needs both models: CHOOSERS has it; or tenants
            continue
        spec = f"{name}(greedy)" if any(each.name == "inner" for each in fields(cls)) else name
        yield from (Run(spec, *where) for where in product(TABLES, TRAFFIC, (1, 3)))
    yield from (Run(spec, *where, 1) for spec in VARIANTS for where in product(TABLES, TRAFFIC[1:]))
    yield from (Run(spec, *where, 3) for spec in ON_THREE for where in product(TABLES, TRAFFIC[1:]))
    for gpus, kind in product((1, 3), TRAFFIC[1:]):
        yield from (Run(spec, MEASURED, kind, gpus, {"service_noise": "profiled"}) for spec in NOISY)
        yield from (Run(spec, MEASURED, kind, gpus, {"model": MODELS}) for spec in CHOOSERS)
        yield from (Run(spec, table, kind, gpus) for spec, table in product(GROUPED, GROUPS))


@cache
def traffic(kind: str, table: str, gpus: int) -> Trace:
    """Poisson arrivals at a load of 0.3, with bursts to 2 and 1.5, or Gamma gaps at 1.1; or few of one length at 2.5.

    A load of 0.3 is 0.6 of what batches of mixed lengths can serve: they are padded to the longest. Lengths are of 3 to
    64 tokens (in the burst to 100), 20 in the middle. Every request has a class; in the burst some have a target of
    their own; in the overload they name rows of recorded answers, and some come at the same moment.
    """
    capacity, target_s = (TABLES | GROUPS)[table]
    rng, n = np.random.default_rng([*kind.encode(), *table.encode(), gpus]), SHORT if kind == "short" else REQUESTS
    gaps = rng.gamma(0.25, 4.0, n) if kind == "overload" else rng.exponential(1.0, n)
    until, loads = LOADS[kind]
    counts = np.array([0.0, *until]) * n
    counts[-1] *= 2  # where the gaps are long, the last piece is longer
    seconds = np.concatenate([[0.0], (np.diff(counts) / (np.array(loads) * capacity * gpus)).cumsum()])
    arrivals = np.interp(gaps.cumsum(), counts, seconds)
    if kind == "overload":
        arrivals = np.floor(arrivals * (100 / target_s)) * (target_s / 100)
    longest = 100 if kind == "burst" else 64
    tokens = np.clip(np.rint(rng.lognormal(3.0, 0.5, n)), 3, longest).astype(np.int32)
    return Trace(
        arrivals,
        np.full(n, 32, np.int32) if kind == "short" else tokens,
        klass=rng.choice(CLASSES, n, p=(0.2, 0.3, 0.5)),
        slo_s=rng.choice([np.nan, 0.5 * target_s, 3 * target_s], n) if kind == "burst" else None,
        item=rng.integers(0, 1000, n) if kind == "overload" else None,
    )


@cache
def loaded(table: str) -> LatencyTable | str:
    """The table, read once; a split one is left to the run."""
    return table.replace(PINNED.name, str(PINNED)) if table in GROUPS else LatencyTable.load(table)


def played(run: Run) -> tuple[list[tuple[float, str]], Any]:
    """The decisions of a run, in order, and its report."""
    target_s = (TABLES | GROUPS)[run.table][1]
    spec = re.sub(r"<([\d.]+)>", lambda match: f"{float(match[1]) * target_s:.6g}", run.spec)
    log: list[tuple[float, str]] = []
    policy, options = recorded(make(spec), log), dict(run.options)
    trace = traffic(run.traffic, run.table, run.gpus)
    table = loaded(run.table)
    report = simulate(trace, policy, table, gpus=run.gpus, cold_start_s=2 * target_s, **options)  # type: ignore[arg-type]
    return log, report


def recorded(policy: Any, log: list[tuple[float, str]]) -> Any:
    """The policy, which from now on also writes down what it decides, and when; so do its copies.

    It becomes one of a subclass, so that all else that is read of a policy is what it was.
    """
    cls = type(policy)

    def decide(self: Any, view: Any) -> Any:
        action = cls.decide(self, view)
        log.append((float(view.now), written(action)))
        return action

    object.__setattr__(policy, "__class__", type(cls.__name__, (cls,), {"decide": decide, "__slots__": ()}))
    return policy


def written(action: Any) -> str:
    """An action as text: its name and what is set of its fields, by name. Of a plan only that there is one."""
    names = [each.name for each in fields(action)] if is_dataclass(action) else list(action._fields)
    values = {name: getattr(action, name) for name in sorted(names)}
    parts = [f"{name}={_written(name, value)}" for name, value in values.items() if value is not None]
    return f"{type(action).__name__}({', '.join(parts)})"


def _written(name: str, value: Any) -> str:
    if name == "requests":
        return " ".join(str(int(each)) for each in value)
    if name == "plan":
        return "yes"
    return repr(float(value)) if isinstance(value, int | float | np.number) else str(value)


def decisions(run: Run) -> str:
    """All decisions of a run, one a line."""
    return "\n".join(f"{now!r} {action}" for now, action in played(run)[0])


def kept(run: Run) -> Kept:
    """What is kept of a run, by name; of one that fails, only the error."""
    try:
        log, report = played(run)
        columns = {
            frame: {name: digest(canonical(rows[name])) for name in sorted(rows)}
            for frame, rows in (("requests", report.requests), ("batches", report.batches))
        }
        summary = {name: _figure(value) for name, value in report.summary.items()}
    except Exception as error:  # in a replay, that is what differs
        return {"error": f"{type(error).__name__}: {error}"}
    actions = Counter(action.partition("(")[0] for _, action in log)
    return {
        "decisions": digest("\n".join(f"{now!r} {action}" for now, action in log).encode()),
        "columns": columns,
        "summary": digest(json.dumps(summary, sort_keys=True).encode()),
        "figures": {name: _rounded(summary.get(name)) for name in FIGURES} | dict(sorted(actions.items())),
    }


def _figure(value: Any) -> Any:
    if missing(value):
        return None
    return float(value) if isinstance(value, int | float | np.number) else value


def _rounded(value: Any) -> Any:
    return float(f"{value:.6g}") if isinstance(value, float) else value


def digest(content: bytes) -> str:
    """The beginning of its SHA-256: no accident repeats 80 bits."""
    return hashlib.sha256(content).hexdigest()[:20]


def canonical(column: Any) -> bytes:
    """A column as bytes that do not depend on its type: texts, or float64 with one NaN for all that is missing."""
    values = np.asarray(column)
    if values.dtype.kind not in "biuf":
        listed = [None if missing(each) else each for each in values.tolist()]
        if any(isinstance(each, str) for each in listed):
            return json.dumps([each if each is None else str(each) for each in listed]).encode()
        values = np.array([np.nan if each is None else each for each in listed], np.float64)
    numbers = values.astype(np.float64) + 0.0  # there is one zero, too
    numbers[np.isnan(numbers)] = np.nan
    return numbers.tobytes()


def missing(value: Any) -> bool:
    """Whether a value is None, NaN, or what pandas has for them."""
    return (
        value is None or type(value).__name__ in ("NAType", "NaTType") or (isinstance(value, float) and value != value)
    )


def short(new: Kept) -> Kept:
    """What the file keeps of it: one digest of all columns, and four digits of each, which name what differs."""
    columns = new["columns"]
    texts = {frame: " ".join(f"{name}={full[:4]}" for name, full in each.items()) for frame, each in columns.items()}
    return new | {"outputs": outputs(columns), "columns": texts}


def outputs(columns: dict[str, dict[str, str]]) -> str:
    return digest(json.dumps(columns, sort_keys=True).encode())


def differences(old: Kept, new: Kept) -> list[str]:
    """What a replay has that differs from what the file keeps; a column that is new does not count."""
    if "error" in new:
        return [new["error"]]
    found = ["decisions"] if old["decisions"] != new["decisions"] else []
    known = {frame: dict(each.split("=") for each in text.split()) for frame, text in old["columns"].items()}
    for frame, names in known.items():
        gone = dict.fromkeys(names, "")
        now = gone | {name: full for name, full in new["columns"][frame].items() if name in names}
        found += [f"{frame}.{name}" for name in names if names[name] != now[name][:4]]
        new["columns"][frame] = now
    if not found and old["outputs"] != outputs(new["columns"]):
        found.append("outputs")
    return found + (["summary"] if old["summary"] != new["summary"] else [])


def in_processes(work: Callable[[Run], Result], todo: Sequence[Run], workers: int) -> Iterator[Result]:
    """What comes of each run, in order, from processes that compute alike on every x86 processor with AVX2."""
    os.environ.update(SAME)
    with ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn")) as pool:
        yield from pool.map(work, todo, chunksize=4)


def spent_s() -> float:
    """CPU seconds of this process and those it started."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(each.ru_utime + each.ru_stime for each in used)


def made() -> dict[str, str]:
    """Where the file comes from."""
    machine = f"{platform.system()} {platform.machine()}"
    return {
        "commit": commit() or "",
        "python": platform.python_version(),
        "numpy": np.__version__,
        "machine": machine,
    }


def record(file: Path, only: str, workers: int) -> int:
    """Run everything and write the file, one run a line. A run that fails is an error."""
    todo = sorted((each for each in runs() if only in each.spec), key=lambda run: (run, sorted(run.options.items())))
    lines = []
    for run, new in zip(todo, in_processes(kept, todo, workers), strict=True):
        if "error" in new:
            raise RuntimeError(f"{run}: {new['error']}")
        which = {name: value for name, value in asdict(run).items() if value != {}}
        lines.append(json.dumps(which | {"plain": run.plain} | short(new)))
    file.write_text(f'{{"made": {json.dumps(made())},\n"runs": [\n' + ",\n".join(lines) + "\n]}\n")
    print(f"{len(lines)} runs of {simulator.__file__}; {spent_s():.0f} CPU seconds")
    return 0


def check(file: Path, only: str, workers: int) -> int:
    """Run again what the file lists and print what differs; 1 where a plain run does."""
    content = json.loads(file.read_text())
    recorded = [each for each in content["runs"] if only in each["spec"]]
    todo = [Run(**{part.name: each[part.name] for part in fields(Run) if part.name in each}) for each in recorded]
    differ, what, added = Counter[bool](), Counter[str](), set[str]()
    for run, old, new in zip(todo, recorded, in_processes(kept, todo, workers), strict=True):
        for frame, names in new.get("columns", {}).items():
            added |= {f"{frame}.{name}" for name in names if f" {name}=" not in f" {old['columns'][frame]}"}
        if found := differences(old, new):
            differ[old["plain"]] += 1
            what.update(["an error"] if "error" in new else found)
            print(f"{run}{'' if old['plain'] else ' (not plain)'}: {', '.join(found)}")
            for when, figures in (("before", old["figures"]), ("after", new.get("figures", {}))):
                print(f"    {when:7}" + ", ".join(f"{name} {value}" for name, value in figures.items()))
    if what:
        print("in how many runs: " + ", ".join(f"{name} {count}" for name, count in what.most_common()))
    if added:
        print(f"new columns: {', '.join(sorted(added))}")
    print(f"{len(todo)} runs of {simulator.__file__}; {spent_s():.0f} CPU seconds")
    print(f"made with {content['made']}, now {made()}")
    print(f"{differ.total()} differ, {differ[True]} of them plain")
    return 1 if differ[True] else 0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    for command in (record, check):
        its = commands.add_parser(command.__name__, help=command.__doc__)
        its.add_argument("file", type=Path)
        its.add_argument("--only", default="", metavar="SUBSTRING", help="of the spec (default: all)")
        its.add_argument("--workers", type=int, default=2, help="processes (default: 2)")
        its.set_defaults(run=command)
    its = commands.add_parser("decisions", help="print every decision of one run")
    for name in ("spec", "table", "traffic"):
        its.add_argument(name)
    its.add_argument("gpus", type=int)
    its.add_argument("options", nargs="*", metavar="NAME=VALUE", help="further arguments of simulate")
    arguments = parser.parse_args()
    if arguments.command == "decisions":
        options = dict(each.split("=", 1) for each in arguments.options)
        run = Run(arguments.spec, arguments.table, arguments.traffic, arguments.gpus, options)
        print(*in_processes(decisions, [run], 1))
        return 0
    status: int = arguments.run(arguments.file, arguments.only, arguments.workers)
    return status


if __name__ == "__main__":
    sys.exit(main())
