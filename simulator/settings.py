"""The settings of a run as plain values: resolved once, recorded, and enough to run it again."""

from __future__ import annotations

import os
import sys
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from types import UnionType
from typing import Any, get_args, get_origin, get_type_hints

from policies import POLICIES, describe, make, needs
from policies.registry import answers_of
from profiler.table import HOST_TIME, LEVELS, Deployment, LatencyTable
from simulator.core import MOST_GPUS
from simulator.defaults import default_trace, saturation, short_text_saturation
from simulator.devices import devices_of, refuse_tenants
from simulator.reporting.report import Report
from simulator.serving.clock import Clock, VirtualClock, WallClock
from simulator.simulate import SERVICE_NOISE_CHOICES, simulate
from traces import FORMATS, Trace, load
from traces.readers.times import UNITS
from traces.scaling import MODES
from traces.shared.flags import Several
from traces.shared.modules import appeared, digest, outside
from traces.shared.text import bytes_of

CLOCKS = ("virtual", "wall")


def flag(default: Any, words: str, **how: Any) -> Any:
    """A field of `Settings` with its flag: the help, and what else `add_argument` takes.

    within: the least and the greatest value that makes sense, of a number.
    """
    return field(default=default, metadata={"help": words, **how})


@dataclass(frozen=True)
class Settings:
    """What the command line was asked for, each field a flag; None means the default of DESIGN section 6.

    rate and load exclude each other. device: really runs the batches; None takes the table's times. digests: of the
    files that the run read, by path, so that a rerun notices that one has changed.
    """

    policy: str = flag(
        "adaptive",
        f"{', '.join(POLICIES)}, or package.module:Class; parameters in parentheses",
        metavar="SPEC",
    )
    trace: str | None = flag(
        None,
        "a file, a generator such as poisson:rate=200,duration=60, or a shipped name "
        "(default: level traffic at half load with one burst of 4 times that)",
        metavar="FILE|SPEC|NAME",
    )
    trace_format: str = flag(
        "auto", f"of a file: auto, {', '.join(FORMATS)}", choices=("auto", *FORMATS), metavar="FORMAT"
    )
    rate: float | None = flag(None, "mean requests per second", metavar="R", within=(1e-9, 1e9))
    load: float | None = flag(
        None, "mean rate as a share of what all GPUs serve at full accuracy", metavar="X", within=(1e-9, 1e6)
    )
    rate_mode: str = flag(
        "superpose", "how a file is rescaled; superpose keeps the length of bursts", choices=tuple(MODES)
    )
    start: float | None = flag(
        None, "leave out so many seconds at the beginning of the trace", metavar="S", within=(0, 1e10)
    )
    duration: float | None = flag(None, "only so many seconds", metavar="S", within=(1e-9, 1e10))
    lengths: str | None = flag(
        None, "draw token counts from here (default: the trace's own, else short texts)", metavar="FILE|SPEC"
    )
    max_tokens: int | None = flag(
        None,
        "clip every length to this (default: to the table's, but not of our own format)",
        metavar="N",
        within=(1, 2**31 - 1),
    )
    tenants: str | None = flag(
        None, "draw tenants, such as zipf:count=10000,exponent=0.9 (default: the trace's own)", metavar="SPEC"
    )
    bin_s: float | None = flag(
        None, "of a file of counts: seconds per bin (default: 1, or as far apart as most bins are)", metavar="S"
    )
    time_unit: str | None = flag(
        None, "of a file's column of times: s, ms, us, ns or iso (default: the format's, else s)", choices=UNITS
    )
    table: str | None = flag(None, "measured latencies (default: the first of --list)", metavar="NAME|DIR|CSV")
    model: str | None = flag(
        None, "model of the table, or several with commas (default: its first students-*)", metavar="NAME"
    )
    task: str | None = flag(None, "whose accuracies count (default: the table's first)", metavar="NAME")
    levels: str = flag(
        LEVELS[0],
        "of several models, without levels that another model's dominates; all; "
        "useful: without any that another dominates",
        choices=LEVELS,
    )
    slo_ms: float | None = flag(
        None,
        "latency target (default: 5 x the model's batch-1 time at the median length)",
        metavar="MS",
        within=(1e-6, 1e12),
    )
    gpus: int = flag(1, "GPUs behind one queue", metavar="N", within=(1, MOST_GPUS))
    service_noise: str = flag(
        "none",
        "none: batches take the measured median; profiled: drawn from what was measured",
        choices=SERVICE_NOISE_CHOICES,
    )
    host_time: str | None = flag(
        None,
        "measured: requests come in and answers leave by the host, which takes what the table says; none "
        "(default: measured, where the table has such times and --device is not given)",
        choices=HOST_TIME,
    )
    legacy_accounting: bool = flag(
        False, "of early exits: the time of ramps delays no later batch, as the Apparate paper counts it"
    )
    adapter_budget: str | None = flag(
        None,
        "on each GPU, for the adapters of tenants: bytes, or with KiB, MiB, GiB (default: room for all, where the "
        "policy loads adapters)",
        metavar="BYTES",
    )
    host_budget: str | None = flag(
        None, "in the host's memory, likewise; other adapters are read from the disk (default: all)", metavar="BYTES"
    )
    adapters: str | None = flag(
        None, "of tenants, for --live and --device: a store (default: random ones, in a temporary file)", metavar="FILE"
    )
    clock: str = flag("virtual", "wall paces the run in real time", choices=CLOCKS)
    device: str | None = flag(
        None,
        "really run the batches: cpu, cuda, or http://HOST:PORT, a running server (repeatable, a device each); "
        "without --live idle time is skipped (--clock virtual)",
        action=Several,
        const=",",
        metavar="DEVICE",
    )
    weights: str | None = flag(
        None, "checkpoint of the model (default: random, which takes the same time)", metavar="DIR|FILE"
    )
    seed: int = flag(0, "of all random numbers", metavar="N", within=(0, 2**63 - 1))
    digests: dict[str, str] = field(default_factory=dict)

    @classmethod
    def read(cls, values: dict[str, Any]) -> Settings:
        """From run.json. Raises ValueError for keys that this version does not know, and values of another kind."""
        if unknown := set(values) - {each.name for each in fields(cls)}:
            raise ValueError(f"run.json has settings that this version does not know: {', '.join(sorted(unknown))}")
        hints = get_type_hints(cls)
        wrong = [f"{name} is {value!r}" for name, value in values.items() if not _fits(value, hints[name])]
        if wrong:
            raise ValueError(f"run.json has settings that cannot be: {', '.join(wrong)}")
        return cls(**values)


#: The kind of each: bool, int, float or str.
KINDS = {
    name: next(kind for kind in (bool, int, float, str) if kind in (get_args(hint) or (hint,)))
    for name, hint in get_type_hints(Settings).items()
    if name != "digests"
}
#: The least and the greatest value of each that has such.
WITHIN: dict[str, tuple[float, float]] = {
    each.name: each.metadata["within"] for each in fields(Settings) if "within" in each.metadata
}


def refuse_beyond(name: str, value: float | None) -> None:
    """Raise ValueError where a setting lies beyond the values that make sense; None lies within."""
    least, greatest = WITHIN[name]
    if value is not None and not least <= value <= greatest:
        raise ValueError(f"{name} is {str(value)[:40]}; it must lie in {least:,g} to {greatest:,g}")


@dataclass(frozen=True)
class Prepared:
    """Settings with every default filled in, and the inputs they name. imported: the modules before they were read."""

    settings: Settings
    trace: Trace
    deployment: Deployment
    imported: frozenset[str] = frozenset()

    @property
    def clock(self) -> Clock:
        """A new clock of the kind that the settings name; the wall's begins with the first request."""
        return WallClock(float(self.trace.arrival_s[0])) if self.settings.clock == "wall" else VirtualClock()

    def run(self, policy: str | None = None, **how: Any) -> Report:
        """Simulate; another policy than the settings' may be named, on the same inputs. how: as for `simulate`."""
        its = self.settings
        report = simulate(
            self.trace,
            policy or its.policy,
            self.deployment,
            gpus=its.gpus,
            service_noise=its.service_noise,
            host_time=its.host_time or HOST_TIME[-1],
            legacy_accounting=its.legacy_accounting,
            seed=its.seed,
            adapter_budget=_budget("adapter_budget", its.adapter_budget),
            host_budget=_budget("host_budget", its.host_budget),
            **({"clock": self.clock, "slo_s": None if its.slo_ms is None else its.slo_ms / 1e3} | how),
        )
        run = {"settings": asdict(its), **report.run}
        if modules := run.get("modules", {}) | outside(appeared(self.imported)):
            run["modules"] = modules
        return replace(report, run=run)


def prepare(
    settings: Settings, parameters: dict[str, str] | None = None, table: LatencyTable | None = None
) -> Prepared:
    """Load what the settings name and fill in the defaults. table: the one that they name, where it is loaded already.

    Raises ValueError, LookupError or OSError for bad input.
    """
    imported = frozenset(sys.modules)
    if settings.clock not in CLOCKS:
        raise ValueError(f"clock is {settings.clock!r}; it must be one of {', '.join(CLOCKS)}")
    if settings.rate is not None and settings.load is not None:
        raise ValueError("--rate and --load both set the rate: give one of them")
    for name in WITHIN:
        refuse_beyond(name, getattr(settings, name))
    if settings.adapters is not None and settings.device is None:
        raise ValueError("--adapters names what a real device loads: add --live or --device, or leave it out")
    for name in ("adapter_budget", "host_budget"):
        _budget(name, getattr(settings, name))
    settings = replace(settings, gpus=devices_of(settings.device, settings.gpus))
    made = make(settings.policy, parameters)
    loads = settings.adapters is not None or settings.adapter_budget is not None or "memory" in needs(made)
    refuse_tenants(settings.device, loads)
    policy = describe(made)
    deployment = Deployment.of(table or settings.table, settings.model, settings.task, settings.levels)
    named, model, task = settings.table or deployment.table.name, deployment.model, deployment.task
    source = default_trace(deployment.predictions) if settings.trace is None else settings.trace
    its = replace(settings, policy=policy, trace=source, model=model, task=task, table=named)
    its = replace(its, host_time=_host_time(its, deployment.table))
    if its.load is not None:
        its = replace(its, rate=_rate(its, its.load, deployment), load=None)
    its = replace(its, digests=_digests(its, answers_of(made)))
    return Prepared(its, _load(its, deployment), deployment, imported)


def unchanged(settings: Settings) -> None:
    """Raise ValueError where a file that the recorded run read is missing or has changed."""
    for path, was in settings.digests.items():
        if not Path(path).exists():
            raise ValueError(f"{path}, which the recorded run read, is not there any more")
        if digest(Path(path)) != was:
            raise ValueError(f"{path} has changed since the recorded run: its results cannot be reproduced")


def _budget(name: str, text: str | None) -> int | None:
    return None if text is None else bytes_of(text, name)


def _host_time(its: Settings, table: LatencyTable) -> str:
    """Whether the host's time counts: as it is asked for, else where the table has it and no real device is asked."""
    if its.device is None:
        return its.host_time or ("measured" if "host" in table.meta else "none")
    if its.host_time == "measured":
        raise ValueError("--host-time measured is simulated, and a real device has no host before it: leave it out")
    return "none"


def _rate(its: Settings, load: float, deployment: Deployment) -> float:
    """The rate that is this load of the trace's own lengths, which are looked at first."""
    if not 0 < load < float("inf"):
        raise ValueError(f"load is {load}; it must be a positive number")
    full = load * its.gpus
    # A generator is tried at about the rate that it will have, so that a long trace does not become a huge one.
    about = full * short_text_saturation(deployment.predictions) if its.rate_mode == "superpose" else None
    tried = _load(its if os.path.exists(its.trace or "") else replace(its, rate=about), deployment)
    return full * saturation(deployment.predictions, deployment.plan.buckets(tried.tokens))


def _load(its: Settings, deployment: Deployment) -> Trace:
    assert its.trace is not None
    return load(
        its.trace,
        format=its.trace_format,
        rate=its.rate,
        rate_mode=its.rate_mode,
        start=its.start,
        duration=its.duration,
        lengths=its.lengths,
        tenants=its.tenants,
        seed=its.seed,
        bin_s=its.bin_s,
        time_unit=its.time_unit,
        max_tokens=its.max_tokens,
        longest=deployment.plan.max_tokens,
    )


def _fits(value: object, hint: Any) -> bool:
    """Whether a value of a JSON file is of the kind that an annotation asks for."""
    kinds = get_args(hint) if isinstance(hint, UnionType) else (get_origin(hint) or hint,)
    return isinstance(value, (*kinds, int) if float in kinds else kinds)


def _digests(its: Settings, more: list[str]) -> dict[str, str]:
    """Of every file that is read, those inside a spec (fit:FILE, along:FILE, tenants:table=FILE) and `more` too."""
    named = more + [each for each in (its.trace, its.lengths, its.tenants, its.table) if each is not None]
    named += [part.rpartition("=")[2].strip() for each in named for part in each.partition(":")[2].split(",")]
    session = ("trace-*.parquet", "arrivals-*.csv")
    parts = ("latency.csv", "latency.parquet", "meta.json", "jitter.csv", "accuracy.csv", "layers.csv",
             "adapters.csv", "lookup.csv")  # fmt: skip
    named += [os.path.join(each, part) for each in named if os.path.isdir(each) for part in parts]
    folders = [each for each in named if os.path.isdir(each)]
    named += [str(part) for each in folders for pattern in session for part in sorted(Path(each).glob(pattern))]
    return {str(Path(each)): digest(Path(each)) for each in named if os.path.isfile(each)}
