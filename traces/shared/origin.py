"""Where a result comes from: time, command, versions, commit, machine. Nothing is loaded to find out."""

from __future__ import annotations

import os
import platform
import shlex
import subprocess
import sys
from datetime import UTC, datetime
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

from traces.shared.text import count

_PACKAGES = (
    *("cohort-serving", "numpy", "simpy", "pyarrow", "torch", "triton", "transformers", "safetensors"),
    *("onnxruntime", "openvino"),
)


def origin() -> dict[str, Any]:
    """What every result says about its making; no figure depends on it."""
    found = {name: version(name) for name in _PACKAGES}
    return {
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": command(),
        "versions": {"python": platform.python_version(), **{name: each for name, each in found.items() if each}},
        "commit": commit(),
        "platform": f"{platform.system()} {platform.release()} {platform.machine()}",
        "cores": os.cpu_count(),
    }


def command() -> str:
    """The command line of this process, as one would type it."""
    program = Path(sys.argv[0])
    started = ["python", "-m", program.parent.name] if program.name == "__main__.py" else [program.name]
    return shlex.join([*started, *sys.argv[1:]])


@cache
def version(name: str = "cohort-serving") -> str | None:
    """Of an installed package; None where it is not installed."""
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def commit() -> str | None:
    """The commit of this source tree, with +dirty where tracked files differ; None where it is no checkout."""
    checkout = Path(__file__).parents[2]
    if not (checkout / ".git").exists():  # installed: the repository around it, if any, is somebody else's
        return None
    tracked = ["git", "ls-files", "--error-unmatch", __file__]  # as is one that it was copied or installed into
    asked = ["git", "describe", "--always", "--dirty=+dirty", "--exclude=*", "--abbrev=40"]
    try:
        subprocess.run(tracked, cwd=checkout, capture_output=True, timeout=10, check=True)
        found = subprocess.run(asked, cwd=checkout, capture_output=True, text=True, timeout=10)
    except (OSError, subprocess.SubprocessError):
        return None
    return found.stdout.strip() or None


def cpu_name(threads: int | None = None) -> str:
    """The processor's model name, as the system gives it, and how many of its threads are used."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    name = names[0] if names else platform.processor() or platform.machine()
    return name if threads is None else f"{name}, {count(threads, 'CPU thread')}"
