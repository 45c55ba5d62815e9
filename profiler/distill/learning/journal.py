"""What a study says while it runs: a log of lines of JSON, progress over all phases, and the time that is left."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from time import monotonic, process_time
from typing import Any

from traces.shared.documents import json_text, parse_json


class StudyLog:
    """Writes log.jsonl and reports progress. costs: the seconds that each phase is expected to take."""

    def __init__(
        self,
        path: Path,
        costs: Mapping[str, float],
        progress: Callable[[float, str], None] = lambda share, what: None,
        say: Callable[[str], None] = lambda line: None,
    ) -> None:
        self._path, self._costs, self._progress, self._say = path, dict(costs), progress, say
        self._whole = sum(costs.values()) or 1.0
        self._done = 0.0  # cost of the phases that are over
        self._spent = 0.0  # cost that was spent in this process, for the time left
        self._began = self._phase_began = monotonic()
        self._phase, self._words, self._cpu_began = "", "", 0.0
        self._running: set[str] = set()

    def begin(self, phase: str) -> None:
        """A phase starts that no earlier run has finished."""
        self._phase_began, self._cpu_began = monotonic(), process_time()
        self._running.add(phase)
        self._phase = phase
        self._progress(self._done / self._whole, phase)

    def answered(self, done: int, texts: int) -> None:
        """So many of these texts are answered, where nothing is learned."""
        self._progress(self._done / self._whole, f"{self._phase} answers {done}/{texts}{self._words}".lstrip())

    def step(self, phase: str, step: int, steps: int, loss: float) -> None:
        """Training got so far; `loss` is the mean since the last call."""
        cost = self._costs.get(phase, 0.0) * step / steps
        self._write(phase=phase, step=step, steps=steps, loss=round(loss, 6))
        self._progress((self._done + cost) / self._whole, f"{phase} {step}/{steps}, loss {loss:.4f}{self._words}")

    def end(self, phase: str) -> None:
        """A phase is over, now or in an earlier run."""
        cost = self._costs.get(phase, 0.0)
        self._done += cost
        if phase in self._running:
            self._running.remove(phase)
            self._spent += cost
            spent = {"seconds": monotonic() - self._phase_began, "cpu_seconds": process_time() - self._cpu_began}
            self._write(phase=phase, event="done", **{name: round(value, 2) for name, value in spent.items()})

    def note(self, phase: str, words: str, **figures: Any) -> None:
        """Say a line about a finished phase, with the time that is left, and log its figures."""
        self._write(phase=phase, **figures)
        self._words = f" ({words})"
        self._say(f"{phase:14} {words}{self._left()}")

    def seconds(self, clock: str = "seconds") -> dict[str, float]:
        """What every phase took, by the wall ("seconds") or of the processor ("cpu_seconds"), earlier runs included.

        Of a phase that was interrupted, the part after the last interruption. Lines that a crash cut short are skipped.
        """
        lines = map(_parsed, self._path.read_text().splitlines()) if self._path.exists() else ()
        return {line["phase"]: line[clock] for line in lines if line.get("event") == "done" and clock in line}

    def _left(self) -> str:
        if not self._spent or self._done >= self._whole:
            return ""
        minutes = (monotonic() - self._began) / self._spent * (self._whole - self._done) / 60
        return f"; about {minutes:.0f} min left" if minutes >= 1 else ""

    def _write(self, **figures: Any) -> None:
        with self._path.open("a") as file:
            file.write(json_text({"at_s": round(monotonic() - self._began, 2), **figures}) + "\n")


def _parsed(line: str) -> dict[str, Any]:
    """A line of the log; nothing where it cannot be read."""
    try:
        return dict(parse_json(line, "a line"))
    except (ValueError, TypeError):
        return {}
