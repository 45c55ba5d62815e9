"""The log of what happens, for the journal and the recording: lines in memory that a thread appends to files."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from threading import Event, Lock, RLock, Thread
from time import sleep

from traces.shared.atomic import make_folder, write_text
from traces.shared.lines import append, is_locked, lock

log = logging.getLogger("cohort.log")
#: Seconds between two writes: kill -9 loses no more than that and what a write takes.
EVERY_S = 0.25
#: Bytes that wait in memory while the disk takes nothing; lines that come then are lost.
MOST_WAITING = 1 << 26
#: Seconds to wait between the last attempts, at the end.
PAUSES_S = (0.05, 0.2, 0.5)
#: The file that is locked as long as the log is open.
LOCK = "lock"


class Log:
    """Files of lines in a new folder, which stays locked while the log is open. Close it.

    first: files that are written at once, by name. work: called with the log every `EVERY_S` seconds and at the end, in
    the log's thread; by default it writes the lines. on_failure: called where that fails. failures: how often it did;
    lost: lines that are on no disk because of it. A full disk stops nobody: lines wait in memory, up to `most_waiting`
    bytes, and are tried again.

    Raises FileExistsError where the folder is there, OSError where it cannot be made or locked.
    """

    def __init__(
        self,
        folder: Path,
        first: Mapping[str, str],
        work: Callable[[Log], None] | None = None,
        on_failure: Callable[[], object] = lambda: None,
        most_waiting: int = MOST_WAITING,
    ) -> None:
        make_folder(folder.parent)
        folder.mkdir()
        self.folder, self.failures, self.lost = folder, 0, 0
        self._work, self._on_failure, self._most = work or Log.write, on_failure, most_waiting
        self._added: dict[str, bytearray] = {}
        self._waiting: dict[str, bytearray] = {}
        self._bytes = 0  # of both
        self._adding, self._writing = Lock(), RLock()
        self._failing = False
        self._ended = Event()
        try:
            self._lock = lock(folder / LOCK)
            for name, text in first.items():
                write_text(folder / name, text)
        except OSError:
            for name in (*first, LOCK):
                (folder / name).unlink(missing_ok=True)
            folder.rmdir()
            raise
        self._thread = Thread(target=self._run, name="log", daemon=True)
        self._thread.start()

    def add(self, name: str, lines: str) -> None:
        """Add whole lines to the file of this name; from any thread."""
        data = lines.encode()
        with self._adding:
            if self._bytes + len(data) > self._most:
                self.lost += data.count(b"\n")
                return
            self._bytes += len(data)
            self._added.setdefault(name, bytearray()).extend(data)

    def write(self) -> None:
        """Write all that was added so far; from any thread. Raises OSError; what is not written waits on."""
        with self._writing:
            with self._adding:
                for name, lines in self._added.items():
                    self._waiting.setdefault(name, bytearray()).extend(lines)
                self._added = {}
            for name, lines in list(self._waiting.items()):
                count = len(lines)
                try:
                    append(self.folder / name, lines)
                finally:
                    with self._adding:
                        self._bytes -= count - len(lines)
                del self._waiting[name]

    def failed(self, error: Exception) -> None:
        """Count a failure, and log it unless the attempt before failed too; from any thread."""
        with self._adding:
            self.failures += 1
        self._on_failure()
        if not self._failing:
            log.error("%s cannot be written, and is tried again: %s", self.folder, error)
        self._failing = True

    def close(self) -> None:
        """Write what is left, several times where that fails, count as lost what cannot be written, and unlock."""
        if self._ended.is_set():
            return
        self._ended.set()
        self._thread.join()
        for pause_s in (*PAUSES_S, None):
            if self.attempt() or pause_s is None:
                break
            sleep(pause_s)
        with self._adding:
            left = (*self._waiting.values(), *self._added.values())
            self.lost += sum(lines.count(b"\n") for lines in left)
        (self.folder / LOCK).unlink(missing_ok=True)
        if self._lock is not None:
            os.close(self._lock)

    def _run(self) -> None:
        while not self._ended.wait(EVERY_S):
            self.attempt()

    def attempt(self) -> bool:
        """Do the work once, now; whether it succeeded. From any thread."""
        try:
            with self._writing:
                self._work(self)
        except OSError as error:
            self.failed(error)
            return False
        if self._failing:
            log.info("%s is written again", self.folder)
        self._failing = False
        return True


def is_open(folder: Path) -> bool:
    """Whether a process keeps its log in this folder now."""
    return is_locked(folder / LOCK)
