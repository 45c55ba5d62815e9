"""The first run on a GPU, in two commands: all they find is in one archive, which is rewritten while they run."""

from __future__ import annotations

import io
import shutil
import signal
import subprocess
import sys
import tarfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from traces.shared.atomic import make_folder, replacing, write_text
from traces.shared.documents import json_text

ROOT = Path(__file__).parents[2]
#: What needs a GPU to be tested.
TESTS = ("tests/profiler/executors/test_cuda_device.py", "tests/profiler/models/test_kernels.py")
#: Parts of a campaign by command: what can be wrong first; then what matters most first, and what can overrun last.
PARTS = {
    "A": ("probes", "numerics"),
    "B": (
        "probes",
        "students-768",
        "teachers",
        "baselines",
        "students-384",
        "packed",
        "energy",
        "slots",
        "depths",
        "numerics",
        "compiled",
    ),
}
#: Seconds that a command takes at most, by default.
LIMITS_S = {"A": 170.0, "B": 500.0}
#: Seconds between two archives; that an interrupted step gets to write its tables; that the last archive may take.
EVERY_S, GRACE_S, CLOSING_S = 30.0, 15.0, 30.0
#: Below the folder of a run: the campaign's, and what every step printed.
CAMPAIGN, LOGS = "campaign", "logs"
WELL = "ended with 0"


@dataclass(frozen=True)
class RunStep:
    """A program of a run. seconds: after so many it is interrupted. needed: whether the run fails with it."""

    name: str
    program: tuple[str, ...]
    seconds: float
    needed: bool = True


def steps(command: str, out: Path, limit_s: float, *, on_gpu: bool = True, commit: str | None = None) -> list[RunStep]:
    """What command A or B runs, in order, within limit_s in all."""
    python, device = sys.executable, "cuda" if on_gpu else "cpu"
    most_s = limit_s - CLOSING_S
    found = [RunStep("packages", (python, "-m", "pip", "list", "--format=freeze"), 20.0, needed=False)]
    if on_gpu and (tool := shutil.which("nvidia-smi")):
        found.insert(0, RunStep("driver", (tool,), 10.0, needed=False))
    campaign = [python, "-m", "profiler", "--debug", "campaign", "--device", device, "--out", str(out / CAMPAIGN)]
    campaign += ["--parts", ",".join(PARTS[command]), *(["--commit", commit] if commit else [])]
    budget_s = max(1.0, most_s - 3 * GRACE_S)  # preparing a table can take longer than its part has
    found.append(RunStep("campaign", (*campaign, "--budget-s", f"{budget_s:g}"), most_s - GRACE_S))
    tests = [test for test in TESTS[: None if on_gpu else 1] if (ROOT / test).exists()]
    if command == "A" and tests:
        found.append(RunStep("tests", (python, "-m", "pytest", "-v", "-p", "no:cacheprovider", *tests), most_s))
    return found


def run(
    out: Path, archive: Path, own: Sequence[RunStep], limit_s: float, *, every_s: float = EVERY_S,
    said: Callable[[str], None] = lambda line: None,
) -> bool:  # fmt: skip
    """Run these steps in turn, packing the folder `out` into `archive` all the while; whether all ended well.

    A step that takes too long is interrupted and, GRACE_S later, killed. SIGTERM counts as Ctrl-C: what runs is
    interrupted, and the archive written once more. Killed itself, the run leaves the last archive.
    """
    make_folder(out / LOGS)
    pack(out, archive)
    end, done = time.monotonic() + limit_s - CLOSING_S, dict[str, Any]()
    with _terminated_as_interrupted():
        for step in own:
            left = min(step.seconds, end - time.monotonic())
            began, status = time.monotonic(), "interrupted"
            try:
                status = _run(step, left, out, archive, every_s) if left > 0 else "no time left"
            finally:
                done[step.name] = {"status": status, "seconds": round(time.monotonic() - began, 1)}
                write_text(out / "steps.json", json_text(done, indent=1) + "\n")
                pack(out, archive)
                said(f"{step.name}: {status} after {time.monotonic() - began:.0f} s")
    return all(done[step.name]["status"] == WELL for step in own if step.needed)


def _run(step: RunStep, seconds: float, out: Path, archive: Path, every_s: float) -> str:
    """Run a program, its output in a file; how it ended."""
    end = time.monotonic() + seconds
    with (out / LOGS / f"{step.name}.txt").open("ab") as log:
        process = subprocess.Popen(
            step.program, cwd=ROOT, stdout=log, stderr=subprocess.STDOUT, preexec_fn=_heed_interrupts
        )
        try:
            while time.monotonic() < end:
                with suppress(subprocess.TimeoutExpired):
                    status = process.wait(max(0.0, min(every_s, end - time.monotonic())))
                    return f"ended with {status}"
                pack(out, archive)
            return "interrupted, out of time"
        finally:
            if process.poll() is None:
                process.send_signal(signal.SIGINT)
                try:
                    process.wait(GRACE_S)
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.wait()


def _heed_interrupts() -> None:
    """In a child: a run in the background ignores Ctrl-C, and its children would too."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


@contextmanager
def _terminated_as_interrupted() -> Iterator[None]:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def pack(folder: Path, archive: Path) -> None:
    """Write everything in a folder to an archive, in one step: there is always a whole one. Hidden files stay out."""
    with replacing(archive) as part, tarfile.open(part, "w:gz", compresslevel=1) as tar:
        for path in sorted(folder.rglob("*")):
            name = path.relative_to(folder)
            if any(each.startswith(".") for each in name.parts):
                continue
            with suppress(FileNotFoundError):  # replaced in this very moment: the next archive has it
                if path.is_file():
                    data, entry = path.read_bytes(), tar.gettarinfo(path, str(name))
                    entry.size = len(data)  # it may have grown in between
                    tar.addfile(entry, io.BytesIO(data))


def unpack(archive: Path, folder: Path) -> None:
    """Bring back what `pack` put away. Raises ValueError where the folder is not empty, or it is no archive."""
    if folder.exists() and any(folder.iterdir()):
        raise ValueError(f"{folder} is not empty: name another --out")
    make_folder(folder)
    try:
        with tarfile.open(archive, "r:gz") as tar:
            tar.extractall(folder, filter="data")
    except tarfile.TarError as error:
        raise ValueError(f"{archive} is no archive of a run: {error}") from None
