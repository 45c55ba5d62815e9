"""The folder that the command lines work in, and what can be wrong with a file of it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet
from sessions import pandas_files, study
from values import NUMBERS, TEXTS
from written import write_table

from traces import Trace, write

MODEL = "students-2x64"
META = {"idle_factor": [[0.01, 1.0], [1.0, 1.2]], "cold_start_s": 2.5, "seed": 0, "versions": {"numpy": "2"}}
MY_POLICY = """
from dataclasses import dataclass
from policies import Dispatch, Scale
@dataclass
class Mine:
    limit: int = 4
    def decide(self, view): return Dispatch(view.oldest(self.limit), view.levels[-1])
class Quits:
    def decide(self, view): exit()
class Stops:
    def decide(self, view): raise GeneratorExit
class Needs(Mine):
    needs = 3
class Scales:
    needs = frozenset({"scale"})
    def decide(self, view): return Scale(10**9)
class Own(KeyboardInterrupt): pass
class Interrupts(Mine):
    def __post_init__(self): raise Own("mine")
"""


def build(folder: Path) -> None:
    """Fill a folder with one input of each kind."""
    rng = np.random.default_rng(0)
    rows = [
        f"{MODEL},{k},2,64,{b},{t},{300 + 40 * k + k * b * t}" for k in (1, 2, 4) for b in (1, 4, 16) for t in (16, 64)
    ]
    write_table(folder / "table", rows, accuracy=False)
    accuracy = [f"{MODEL},{k},toy,{1 - 0.1 / k}" for k in (1, 2, 4)]
    (folder / "table" / "accuracy.csv").write_text("\n".join(["model,students,task,accuracy", *accuracy]) + "\n")
    trace = Trace(rng.exponential(0.01, 60).cumsum(), rng.integers(3, 60, 60).astype(np.int32))
    write(trace, folder / "trace.csv")
    write(trace, folder / "trace.parquet")
    lines = [
        f"{at * 1000:.3f},{tokens},{name}"
        for at, tokens, name in zip(trace.arrival_s, trace.tokens, "abc" * 20, strict=True)
    ]
    (folder / "table.csv").write_text("\n".join(["ts,n,who", *lines]) + "\n")
    texts = [
        {"arrival_s": round(at, 3), "text": "some words " * (1 + number % 4), "tokens": 9}
        for number, at in enumerate(trace.arrival_s)
    ]
    (folder / "texts.jsonl").write_text("".join(json.dumps(each) + "\n" for each in texts))
    counts = "\n".join(f"{second},{count}" for second, count in enumerate(rng.poisson(8, 90)))
    (folder / "counts.csv").write_text(f"bin_start_s,count\n{counts}\n")
    (folder / "grid.toml").write_text(
        'policy = ["greedy", "timeout"]\ntrace = "poisson:duration=0.2"\ntable = "table"\nload = [0.2, 0.5]\n'
        "seed = [0]\n[parameters]\ntimeout_s = [0.001]\n"
    )
    (folder / "my_policy.py").write_text(MY_POLICY)
    (folder / "quits.py").write_text("raise SystemExit('bye')\nclass P: pass\n")
    (folder / "empty").write_text("")
    (folder / "folder").mkdir()
    (folder / "link").symlink_to("nowhere")
    keys = [{"model": MODEL, "students": [1, 2], "batches": [1, 4], "tokens": [16]}]
    (folder / "keys.json").write_text(json.dumps(keys))
    study(folder / "study", MODEL, rng)
    pandas_files(trace, folder)
    (folder / "table" / "meta.json").write_text(
        json.dumps(json.loads((folder / "table" / "meta.json").read_text()) | META)
    )
    spread = [f"{below},{p},{0.9 + 0.2 * p}" for below in (500, "inf") for p in (0, 0.5, 1)]
    (folder / "table" / "jitter.csv").write_text("\n".join(["below_us,probability,ratio", *spread]) + "\n")
    adapters = [f"{MODEL},full,1000,50.5,{distinct},4,16,{10 * distinct}" for distinct in (1, 2, 4)]
    header = "model,kind,bytes,load_us,distinct,batch,tokens,extra_us"
    (folder / "table" / "adapters.csv").write_text("\n".join([header, *adapters]) + "\n")


def damage(folder: Path, rng: np.random.Generator) -> str:
    """Spoil one file of a folder; says which, and how."""
    files = sorted(
        path for path in folder.rglob("*") if path.is_file() and path.stat().st_size and "store" not in path.parts
    )
    path = files[rng.integers(len(files))]
    ways = {".json": (_node, _node, _node), ".csv": (_cell, _cell, _line, _column), ".jsonl": (_line, _node_of_a_line),
            ".toml": (_value, _value, _line),
            ".parquet": (_parquet, _parquet)}.get(path.suffix, (_line,))  # fmt: skip
    way = (*ways, _bytes)[rng.integers(len(ways) + 1)]
    way(path, rng)
    return f"{path.relative_to(folder)}: {way.__name__.strip('_')}"


def _any(rng: np.random.Generator) -> Any:
    values = (
        None, {}, [], "", "x", "1", True, 0, -1, 1, 1e999, -1e999, float("nan"), 1e308, 1e30, 10**25, -1e-9, [[]],
        {"a": 1}, [None], [1, "a"], ["a"] * 3, [[0, -1]], "\ud800", "\0", [[1, 2], [1, 2]],
    )  # fmt: skip
    return values[rng.integers(len(values))]


def _changed(value: Any, rng: np.random.Generator) -> Any:
    """A JSON value with some part of it replaced, left out or renamed."""
    if isinstance(value, dict) and value and rng.random() < 0.85:
        key = list(value)[rng.integers(len(value))]
        if (chance := rng.random()) < 0.1:
            return {name: each for name, each in value.items() if name != key}
        if chance < 0.15:
            return {name if name != key else f"{name}x": each for name, each in value.items()}
        return value | {key: _changed(value[key], rng)}
    if isinstance(value, list) and value and rng.random() < 0.7:
        at = int(rng.integers(len(value)))
        return [*value[:at], _changed(value[at], rng), *value[at + 1 :]]
    return _any(rng)


def _node(path: Path, rng: np.random.Generator) -> None:
    path.write_text(json.dumps(_changed(json.loads(path.read_text()), rng)), errors="replace")


def _node_of_a_line(path: Path, rng: np.random.Generator) -> None:
    lines = path.read_text().splitlines()
    at = int(rng.integers(len(lines)))
    lines[at] = json.dumps(_changed(json.loads(lines[at]), rng))
    path.write_text("\n".join(lines))


def _bytes(path: Path, rng: np.random.Generator) -> None:
    """Cut it off, flip bits, or put in what is no text."""
    content = bytearray(path.read_bytes())
    at, kind = int(rng.integers(len(content))), int(rng.integers(4))
    if kind == 0:
        del content[at:]
    elif kind == 1:
        content[at] ^= 1 << int(rng.integers(8))
    elif kind == 2:
        content[at:at] = (b"\0", b"\xff\xfe", b"\xef\xbb\xbf", b"\r", b"\n\n", b'"', b"[" * 5000)[rng.integers(7)]
    else:
        content = bytearray()
    path.write_bytes(bytes(content))


def _line(path: Path, rng: np.random.Generator) -> None:
    lines = path.read_text().splitlines()
    at = int(rng.integers(len(lines)))
    lines[at : at + 1] = ([], [lines[at]] * 2, [""], ["x"], [lines[at] + ",1"], lines[:at][-1:] + [lines[at]])[
        rng.integers(6)
    ]
    path.write_text("\n".join(lines) + "\n")


def _value(path: Path, rng: np.random.Generator) -> None:
    """Another value or another key in a line of TOML."""
    lines = path.read_text().splitlines()
    at = int(rng.integers(len(lines)))
    key, _, own = lines[at].partition(" = ")
    values = ("[]", "''", "nan", "-inf", "true", "1e400", "{}", "[[1]]", "['a', 1]", "2026-01-01", "9" * 40, "'0:9:1'")
    given = (*values, json.dumps(NUMBERS[rng.integers(len(NUMBERS))]), json.dumps(TEXTS[rng.integers(len(TEXTS))]))
    keys = ("slo_ms", "gpus", "rate", "model", "levels", "bin_s", "start", "seeds", "jobs", "parameters", "[load]")
    key, own = (key, given[rng.integers(len(given))]) if rng.random() < 0.7 else (keys[rng.integers(len(keys))], own)
    lines[at] = f"{key} = {own}"
    path.write_text("\n".join(lines) + "\n", errors="replace")


def _cell(path: Path, rng: np.random.Generator) -> None:
    lines = [line.split(",") for line in path.read_text().splitlines()]
    row = lines[rng.integers(min(len(lines), 8))]
    pool = NUMBERS if rng.random() < 0.7 else TEXTS
    row[rng.integers(len(row))] = pool[rng.integers(len(pool))]
    path.write_text("\n".join(map(",".join, lines)) + "\n", errors="replace")


def _column(path: Path, rng: np.random.Generator) -> None:
    """Leave a column out, write it twice, or rename it."""
    lines = [line.split(",") for line in path.read_text().splitlines()]
    at, kind = int(rng.integers(len(lines[0]))), int(rng.integers(3))
    for number, row in enumerate(lines):
        own = row[at : at + 1]
        row[at : at + 1] = ([], own * 2, [f"{own[0]}x"] if own and not number else own)[kind]
    path.write_text("\n".join(map(",".join, lines)) + "\n")


def _parquet(path: Path, rng: np.random.Generator) -> None:
    """Another kind of column, nulls, no rows, no column, other metadata."""
    table = pyarrow.parquet.read_table(path)
    at, kind = int(rng.integers(table.num_columns)), int(rng.integers(7))
    name, n = table.column_names[at], table.num_rows
    others = (
        pa.nulls(n),
        pa.array(["x"] * n),
        pa.array([float("nan")] * n),
        pa.array([-1] * n),
        pa.array([[1]] * n),
        pa.array([1e300] * n),
    )
    if kind == 0:
        table = table.drop_columns([name])
    elif kind == 1:
        table = table.slice(0, 0)
    elif kind == 2:
        table = table.rename_columns([f"{each}x" if each == name else each for each in table.column_names])
    elif kind == 3:
        own = {**(table.schema.metadata or {})}
        table = table.replace_schema_metadata({key: (b"", b"null", b"{}", b"-1")[rng.integers(4)] for key in own})
    else:
        table = table.set_column(at, name, others[rng.integers(len(others))])
    pyarrow.parquet.write_table(table, path)
