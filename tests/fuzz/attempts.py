"""One command line in a process of its own, and what must be true of how it ended."""

from __future__ import annotations

import atexit
import contextlib
import json
import os
import re
import resource
import shutil
import signal
import sys
import threading
import time
import traceback
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow.parquet
from folders import damage
from lines import SLOW, WORKING, commands, named, spoiled

#: Seconds of computing after which a command line is taken to hang, and bytes of memory beyond what is loaded.
COMPUTING_S, MEMORY = 10, 3 << 30
#: What only the interpreter and libraries say, to programmers.
RAW = re.compile(
    r"error: (?:\w+Error\(|\w+Error$|list index|tuple index|index \S+ is out of|division by zero|float division)"
    r"|math domain|has no attribute|invalid literal|could not convert|unhashable|has no len|zero-size array"
    r"|not iterable|not subscriptable|Length of values|operands could not|shape mismatch|must be same length"
    r"|not supported between|cannot convert float|unexpected keyword|positional argument|NoneType|<class "
    r"|int too large|too large to convert|Maximum allowed|sequence item"
)
#: Seconds until one that does not compute, such as a server, is interrupted, and until it is ended.
PATIENCE_S, LAST_S = 4.0, 40.0
#: What may be left by a command that ended early: finished cells, and what a live run has written down.
KEPT = ("store", "runs", ".live", "record", "__pycache__")


class Ended(NamedTuple):
    """How a command line ended: its status (negative: the signal), and what it printed."""

    status: int
    printed: str
    complained: str
    interrupted: bool


def attempt(seed: int, number: int, template: Path, work: Path, slow: bool = False) -> str:
    """Try the command line of a seed and number in a copy of the folder; what is wrong with how it ended, in a line."""
    rng = np.random.default_rng([seed, number])
    pool = SLOW if slow else WORKING
    folder, line = work / f"case-{os.getpid()}", pool[rng.integers(len(pool))].split(" ")
    shutil.copytree(template, folder, symlinks=True)
    try:
        done = damage(folder, rng) if rng.random() < 0.4 else ""
        if not done or rng.random() < 0.3:
            line = spoiled(line, rng)
        before = _files(folder)
        ended = run(line, folder)
        wrong = _wrong(ended, folder, before, line)
        return f"{wrong} [{number}] {' '.join(map(repr, line))}{f' after {done}' if done else ''}" if wrong else ""
    finally:
        shutil.rmtree(folder)


def run(line: list[str], folder: Path) -> Ended:
    """Run a command line in a folder, in a fork of this process."""
    captured = [folder.with_name(f"{folder.name}.{name}") for name in ("out", "err")]
    began, interrupted = time.monotonic(), False
    if not (child := os.fork()):
        _child(line, folder, captured)
    while not (ended := os.waitpid(child, os.WNOHANG))[0]:
        waited = time.monotonic() - began
        time.sleep(0.002 if waited < 1 else 0.02)
        idle = _computed_s(child) < 0.05 * waited
        if not interrupted and (waited > LAST_S / 2 or (idle and waited > PATIENCE_S)):
            interrupted = True
            os.kill(child, signal.SIGINT)
        if waited > LAST_S:
            os.kill(child, signal.SIGKILL)
    printed, complained = (path.read_text(errors="replace") for path in captured)
    for path in captured:
        path.unlink()
    return Ended(os.waitstatus_to_exitcode(ended[1]), printed, complained, interrupted)


def _child(line: list[str], folder: Path, captured: list[Path]) -> None:
    """The forked process: limits, an own folder, the command; never returns."""
    status = 99
    try:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        for target, path in zip((1, 2), captured, strict=True):
            os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), target)
        sys.stdout, sys.stderr = (os.fdopen(os.dup(at), "w", errors="backslashreplace") for at in (1, 2))
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        os.chdir(folder)
        sys.path.insert(0, str(folder))
        resource.setrlimit(resource.RLIMIT_CPU, (COMPUTING_S, COMPUTING_S + 1))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (used + MEMORY, used + MEMORY))
        command, _ = named(line)
        with contextlib.suppress(SystemExit) as _:
            status = _status(commands()[command].main, line[1:])
    except BaseException:
        traceback.print_exc()
    finally:
        with contextlib.suppress(BaseException):  # as the interpreter ends, worker processes with it
            threading._shutdown()  # type: ignore[attr-defined]
            atexit._run_exitfuncs()
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(Exception):
                stream.flush()
        os._exit(status)


def _status(main: Any, words: list[str]) -> int:
    try:
        return int(main(words))
    except SystemExit as ended:  # argparse's, as the interpreter would take it
        if isinstance(ended.code, int):
            return ended.code
        if ended.code is not None:
            print(ended.code, file=sys.stderr)
        return int(ended.code is not None)


def _computed_s(process: int) -> float:
    try:
        fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _files(folder: Path) -> dict[str, int]:
    """Every path in a folder, with when it was changed."""
    return {str(path.relative_to(folder)): path.lstat().st_mtime_ns for path in folder.rglob("*") if not path.is_dir()}


def _wrong(ended: Ended, folder: Path, before: dict[str, int], line: list[str]) -> str:
    """What is not as it must be, in a few words. A file that the line names may be of another kind than its name."""
    status, _, complained, interrupted = ended
    if status in (-signal.SIGXCPU, -signal.SIGKILL):
        return "hang"
    if status not in (0, 1, 2, 130):
        last = (complained.strip().splitlines() or [""])[-1][:200]
        place = [each.strip() for each in complained.splitlines() if each.strip().startswith("File ")][-1:]
        return f"status {status}: {last} {''.join(place)}"
    if status == 130 and not interrupted:
        return "status 130 without an interruption"
    if "Traceback" in complained:
        return f"traceback: {complained.strip().splitlines()[-1][:200]}"
    if "Warning:" in complained:
        return f"warning: {next(each for each in complained.splitlines() if 'Warning:' in each)[:200]}"
    if status == 2:
        errors = complained[complained.rfind("error: ") :].strip().splitlines()
        if not complained.count("error: ") or len(errors) != 1 or not errors[0].removeprefix("error: ").strip():
            return f"not one line: {complained[-300:]!r}"
        if RAW.search(errors[0]):
            return f"no words: {errors[0][:300]}"
    new = {name for name, at in _files(folder).items() if before.get(name) != at}
    if left := [name for name in new if Path(name).name.startswith(".") or name.endswith((".tmp", ".old"))]:
        return f"left behind: {left}"
    if status == 2 and (half := [name for name in new if not any(each in name for each in KEPT)]):
        return f"refused, yet written: {half}"
    return next((found for name in sorted(new) if name not in line and (found := _unreadable(folder / name))), "")


def _unreadable(path: Path) -> str:
    """What is wrong with a file that was written."""
    try:
        if path.suffix == ".json":
            json.loads(path.read_text(), parse_constant=_refuse)
        if path.suffix == ".parquet":
            pyarrow.parquet.read_metadata(path)
    except (ValueError, OSError) as error:
        return f"{path.name} cannot be read: {error}"
    return ""


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is not JSON")
