"""The frame of every command line: errors in one line, exit statuses, an output that may be closed."""

from __future__ import annotations

import contextlib
import functools
import importlib
import os
import sys
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from traces.shared.flags import Flags

#: What bad input, missing parts and full disks raise; everything else is a bug and shows its traceback.
EXPECTED = (ValueError, LookupError, OSError, RuntimeError, ArithmeticError, MemoryError, ImportError)
#: The extras that bring libraries, by module.
EXTRAS = {
    **dict.fromkeys(("torch", "triton", "transformers", "safetensors", "pynvml"), "gpu"),
    **dict.fromkeys(("starlette", "uvicorn", "httptools", "prometheus_client", "pythonjsonlogger"), "gpu,serve"),
    "distributed": "dask",
    "ray": "ray",
}
#: Where our packages lie, and their names.
HOME, OURS = Path(__file__).resolve().parents[2], ("traces", "profiler", "policies", "simulator", "analysis")


def command_line(prog: str) -> Callable[[Callable[[list[str], str], int]], Callable[..., int]]:
    """Frame `main(arguments, prog)`: it is called as `main()` or `main(arguments)` and returns the exit status.

    2 and one line `error: ...` for what is expected to fail (with --debug its traceback), 130 for Ctrl-C. A reader of
    the output that has gone (`| head`) changes nothing; a full disk is an error.
    """

    def frame(main: Callable[[list[str], str], int]) -> Callable[..., int]:
        @functools.wraps(main)
        def framed(arguments: Sequence[str] | None = None, prog: str = prog) -> int:
            given = list(sys.argv[1:] if arguments is None else arguments)
            try:
                _refuse_foreign(given)
                with contextlib.redirect_stdout(_Output(sys.stdout)):
                    status = main(given, prog)
                    sys.stdout.flush()
                return status
            except KeyboardInterrupt as error:
                print("; ".join(["interrupted", *_notes(error)]), file=sys.stderr)
                return 130
            except EXPECTED as error:
                if "--debug" in given:
                    raise
                with _discarded(OSError):
                    sys.stdout.flush()
                print("; ".join([f"error: {words(error)}", *_notes(error)]), file=sys.stderr)
                return 2

        return framed

    return frame


def subcommand(arguments: Sequence[str], prog: str, description: str, commands: Mapping[str, tuple[str, str]]) -> int:
    """Run the subcommand that is named. commands: by name its module (`add_arguments`, `main`) and a line of help.

    Only the module of the one that is named is loaded.
    """
    chosen = [word for word in arguments if word in commands][:1]
    options = subcommands(prog, description, commands, chosen).parse_args(arguments)
    return int(options.main(options))


def subcommands(prog: str, description: str, commands: Mapping[str, tuple[str, str]], loaded: Collection[str]) -> Flags:
    """The parser of subcommands. commands: as of `subcommand`. loaded: those whose own flags it has, too."""
    flags = Flags(prog=prog, description=description)
    known = flags.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for name, (module, line) in commands.items():
        own = known.add_parser(name, help=line, description=line)
        if name in loaded:
            implementation = importlib.import_module(module)
            implementation.add_arguments(own)
            own.set_defaults(main=implementation.main)
    return flags


def words(error: BaseException) -> str:
    """An expected error in a line that says what to do."""
    text = " ".join((repr(error) if isinstance(error, KeyError) else str(error)).split("\n"))
    if isinstance(error, ImportError) and (hidden := _hidden(error)):
        return hidden
    if isinstance(error, ModuleNotFoundError) and error.name:
        package = error.name.partition(".")[0]
        extra = EXTRAS.get(package)
        how = f"'cohort-serving[{extra}]' (in a clone: -e '.[{extra}]')" if extra else package
        return f"{package} is not installed: pip install {how}"
    if isinstance(error, MemoryError) or (isinstance(error, RuntimeError) and "memory" in text.lower()):
        why = f" ({text})" if text else ""
        return f"out of memory: use fewer models, students, requests or GPUs, or a smaller batch{why}"
    return text or type(error).__name__


def refuse_hidden(error: ImportError) -> None:
    """Raise ImportError that says so where a file that is not ours was imported in place of one of our packages.

    Of `python -m`, which looks in the current folder first, the end is one line and status 2.
    """
    if said := _hidden(error):
        if sys.argv[:1] == ["-m"]:  # what Python sets while it looks for the module to run
            print(f"error: {said}", file=sys.stderr)
            raise SystemExit(2)
        raise ImportError(said) from None


def _hidden(error: ImportError) -> str | None:
    package = (error.name or "").partition(".")[0]
    file = getattr(sys.modules.get(package), "__file__", None)
    if package not in OURS or not file or Path(file).resolve().is_relative_to(HOME / package):
        return None
    return f"{file} hides a part of Cohort: rename it, or use cohort, which does not look in this folder first"


def _refuse_foreign(words: Sequence[str]) -> None:
    """Raise ValueError for a name that is not UTF-8: neither JSON nor Parquet could record it."""
    for word in words:
        try:
            word.encode()
        except UnicodeEncodeError:
            raise ValueError(f"{os.fsencode(word)!r} is not UTF-8: rename the file or folder") from None


def _notes(error: BaseException) -> list[str]:
    """What was added to an error on its way (`add_note`)."""
    return getattr(error, "__notes__", [])


class _Output:
    """Standard output that outlives its reader: what is printed then goes nowhere."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        with _discarded(BrokenPipeError):
            self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        with _discarded(BrokenPipeError):
            self._stream.flush()


@contextlib.contextmanager
def _discarded(wrong: type[OSError]) -> Iterator[None]:
    """Where this goes wrong, what is left in the buffer goes nowhere: Python would complain of it at exit."""
    try:
        yield
    except wrong:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, 1)
        os.close(nowhere)
