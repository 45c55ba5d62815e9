"""Where cells are run: in this process, or by joblib on worker processes, a Dask cluster or Ray."""

from __future__ import annotations

import contextlib
import logging
import os
import re
import socket
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from threading import Thread
from time import sleep
from types import TracebackType
from typing import Any, TypeVar

T = TypeVar("T")
R = TypeVar("R")

#: So often in a row a worker may die without anything being finished in between.
ATTEMPTS = 3
#: Seconds between two looks of a worker at its parent.
ORPHAN_S = 0.5
#: Worker processes of one sweep: each takes memory, and more than the cores gain nothing.
MOST_JOBS = 1024
#: Seconds until a cluster that does not answer is given up.
PATIENCE_S = 10
#: What a client of HTTP/2 begins with (RFC 9113, 3.4), which Ray speaks: whoever speaks it answers with its settings.
_HTTP2 = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes([0, 0, 0, 4, 0, 0, 0, 0, 0])


class Pool:
    """Runs a function on tasks, each result once; what a dead worker had is run again. A context manager.

    jobs: processes of loky and of a local Ray (a cluster has its own number). address: of the Dask scheduler or the Ray
    cluster; Ray without one is started here. Raises ValueError or LookupError for what makes no sense.
    """

    def __init__(self, jobs: int = 1, backend: str = "loky", address: str | None = None) -> None:
        if backend not in _OPEN:
            raise LookupError(f"no backend {backend!r}; choose {', '.join(_OPEN)}")
        if not 1 <= jobs <= MOST_JOBS:
            raise ValueError(f"jobs is {jobs}; at least 1 is needed, and at most {MOST_JOBS:,} are started")
        if backend == "dask" and not address:
            raise ValueError("backend dask needs the address of its scheduler: --scheduler tcp://HOST:8786")
        if backend == "loky" and address:
            raise ValueError("an address is given, but the backend is loky: choose dask or ray")
        self._asked, self._backend, self._address = jobs, backend, address
        self._open = contextlib.ExitStack()
        self._parallel: Any = None

    @property
    def jobs(self) -> int:
        """How many tasks run at a time."""
        return 1 if self._parallel is None else int(self._parallel._effective_n_jobs())

    @property
    def local(self) -> bool:
        """Whether workers are processes of this machine and write to its disk, as far as one knows."""
        return self._backend == "loky"

    def useful(self, cells: int) -> bool:
        """Whether workers gain anything: one cell is run here in less time than a process takes to start."""
        return self.jobs > 1 and (cells > 1 or self._backend != "loky")

    def __enter__(self) -> Pool:
        if self._asked > 1 or self._backend != "loky":
            with contextlib.ExitStack() as opening:
                self._parallel = _OPEN[self._backend](self._asked, self._address, opening)
                self._open = opening.pop_all()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._open.__exit__(kind, error, at)

    def each(self, function: Callable[..., R], tasks: Sequence[tuple[Any, ...]]) -> Iterator[tuple[int, R]]:
        """(task's number, function(*task)) for every task, in any order.

        Raises ValueError where workers die on and on.
        """
        left = dict(enumerate(tasks))
        deaths = 0
        while left:
            before = len(left)
            try:
                for number, result in self._pass(function, left):
                    del left[number]
                    yield number, result
            except _died() as error:
                deaths = deaths + 1 if len(left) == before else 1
                if deaths >= ATTEMPTS:
                    raise ValueError(
                        f"workers died {ATTEMPTS} times over the same {len(left)} tasks ({type(error).__name__}): "
                        f"is there enough memory? Try fewer jobs"
                    ) from None
                self.__exit__(None, None, None)  # Ray's pool does not replace a dead worker: begin with a new one
                self.__enter__()

    def _pass(self, function: Callable[..., R], left: Mapping[int, tuple[Any, ...]]) -> Iterator[tuple[int, R]]:
        if self._parallel is None:
            yield from ((number, function(*task)) for number, task in list(left.items()))
            return
        from joblib import delayed

        calls = [delayed(_numbered)(function, number, task) for number, task in left.items()]
        if self._parallel.return_generator:
            results = self._parallel(calls)
            try:
                for each in results:  # noqa: UP028  `yield from` would close them first, and they would warn
                    yield each
            finally:
                with warnings.catch_warnings(action="ignore"):  # that tasks are given up is what closing means
                    results.close()
            return
        wave = 4 * self.jobs  # a backend that hands results out only when all are done is given some at a time
        for at in range(0, len(calls), wave):
            yield from self._parallel(calls[at : at + wave])


def _numbered(function: Callable[..., R], number: int, task: tuple[Any, ...]) -> tuple[int, R]:
    return number, function(*task)


def _loky(jobs: int, address: str | None, opening: contextlib.ExitStack) -> Any:
    import joblib

    # A worker is one core's work: threads of BLAS beside it would only fight over the others' cores.
    how = {"inner_max_num_threads": 1, "initializer": _end_with, "initargs": (os.getpid(),)}
    opening.enter_context(joblib.parallel_config(backend="loky", **how))
    return joblib.Parallel(n_jobs=jobs, batch_size=1, return_as="generator_unordered")


def _end_with(parent: int) -> None:
    """Let this worker end soon after its parent, also where that was killed: loky's would wait for minutes."""

    def watch() -> None:
        while os.getppid() == parent:
            sleep(ORPHAN_S)
        os._exit(1)

    Thread(target=watch, name="watching the parent", daemon=True).start()


def _dask(jobs: int, address: str | None, opening: contextlib.ExitStack) -> Any:
    import distributed
    import joblib

    if not re.search(r":\d+$|^inproc:", str(address)):
        raise ValueError(f"{address!r} is no address of a Dask scheduler: write tcp://HOST:8786")
    with _clear("Dask scheduler", address):
        client = distributed.Client(address, timeout=PATIENCE_S, set_as_default=False)
    opening.enter_context(client)
    if not client.scheduler_info()["workers"]:
        raise ValueError(f"the Dask cluster at {address} has no workers: start some with `dask worker`")
    opening.enter_context(joblib.parallel_config(backend="dask", client=client))
    return joblib.Parallel(batch_size=1, return_as="generator_unordered")


def _ray(jobs: int, address: str | None, opening: contextlib.ExitStack) -> Any:
    import joblib
    import ray
    from ray.util.joblib import register_ray

    where = {"address": address} if address else {"num_cpus": jobs, "include_dashboard": False}
    if not ray.is_initialized():
        with _clear("Ray cluster", address):
            ray.init(**where, log_to_driver=False, logging_level=logging.ERROR)
        opening.callback(ray.shutdown)
    register_ray()
    opening.enter_context(joblib.parallel_config(backend="ray"))
    return opening.enter_context(joblib.Parallel(n_jobs=-1 if address else jobs, batch_size=1))


_OPEN = {"loky": _loky, "dask": _dask, "ray": _ray}


def _died() -> tuple[type[BaseException], ...]:
    """What a backend raises when a worker is gone; only those that are loaded."""
    places = {
        "joblib.externals.loky.process_executor": ("TerminatedWorkerError", "BrokenProcessPool"),
        "distributed.scheduler": ("KilledWorker",),
        "ray.exceptions": ("RayActorError", "WorkerCrashedError"),
    }
    loaded = {module: names for module, names in places.items() if module in sys.modules}
    return tuple(getattr(sys.modules[module], name) for module, names in loaded.items() for name in names)


@contextlib.contextmanager
def _clear(what: str, address: str | None) -> Iterator[None]:
    """One line where nobody answers at an address, or somebody else: looked up first, since clients try on and on."""
    try:
        named = re.fullmatch(r"(?:(\w+)://)?([\w.-]+):(\d+)", address or "")
        if named:
            _knock(what, named[1], (named[2], int(named[3])))
        yield
    except Exception as error:  # Ray raises Exception itself where its node does not start
        said = next(iter(str(error).splitlines()), type(error).__name__)
        where = f"no {what} answers at {address}" if address else f"no {what} could be started here"
        raise ValueError(f"{where}: {said}") from None


def _knock(what: str, scheme: str | None, place: tuple[str, int]) -> None:
    """Connect, and where the protocol is known see that it is spoken. Raises OSError where nobody does."""
    with socket.create_connection(place, timeout=PATIENCE_S) as line:
        if what.startswith("Dask") and scheme in (None, "tcp"):
            # A scheduler speaks first: the length of its greeting, in eight bytes.
            spoken = _heard(line)[4:] == bytes(4)
        elif what.startswith("Ray") and scheme is None:
            line.sendall(_HTTP2)
            spoken = _heard(line)[3] == 4
        else:
            return
    if not spoken:
        raise ConnectionError("something else listens there")


def _heard(line: socket.socket) -> bytes:
    heard = b""
    while len(heard) < 8:
        more = line.recv(8 - len(heard))
        if not more:
            raise ConnectionError("it hangs up")
        heard += more
    return heard


def cores() -> int:
    """How many processes there are for, at most: the cores of this machine that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
