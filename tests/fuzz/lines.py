"""Command lines: some that work for every command, and what can be wrong with them."""

from __future__ import annotations

import argparse
import importlib
from collections.abc import Callable
from functools import cache
from typing import NamedTuple

import numpy as np
from values import value

import analysis.__main__
import profiler.__main__
import simulator.__main__
import traces.__main__
from simulator.arguments import parser as simulator_parser
from traces.shared.flags import Flags

#: Command lines that work in the folder of `folders.build`; the first word, or two, name the command.
WORKING = (
    """
simulator --trace trace.csv --table table --out out
simulator --trace poisson:rate=200,duration=0.5 --table table --policy adaptive --load 0.5 --out out --json
simulator --trace counts.csv --table table --policy admission(timeout(max_batch=4)) --gpus 2 --out out
simulator --trace trace.parquet --rate 50 --duration 2 --slo-ms 20 --service-noise none --seed 1 --table table --out out
simulator --trace pandas.csv --table table --policy none --reference none --require-attainment 0.5 --out out
simulator --trace burst:duration=1 --table table --policy timeout -p timeout_s=0.01 --lengths lognormal:median=8,sigma=1
simulator --trace trace.csv --table table --policy my_policy:Mine -p limit=2 --out out
simulator --trace trace.csv --table table --clock wall --rate 400 --out out
simulator --rerun run --out out
simulator --trace session --table table --policy greedy --out out
simulator --trace counts.csv --bin-s 1 --start 10 --duration 20 --table table --out out
simulator --trace pandas.parquet --table table --service-noise profiled --gpus 2 --out out
simulator --trace pandas.csv --trace-format csv --time-unit s --table table --out out
simulator --list
simulator serve --table table --device cpu --port 70000
simulator serve --table table --device cpu --policy my_policy:Mine --slo-ms 5 --gpus 2 --queue 10 --body-kib 0
simulator serve --table table --device cpu --name a --host nowhere --lame-duck-s 1 --timeout-s -1 --api-key-file empty
traces make poisson:rate=100,duration=1 -o out.csv
traces make fit:fit.json --seed 3 -o out.parquet
traces make gamma:rate=100,duration=1,cv=2 --lengths constant:tokens=9
traces convert trace.csv -o out.parquet
traces convert trace.csv trace.parquet -o out.csv.gz
traces convert table.csv --columns arrival=ts,tokens=n --time-unit ms --sort -o out.csv
traces convert counts.csv --bin-s 1 --rate 40 --rate-mode superpose --spread-ticks -o out.csv
traces stats trace.csv --json
traces stats texts.jsonl --columns arrival=arrival_s,text=text,tokens=tokens --max-tokens 16
traces convert stamps.parquet --columns arrival=ts,tokens=tokens --start 0.1 --duration 0.3 -o out.csv
traces convert pandas.json --columns arrival=arrival_s,tokens=tokens --rate 90 --rate-mode thin -o out.parquet
traces convert table.csv --columns arrival=ts,tokens=n --time-unit ms --start 0.1 -o out.csv
traces stats pandas.csv --start 0.1
traces stats pandas.parquet --duration 0.2 --json
traces stats session --json
traces compare session trace.csv --start 0.05
traces compare trace.csv trace.parquet
traces fit counts.csv -o out.json
traces list
analysis sweep grid.toml JOB --out out
analysis sweep --trace trace.csv --table table --policy greedy;timeout --load 0.2:0.6:0.2 --seeds 0-1 JOB --out out
analysis sweep grid.toml --start 0.1 --service-noise profiled JOB --out out
analysis validate --recorded session --out out
analysis capacity --table table --policy greedy --requests 300 --seeds 0-1 --tolerance 0.2 JOB --out out.csv
analysis compare --table table --policies greedy;none --replications 2 --trace poisson:duration=0.2 --load 1 --out o.csv
analysis plan --tables table --trace trace.csv --slo-ms 50 --policies greedy --max-gpus 2 --simulated 200 JOB --out out
analysis plot latency-cdf run --out out.png --dpi 40
analysis plot timeline run --out out.svg
analysis report run sweep --out out.html
analysis plot latency-load sweep --out out.png --dpi 40
analysis plot weighted comparison.csv --out out.png --dpi 40
analysis plot capacity capacity.csv --out out.png --dpi 40
analysis report comparison.csv capacity.csv --out out.html
analysis plot plan plan --out out.png --dpi 40
analysis report plan --title a --out out.html
profiler show table
profiler show table --model students-2x64 --value throughput
profiler validate table --strict
profiler validate table/latency.csv
profiler compare table:students-2x64/1 table:students-2x64/4 --csv
profiler compare table table/latency.csv
profiler plan --model students-2x64
profiler plan --plan keys.json --like table
profiler synth --plan keys.json --out out
profiler synth --plan h200 --out out
profiler adopt study --table table
profiler adopt study --table table --keep-default
profiler report study --table table --out out
profiler campaign --list
""".replace("JOB", "--jobs 1 --store store")
    .strip()
    .splitlines()
)
#: Those that take seconds, mostly since they open a real device.
SLOW = (
    """
analysis sensitivity --table table --trace trace.csv --slo-ms 50 JOB --out out.csv
simulator --trace trace.csv --table table --live --device cpu --attempts 1 --out out
simulator --trace trace.csv --table table --device cpu --out out
simulator serve --table table --device cpu --port 0 --record record --timeout-s 1
analysis validate --recorded record --out out
profiler run --device cpu --plan keys.json --budget-s 0.2 --out out
""".replace("JOB", "--jobs 1 --store store")
    .strip()
    .splitlines()
)


class Command(NamedTuple):
    """A command: the `main` that takes its words, and the parser of its flags."""

    main: Callable[[list[str]], int]
    flags: argparse.ArgumentParser


@cache
def commands() -> dict[str, Command]:
    """Every command by its words, with what it imports imported."""
    from simulator.endpoint.command import parser as serve_parser

    found = {
        "simulator": Command(simulator.__main__.main, simulator_parser()),
        "simulator serve": Command(simulator.__main__.main, serve_parser()),
    }
    named = next(each for each in traces.__main__.parser("traces")._actions if each.dest == "command")
    found |= {f"traces {name}": Command(traces.__main__.main, each) for name, each in (named.choices or {}).items()}
    for package in (analysis.__main__, profiler.__main__):
        for name, (module, _) in package.COMMANDS.items():
            flags = Flags(prog=name)
            importlib.import_module(module).add_arguments(flags)
            found[f"{package.__name__.partition('.')[0]} {name}"] = Command(package.main, flags)
    return found


def named(line: list[str]) -> tuple[str, list[str]]:
    """The command of a line, and its words beyond that."""
    two = " ".join(line[:2])
    return (two, line[2:]) if two in commands() else (line[0], line[1:])


def spoiled(line: list[str], rng: np.random.Generator) -> list[str]:
    """A working command line with one thing or several wrong: a value, a flag more or less, another order."""
    command, words = named(line)
    for _ in range(int(rng.integers(1, 4))):
        words = _CHANGES[rng.integers(len(_CHANGES))](words, command, rng)
    return [*command.split(), *words]


def _another_value(words: list[str], command: str, rng: np.random.Generator) -> list[str]:
    if not words:
        return words
    at = int(rng.integers(len(words)))
    dest = _dest(command, words[at - 1]) if at else None
    return [*words[:at], value(dest, rng), *words[at + 1 :]]


def _another_flag(words: list[str], command: str, rng: np.random.Generator) -> list[str]:
    actions = [
        each
        for each in commands()[command].flags._actions
        if each.option_strings and each.dest not in ("help", "debug")
    ]
    action = actions[rng.integers(len(actions))]
    own = [] if action.nargs == 0 else [value(action, rng)]
    return [*words, action.option_strings[-1], *own]


def _one_less(words: list[str], command: str, rng: np.random.Generator) -> list[str]:
    at = int(rng.integers(len(words) + 1))
    return [*words[:at], *words[at + 1 :]]


def _one_twice(words: list[str], command: str, rng: np.random.Generator) -> list[str]:
    at = int(rng.integers(len(words) + 1))
    return [*words[:at], *words[at : at + 2], *words[at:]]


def _another_order(words: list[str], command: str, rng: np.random.Generator) -> list[str]:
    return [words[at] for at in rng.permutation(len(words))]


def _letters(words: list[str], command: str, rng: np.random.Generator) -> list[str]:
    """A letter changed, left out or repeated in some word."""
    if not words or not (word := words[at := int(rng.integers(len(words)))]):
        return words
    place = int(rng.integers(len(word)))
    letter = "".join(rng.choice(list("0123456789aZ-_.,:;=()[]'\" \t/"), int(rng.integers(3))))
    return [*words[:at], word[:place] + letter + word[place + int(rng.integers(2)) :], *words[at + 1 :]]


_CHANGES = (
    _another_value,
    _another_value,
    _another_flag,
    _another_flag,
    _one_less,
    _one_twice,
    _another_order,
    _letters,
)


def _dest(command: str, flag: str) -> argparse.Action | None:
    return commands()[command].flags._option_string_actions.get(flag)
