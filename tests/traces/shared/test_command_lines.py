"""Every command line has one frame: its flags, its errors, its statuses."""

from __future__ import annotations

import argparse
import importlib
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from analysis.__main__ import COMMANDS as ANALYSIS
from analysis.console import SHELLS, cohort, whole
from profiler.__main__ import COMMANDS as PROFILER
from traces.shared.command import command_line, words

ROOT = Path(__file__).parents[3]
#: Every command: the module of its `main`, and the words before its own flags.
EVERY = [
    *((f"{package}.__main__", ()) for package in ("traces", "profiler", "simulator", "analysis")),
    *(("traces.__main__", (name,)) for name in ("make", "convert", "stats", "compare", "fit", "list")),
    *(("profiler.__main__", (name,)) for name in PROFILER),
    *(("analysis.__main__", (name,)) for name in ANALYSIS),
    ("simulator.__main__", ("serve",)),
    ("simulator.endpoint.load", ()),
]


@pytest.mark.parametrize(("module", "named"), EVERY)
def test_every_command_has_debug_and_version_and_suggests_the_nearest_flag(module, named, capsys):
    if named == ("plot",):
        pytest.importorskip("matplotlib")
    main = importlib.import_module(module).main
    for flags, status, message in (
        (["--debug", "--version"], 0, "cohort-serving "),
        (["--debgu"], 2, "did you mean --debug?"),
        (["--help"], 0, "--debug"),
    ):
        with pytest.raises(SystemExit) as ended:
            main([*named, *flags])
        assert ended.value.code == status
        captured = capsys.readouterr()
        assert message in captured.out + captured.err


@pytest.mark.parametrize(
    ("arguments", "prog"),
    [
        (["simulate", "--help"], "cohort simulate"),
        (["serve", "--help"], "cohort serve"),
        (["profile", "show", "--help"], "cohort profile show"),
        (["traces", "stats", "--help"], "cohort traces stats"),
        (["--debug", "plan", "--help"], "cohort plan"),
    ],
)
def test_cohort_has_the_commands_of_every_package(arguments, prog, capsys):
    with pytest.raises(SystemExit) as ended:
        cohort(arguments)
    assert ended.value.code == 0
    assert capsys.readouterr().out.startswith(f"usage: {prog} ")


def arguments_of(flags, path="cohort"):
    """Every argument of a parser and of those below it, each with its command."""
    for each in flags._actions:
        if isinstance(each, argparse._SubParsersAction):
            for name, own in each.choices.items():
                yield from arguments_of(own, f"{path} {name}")
        elif each.dest not in ("help", "version"):
            yield path, each


def test_every_argument_has_a_help_and_says_what_it_takes_and_its_default():
    unfinished = [
        f"{command} {each.option_strings or each.dest}"
        for command, each in arguments_of(whole())
        if not each.help
        or (each.nargs != 0 and each.metavar is None and not each.choices)
        or (
            each.option_strings
            and each.nargs != 0
            and each.default not in (None, [], ())
            and "default" not in each.help
        )
    ]
    assert unfinished == []


def test_one_vocabulary_of_flags():
    """One flag for one thing: its first name; what it was called before is an alias."""
    found = {}
    for command, each in arguments_of(whole()):
        found.setdefault(command, []).append(each.option_strings)
    for command in ("cohort sweep", "cohort capacity", "cohort tenants", "cohort compare", "cohort crossover",
                    "cohort plan", "cohort sensitivity"):  # fmt: skip
        first = {names[0] for names in found[command] if names}
        assert {"--policy", "--table", "--model", "--slo-ms", "--seeds", "--out"} <= first, command
        assert any("--policies" in names for names in found[command]), command
    assert not {"--policies", "--tables", "--models", "--replications"} & {
        names[0] for own in found.values() for names in own if names
    }


@pytest.mark.parametrize("shell", SHELLS)
def test_cohort_prints_what_a_shell_completes_by(shell, capsys):
    pytest.importorskip("shtab", reason="shtab is not installed")
    assert cohort(["completion", shell]) == 0
    script = capsys.readouterr().out
    assert all(word in script for word in ("capacity", "distill", "--min-accuracy", "h200-modelled", "slackfit"))
    if shell == "zsh":
        return
    function = re.search(r"^complete .*-F (\S+)", script, re.MULTILINE)[1]
    for line, expected in (("cohort pl", "plan plot"), ("cohort plan --table h200-modelled-", "h200-modelled-packed")):
        *_, before, last = typed = line.split()
        words = " ".join(f"'{word}'" for word in typed)
        program = f"COMP_WORDS=({words}); COMP_CWORD={len(typed) - 1}; {function} cohort {last} {before}"
        done = subprocess.run(
            ["bash"], input=f'{script}\n{program}; echo "${{COMPREPLY[*]}}"', capture_output=True, text=True
        )
        assert done.stdout.split() == expected.split()


@pytest.mark.parametrize(
    ("line", "nearest"),
    [("swep", "sweep"), ("simulat", "simulate"), ("profile sho", "show"), ("traces stat", "stats"),
     ("traces stats x --trace-format azure-lm", "azure-llm"), ("simulate --levels usefull", "useful"),
     ("simulate --policy gredy", "greedy"), ("simulate --table h200-modeled", "h200-modelled"),
     ("simulate --trace poison:rate=3", "poisson"), ("simulate --model teacher-12x38", "teacher-12x384")],
)  # fmt: skip
def test_a_mistyped_word_is_answered_with_the_nearest(line, nearest, capsys):
    try:
        status = cohort(line.split())
    except SystemExit as ended:
        status = ended.code
    assert status == 2
    assert f"did you mean {nearest}?" in capsys.readouterr().err.splitlines()[-1]


@pytest.mark.parametrize("command", ["-m simulator", "-m analysis capacity"])
def test_a_file_that_hides_a_package_is_one_line_and_cohort_does_not_see_it(tmp_path, command):
    (tmp_path / "profiler.py").touch()
    (tmp_path / "policies.py").touch()
    (tmp_path / "analysis").mkdir()
    env = os.environ | {"PYTHONPATH": str(ROOT)}
    words = [sys.executable, *command.split()]
    done = subprocess.run(words, cwd=tmp_path, env=env, capture_output=True, text=True)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert re.search(r"/(profiler|policies)\.py hides", done.stderr)


def test_cohort_does_not_look_in_the_current_folder_first_but_finds_policies_there(tmp_path):
    (tmp_path / "profiler.py").write_text("raise SystemExit(9)")
    (tmp_path / "mine.py").write_text("from policies.batching.greedy import Greedy")
    script = tmp_path / "bin" / "cohort"
    script.parent.mkdir()
    script.write_text("import sys\nfrom analysis.console import cohort\nsys.exit(cohort())")
    line = "simulate --policy mine:Greedy --trace poisson:rate=5,duration=5 --reference none"
    done = subprocess.run(
        [sys.executable, str(script), *line.split()],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr


def test_cohort_runs_a_command_and_hands_its_status_on(capsys):
    assert cohort(["profile", "validate", "h200-modelled"]) == 0
    assert cohort(["traces", "stats", "nosuch"]) == 2
    with pytest.raises(LookupError):
        cohort(["--debug", "traces", "stats", "nosuch"])


@pytest.mark.parametrize(
    ("error", "status"),
    [(ValueError("x"), 2), (LookupError("x"), 2), (OSError("x"), 2), (RuntimeError("x"), 2), (MemoryError(), 2),
     (ModuleNotFoundError("x", name="torch"), 2), (KeyboardInterrupt(), 130)],
)  # fmt: skip
def test_what_is_expected_is_one_line_and_a_status(error, status, capsys):
    @command_line("test")
    def main(arguments, prog):
        raise error

    assert main([]) == status
    assert len(capsys.readouterr().err.splitlines()) == 1


def test_a_missing_library_names_its_extra_and_the_command():
    assert "pip install 'cohort-serving[gpu]'" in words(ModuleNotFoundError("x", name="torch.nn"))


@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_a_closed_pipe_keeps_the_status_and_what_follows_and_a_full_disk_is_one_line(tmp_path, unbuffered):
    program = tmp_path / "program.py"
    program.write_text(
        "from pathlib import Path\nimport sys\nfrom traces.shared.command import command_line\n"
        "@command_line('program')\ndef main(arguments, prog):\n"
        "    for _ in range(9):\n        print('x' * 100_000)\n    Path('done').touch()\n    return 1\n"
        "sys.exit(main())\n"
    )
    for target, status, lines in (("| true", 1, 0), ("> /dev/full", 2, 1)):
        (tmp_path / "done").unlink(missing_ok=True)
        done = subprocess.run(
            ["bash", "-o", "pipefail", "-c", f"{sys.executable} {program} {target}"],
            env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[3]), "PYTHONUNBUFFERED": unbuffered},
            cwd=tmp_path,
            capture_output=True,
            text=True,
        )
        assert (done.returncode, len(done.stderr.splitlines())) == (status, lines), done.stderr
        assert (tmp_path / "done").exists() == (status == 1)


#: Stands for an environment without some packages.
WITHOUT = """
import runpy, sys
class Without:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {packages}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)
sys.meta_path.insert(0, Without())
sys.argv = {words}
runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
"""


@pytest.mark.parametrize(
    ("package", "extra", "line"),
    [
        ("torch", "gpu", "simulator --live --out out"),
        ("torch", "gpu", "simulator serve --device cpu --port 0"),
        ("torch", "gpu", "analysis validate --out out"),
        ("uvicorn", "gpu,serve", "simulator serve --device cpu --port 0"),
        ("starlette", "gpu,serve", "simulator serve --device cpu --port 0"),
    ],
)
def test_a_missing_library_is_one_line_with_its_extra_and_the_command(tmp_path, package, extra, line):
    if package == "torch" and "serve" in line:
        pytest.importorskip("uvicorn", reason="uvicorn is not installed")
    program = WITHOUT.format(packages={package}, words=line.split())
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert re.search(rf"^error: {package} .*pip install .*\[{extra}\].*-e .*\[{extra}\]", done.stderr)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("tracked", "dirty"), [(True, False), (True, True), (False, False)])
def test_the_commit_of_a_repository_around_a_copy_is_not_ours(tmp_path, tracked, dirty):
    """The copy is told from a checkout by whether the repository tracks it."""
    package = tmp_path / "traces" / "shared"
    package.mkdir(parents=True)
    for name in ("origin.py", "text.py"):
        (package / name).write_text((ROOT / "traces" / "shared" / name).read_text())
    for folder in (package, package.parent):
        (folder / "__init__.py").touch()
    (tmp_path / "theirs.txt").write_text("theirs")

    def git(*words):
        own = ["-c", "user.name=a", "-c", "user.email=a@b"]
        return subprocess.run(["git", *own, *words], cwd=tmp_path, capture_output=True, text=True, check=True).stdout

    git("init", "-q")
    git("add", "." if tracked else "theirs.txt")
    git("commit", "-qm", "first")
    if dirty:
        (tmp_path / "theirs.txt").write_text("changed")
    program = "from traces.shared.origin import commit; print(commit())"
    done = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, env=os.environ | {"PYTHONPATH": str(tmp_path)},
                          capture_output=True, text=True, check=True)  # fmt: skip
    head = git("rev-parse", "HEAD").strip() + ("+dirty" if dirty else "")
    assert done.stdout.strip() == (head if tracked else "None")


@pytest.mark.parametrize("error", [MemoryError(), MemoryError("7 GiB"), RuntimeError("CUDA out of memory")])
def test_too_little_memory_is_said_and_what_to_do(error):
    assert "out of memory: use fewer" in words(error)


def test_a_name_that_is_not_utf8_is_refused_before_anything_runs(capsys):
    @command_line("say")
    def say(arguments, prog):
        raise AssertionError(arguments)

    assert say(["--trace", os.fsdecode(b"caf\xe9.csv")]) == 2
    assert "UTF-8" in capsys.readouterr().err


def test_an_error_of_several_lines_is_one_line(capsys):
    with pytest.raises(SystemExit):
        cohort(["traces", "stats", "trace.csv", "a\nb"])
    assert capsys.readouterr().err.splitlines()[-1].endswith("a b")
    assert words(ValueError("a\nb")) == "a b"
    assert words(RuntimeError()) == "RuntimeError"
