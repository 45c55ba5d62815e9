"""The command line of traces: output, errors without a traceback, interruption."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from conftest import heed_interrupts

from traces import FORMATS, GENERATORS, NAMED, load
from traces.__main__ import main

ROOT = Path(__file__).resolve().parents[2]


def shell(command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["bash", "-c", f"set -o pipefail; {command}"],
        capture_output=True,
        text=True,
        cwd=ROOT,
        check=False,
        timeout=60,
    )


def test_make_writes_what_load_makes(tmp_path: Path) -> None:
    spec = "gamma:rate=50,cv=2,duration=5"
    assert main(["make", spec, "--seed", "4", "-o", str(tmp_path / "t.csv")]) == 0
    assert load(tmp_path / "t.csv").arrival_s.tolist() == load(spec, seed=4).arrival_s.tolist()


def test_make_prints_csv_without_an_output_file(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["make", "constant:rate=2,duration=2", "--lengths", "constant:9"]) == 0
    assert capsys.readouterr().out.splitlines() == ["arrival_s,tokens", "0,9", "0.5,9", "1,9", "1.5,9"]


def test_convert_maps_columns_and_joins_files(tmp_path: Path) -> None:
    for name in "ab":
        (tmp_path / f"{name}.csv").write_text("ts,n\n1000,5\n3000,6\n")
    files = [str(tmp_path / "a.csv"), str(tmp_path / "b.csv")]
    out = tmp_path / "out.parquet"
    assert main(["convert", *files, "--columns", "arrival=ts,tokens=n", "--time-unit", "ms", "-o", str(out)]) == 0
    trace = load(out)
    assert trace.arrival_s.tolist() == [0, 2, 2, 4]
    assert trace.tokens.tolist() == [5, 6, 5, 6]


def test_stats_as_json_holds_every_statistic(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["stats", "poisson:rate=100", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["requests"] == len(load("poisson:rate=100"))
    assert list(found["dispersion"]) == ["0.01", "0.1", "1", "10", "60"]


def test_stats_table_is_aligned(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["stats", "poisson:rate=100"]) == 0
    table = capsys.readouterr().out.split("\n\n")[0].splitlines()
    assert len({len(line) for line in table}) == 1
    assert any(line.startswith("index of dispersion, 0.01 s") for line in table)


def test_compare_shows_both_and_their_ratio(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["compare", "constant:rate=100", "constant:rate=200"]) == 0
    requests = next(line for line in capsys.readouterr().out.splitlines() if line.startswith("requests"))
    assert requests.split() == ["requests", "6,000", "12,000", "2"]


def test_fit_saves_parameters_that_generate(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "parameters.json"
    main(["make", "hawkes:rate=50,duration=600", "-o", str(tmp_path / "t.csv")])
    assert main(["fit", str(tmp_path / "t.csv"), "-o", str(path)]) == 0
    assert load(f"fit:{path},duration=60").rate == pytest.approx(50, rel=0.2)
    assert f"use fit:{path}" in capsys.readouterr().err


@pytest.mark.parametrize(("suffix", "begins"), [("png", b"\x89PNG"), ("pdf", b"%PDF"), ("svg", b"<?xml")])
def test_a_plot_is_of_the_kind_that_its_suffix_names(tmp_path: Path, suffix: str, begins: bytes) -> None:
    assert main(["stats", "poisson:duration=1", "--plot", str(tmp_path / f"plot.{suffix}")]) == 0
    assert (tmp_path / f"plot.{suffix}").read_bytes().startswith(begins)


def test_list_shows_also_the_settings_without_a_default(capsys: pytest.CaptureFixture[str]) -> None:
    main(["list"])
    assert "\n  burst:factor=4,start=20,length=10,duration=60[,rate][,base][,period]\n" in capsys.readouterr().out


def test_the_list_fits_the_terminal(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "90")
    main(["list"])
    assert max(map(len, capsys.readouterr().out.splitlines())) <= 90


def test_list_names_everything(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list"]) == 0
    listing = capsys.readouterr().out
    for name in (*FORMATS, *GENERATORS, *NAMED):
        assert f"\n  {name}" in listing


@pytest.mark.parametrize(
    "arguments",
    [
        ["stats", "nosuch"],
        ["stats", "poisson:rate=-1"],
        ["make", "poisson:", "-o", "/nowhere/trace.csv"],
        ["make", "poisson:", "-o", "trace.xlsx"],
        ["make", "poisson:", "--seed", "-1"],
        ["convert", "nosuch.csv"],
        ["fit", "nosuch.csv", "-o", "p.json"],
        ["fit", "nosuch.csv", "-o", "parameters"],
        ["stats", "poisson:duration=1", "--plot", "figure.xyz"],
    ],
)
def test_bad_input_is_one_line_and_status_2(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments) == 2
    last = capsys.readouterr().err.splitlines()[-1]
    assert last.startswith("error: ")


def test_debug_shows_the_traceback() -> None:
    with pytest.raises(LookupError):
        main(["--debug", "stats", "nosuch"])
    with pytest.raises(LookupError):
        main(["stats", "nosuch", "--debug"])


@pytest.mark.parametrize("command", ["make poisson:rate=20000", "list"])
def test_a_full_disk_is_one_line(command: str) -> None:
    done = shell(f"unset PYTHONUNBUFFERED; {sys.executable} -m traces {command} > /dev/full")
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1].startswith("error: [Errno 28]")


@pytest.mark.parametrize("command", ["make poisson:rate=20000", "list", "stats poisson:"])
@pytest.mark.parametrize("reader", ["head -1", "true"])
def test_closed_pipe_is_no_error(command: str, reader: str) -> None:
    done = shell(f"unset PYTHONUNBUFFERED; {sys.executable} -m traces {command} | {reader}")
    assert done.returncode == 0
    assert "Traceback" not in done.stderr
    assert "BrokenPipe" not in done.stderr


def test_interrupt_ends_with_130_and_leaves_no_file(tmp_path: Path) -> None:
    target = tmp_path / "big.csv.gz"
    command = [sys.executable, "-m", "traces", "make", "poisson:rate=100000,duration=100", "-o", str(target)]
    process = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, preexec_fn=heed_interrupts)
    deadline = time.monotonic() + 50
    while not list(tmp_path.iterdir()) and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert b"Traceback" not in errors
    assert list(tmp_path.iterdir()) == []


def test_traces_starts_without_torch_matplotlib_and_tokenizers() -> None:
    code = (
        "import sys, traces.__main__; print(sorted({'torch', 'matplotlib', 'tokenizers', 'simpy'} & set(sys.modules)))"
    )
    assert shell(f'{sys.executable} -c "{code}"').stdout.strip() == "[]"
