"""Sweeps: rows are what single runs report, the store resumes, and the bytes do not depend on the workers."""

from __future__ import annotations

import os
import re
import resource
import signal
import socketserver
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
from conftest import EPYC
from written import write_table

import analysis
from analysis.__main__ import main
from analysis.sweeps.backends import Pool
from analysis.sweeps.cells import Cell, batches, run_here
from analysis.sweeps.frames import read
from analysis.sweeps.grid import grid
from analysis.sweeps.origin import Keys
from analysis.sweeps.store import Store
from analysis.sweeps.sweeping import Laboratory
from simulator.settings import Settings, prepare

ROOT = Path(__file__).parents[3]
AXES = {"policy": "greedy;timeout", "trace": "poisson:duration=0.1", "table": "synthetic", "slo_ms": 10}


def test_a_row_is_what_a_single_run_reports():
    frame = analysis.sweep(AXES, load=[0.3, 0.8], seed=[3])
    for place, settings in enumerate(grid({**AXES, "load": [0.3, 0.8], "seed": 3})):
        summary = prepare(settings).run().summary
        assert frame["load"][place] == settings.load
        for name, value in summary.items():
            if name not in ("load", "gpus"):
                assert frame[name][place] == value, name
        assert frame["offered_load"][place] == summary["load"]


def test_all_seeds_of_a_sweep_have_one_default_target():
    """Its median length lies at the edge of two buckets, so that each seed would have one of two targets of its own."""
    axes = {"policy": "greedy;none", "trace": "poisson:rate=60,duration=0.5", "table": EPYC}
    own = {prepare(each).run().slo_s for each in grid({**axes, "seed": range(9)})}
    assert len(own) > 1
    frame = analysis.sweep(axes, seed=range(9))
    assert set(frame["slo_s"]) == {prepare(grid({**axes, "seed": 0})[0]).run().slo_s}
    assert set(analysis.sweep(axes, seed=range(3), gpus=[1, 2])["slo_s"]) == set(frame["slo_s"])


def test_what_specs_vary_is_a_column():
    axes = {**AXES, "trace": "gamma:duration=0.1,cv=1;gamma:duration=0.1,cv=3"}
    frame = analysis.sweep(axes, parameters={"timeout_s": [0.001, 0.004]}, rate=500)
    assert frame["cv"].tolist() == [1.0] * 3 + [3.0] * 3
    assert np.isnan(frame["timeout_s"][0])
    assert frame["timeout_s"][1:3].tolist() == [0.001, 0.004]


def test_tasks_are_filled_and_keep_cells_of_the_same_inputs_together():
    cells = [Cell(each, "") for each in grid({**AXES, "policy": "greedy;timeout;none", "seed": range(5)})]
    tasks = batches(cells, 8)
    assert [len(task) for task in tasks] == [6, 6, 3]
    assert sorted(map(repr, (cell for task in tasks for cell in task))) == sorted(map(repr, cells))
    for task in tasks:
        seeds = [cell.settings.seed for cell in task]
        assert seeds == sorted(seeds)  # one trace is at hand at a time
    assert [len(task) for task in batches(cells, 2)] == [2, 1] * 5
    assert batches([], 8) == []


def test_a_single_cell_starts_no_process(monkeypatch):
    def started(*_: object) -> None:
        raise AssertionError("a worker was asked")

    monkeypatch.setattr(Pool, "each", started)
    with Laboratory(jobs=2) as opened:
        assert len(opened.rows(grid({**AXES, "policy": "greedy", "load": 0.3}))) == 1


def test_a_worker_with_other_code_is_refused():
    assert "other code" in str(run_here([], "another digest"))


def test_results_that_are_no_longer_wanted_are_dropped_without_a_warning(recwarn):
    with Pool(2) as pool:
        results = pool.each(pow, [(2, exponent) for exponent in range(50)])
        next(results)
        results.close()
    assert [str(each.message) for each in recwarn] == []


def test_a_second_sweep_finds_what_the_first_has_finished(tmp_path):
    cells = grid({**AXES, "load": [0.3, 0.8], "seed": range(3)})
    with Laboratory(store=tmp_path) as first:
        some = first.rows(cells[:7])
    with Laboratory(store=tmp_path) as second:
        rows = second.rows(cells)
    assert (first.ran, second.ran, second.found) == (7, 5, 7)
    assert rows[:7] == some


def test_a_key_changes_with_whatever_changes_a_result(tmp_path):
    trace = tmp_path / "trace.csv"
    trace.write_text("arrival_s,tokens\n0.1,12\n0.2,12\n")
    base = Settings(trace=str(trace), table="synthetic", policy="greedy")
    key = Keys().key(base)
    others = [Settings(trace=str(trace), table="synthetic", policy="greedy", seed=1),
              Settings(trace=str(trace), table="h200-modelled", policy="greedy"),
              Settings(trace=str(trace), table="synthetic", policy="timeout")]  # fmt: skip
    assert len({key, *(Keys().key(each) for each in others), Keys().key(base, since_s=1.0)}) == 5
    assert Keys().key(base) == key
    moved = tmp_path / "moved.csv"
    moved.write_bytes(trace.read_bytes())
    assert Keys().key(Settings(trace=str(moved), table="synthetic", policy="greedy")) == key
    trace.write_text("arrival_s,tokens\n0.1,12\n0.2,13\n")
    assert Keys().key(base) != key


def test_a_key_changes_with_a_recorded_session_that_grows(tmp_path):
    lines = tmp_path / "session" / "arrivals-00000001.csv"
    lines.parent.mkdir()
    lines.write_text("0,0.1,12,,,,,unanswered\n1,0.2,12,,,,,unanswered\n")
    its = Settings(trace=str(lines.parent), table="synthetic", policy="greedy")
    key = Keys().key(its)
    assert prepare(its).run().summary["requests"] == 2
    lines.write_text(lines.read_text() + "2,0.3,12,,,,,unanswered\n")
    assert Keys().key(its) != key
    assert prepare(its).run().summary["requests"] == 3
    moved = lines.parent.rename(tmp_path / "moved")
    assert Keys().key(Settings(trace=str(moved), table="synthetic", policy="greedy")) == Keys().key(
        Settings(trace=str(moved) + "/", table="synthetic", policy="greedy")
    )


@pytest.mark.parametrize("changed", ["key_policy.py", "key_base.py", "key_constant.py"])
def test_a_key_changes_with_every_module_behind_a_policy(tmp_path, monkeypatch, changed):
    """Its own file, that of its base class, and what that imports."""
    files = {
        "key_policy.py": "from key_base import Base\nclass P(Base): pass\n",
        "key_base.py": "from key_constant import LIMIT\nfrom policies import Dispatch\nclass Base:\n"
        "    def decide(self, view): return Dispatch(view.oldest(LIMIT), view.levels[-1])\n",
        "key_constant.py": "LIMIT = 1\n",
    }
    for name, text in files.items():
        (tmp_path / name).write_text(text)
        monkeypatch.delitem(sys.modules, name.removesuffix(".py"), raising=False)
    monkeypatch.syspath_prepend(tmp_path)
    base = Settings(table="synthetic", policy="admission(key_policy:P)")
    key = Keys().key(base)
    assert Keys().key(base) == key
    (tmp_path / changed).write_text(files[changed] + "# another\n")
    assert Keys().key(base) != key


def test_the_code_of_a_key_is_all_that_a_simulation_imports():
    """But for command lines and pages: told by what a process has imported once it has run."""
    program = """
import sys
from analysis.sweeps.origin import ROOT, _SOURCES
from simulator import simulate
simulate("poisson:rate=50,duration=0.2", "margin(adaptive)", sys.argv[1], service_noise="profiled").summary
known = {path for pattern in _SOURCES for path in ROOT.glob(pattern)}
ours = ("traces", "policies", "simulator", "profiler")
files = {module.__file__ for name, module in sys.modules.items() if name.partition(".")[0] in ours}
print(sorted(file for file in files if file and file not in set(map(str, known))))
"""
    done = subprocess.run([sys.executable, "-c", program, EPYC], cwd=ROOT, env=os.environ | {"PYTHONPATH": str(ROOT)},
                          capture_output=True, text=True, check=True)  # fmt: skip
    assert done.stdout.strip() == str([str(ROOT / "profiler" / "__init__.py")])


def test_a_key_changes_with_the_recorded_answers_that_a_policy_reads(tmp_path):
    answers = tmp_path / "answers.parquet"
    answers.write_bytes(b"one")
    base = Settings(table="synthetic", policy=f"margin(greedy, items={str(answers)!r})")
    key = Keys().key(base)
    answers.write_bytes(b"another")
    assert Keys().key(base) != key


def test_a_broken_cell_is_named_and_what_was_finished_is_kept(tmp_path):
    with pytest.raises(ValueError, match=r"policy greedy.*rate 1e-09.*: "):
        analysis.sweep(AXES, rate=[500, 1e-9], store=tmp_path)
    with Laboratory(store=tmp_path) as again:
        again.rows(grid({**AXES, "rate": [500]}))
    assert (again.ran, again.found) == (0, 2)


def test_many_segments_become_one_and_lose_nothing(tmp_path):
    with Laboratory() as opened:
        rows = opened.rows(grid({**AXES, "load": 0.5, "seed": range(6)}))
    store = Store(tmp_path)
    for row in rows:
        store.add([row])
        store.flush()
    assert len(list(tmp_path.glob("*.parquet"))) == 12
    store.join()
    assert len(list(tmp_path.glob("*.parquet"))) == 1
    assert Store(tmp_path).find(row["key"] for row in rows) == {row["key"]: row for row in rows}


def test_a_disk_that_is_full_is_one_line_and_leaves_no_half_of_a_file(tmp_path):
    """A limit on the size of files stands for the disk: the store's segment does not fit."""
    command = [sys.executable, "-m", "analysis", "sweep", "--policy", "greedy", "--trace", "poisson:duration=0.1",
               "--table", "synthetic", "--load", "0.5", "--jobs", "1", "--store", str(tmp_path / "store"),
               "--out", str(tmp_path / "out")]  # fmt: skip

    def full() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))

    done = subprocess.run(command, cwd=ROOT, env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}, capture_output=True,
                          text=True, preexec_fn=full, timeout=60)  # fmt: skip
    assert done.returncode == 2
    assert re.fullmatch(r"error: \S+/store/\w+\.parquet .*File too large\n", done.stderr)
    assert [each.suffix for each in (tmp_path / "store").iterdir()] == [".jsonl"]
    assert "1 found" in subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60).stderr


def test_the_command_writes_what_it_prints_and_reads_toml(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    Path("grid.toml").write_text('table = "synthetic"\ntrace = "poisson:duration=0.1"\nload = [0.3]\nseeds = "0-1"\n')
    command = ["sweep", "grid.toml", "--policy", "greedy;none", "--jobs", "1", "--out", "out"]
    assert main(command) == 0
    assert "4 cells: 4 simulated, 0 found" in capsys.readouterr().err
    first = Path("out/results.parquet").read_bytes()
    assert main(command) == 0
    assert "4 cells: 0 simulated, 4 found" in capsys.readouterr().err
    assert Path("out/results.parquet").read_bytes() == first
    assert read(Path("out"))["policy"].tolist() == ["greedy", "greedy", "none", "none"]
    assert Path("out/results.csv").read_text().count("\n") == 5


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--load", ""], "load.*no values"),
        (["--backend", "slurm"], "'slurm'.*loky, dask, ray"),
        (["--backend", "dask"], "address of its scheduler"),
        (["--backend", "ray", "--address", "127.0.0.1:1"], r"Ray.*127\.0\.0\.1:1"),
        (["--backend", "dask", "--scheduler", "tcp://127.0.0.1:1"], r"Dask.*tcp://127\.0\.0\.1:1"),
        (["--backend", "dask", "--scheduler", "nowhere"], "tcp://HOST:8786"),
        (["--jobs", "0"], "jobs is 0"),
        (["--table", "nowhere"], "no table 'nowhere'"),
        (["--out", "."], "output of a sweep"),
        (["-p", "timeout"], "timeout.*key=value"),
    ],
)
def test_bad_input_of_the_command_is_one_line(arguments, message, capsys, monkeypatch, tmp_path):
    if "--backend" in arguments and arguments[1] in ("dask", "ray"):
        pytest.importorskip({"dask": "distributed", "ray": "ray"}[arguments[1]], exc_type=ImportError)
    monkeypatch.chdir(tmp_path)
    Path("something").touch()
    assert main(["sweep", "--jobs", "1", "--trace", "poisson:duration=0.1", *arguments]) == 2
    error = capsys.readouterr().err
    assert re.match(f"error: .*{message}", error)
    assert error.count("\n") == 1


class Silent(socketserver.BaseRequestHandler):
    """Accepts a connection and sends nothing until it is closed."""

    def handle(self):
        self.request.recv(1024)
        self.request.recv(1024)


class Chatty(socketserver.BaseRequestHandler):
    """Speaks of something else, as an SSH or a web server does."""

    def handle(self):
        self.request.sendall(b"HTTP/1.0 400 Bad request\r\n\r\n")


@pytest.mark.parametrize(
    ("backend", "handler", "message"),
    [
        ("dask", Silent, "timed out"),
        ("dask", Chatty, "something else"),
        ("ray", Silent, "timed out"),
        ("ray", Chatty, "something else"),
    ],
)
def test_a_port_where_something_else_listens_is_given_up_soon(backend, handler, message, monkeypatch):
    pytest.importorskip({"dask": "distributed", "ray": "ray"}[backend], exc_type=ImportError)
    monkeypatch.setattr("analysis.sweeps.backends.PATIENCE_S", 0.5)
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        address = f"127.0.0.1:{server.server_address[1]}"
        try:
            with pytest.raises(ValueError, match=f"{address}.*{message}"), Pool(1, backend, address):
                pass
        finally:
            server.shutdown()


#: A policy that kills its own process the first time that it is started.
KILLER = """
import os, signal
from dataclasses import dataclass
from pathlib import Path
from policies.batching.greedy import Greedy

@dataclass
class Killer(Greedy):
    marker: str = ""

    def start(self, view):
        super().start(view)
        try:
            Path(self.marker).touch(exist_ok=False)
        except FileExistsError:
            return
        os.kill(os.getpid(), signal.SIGKILL)
"""
#: Sweeps on a backend, once plainly and once with the killer among the policies; prints the hashes of the tables.
PROGRAM = """
import hashlib, sys
from pathlib import Path
from analysis.sweeps.frames import write
from analysis.sweeps.grid import grid
from analysis.sweeps.sweeping import Laboratory, results

def hashed(axes, jobs, backend, address):
    with Laboratory(jobs, backend, address) as opened:
        write(results(opened.rows(grid(axes))), Path("table.parquet"))
    print("table", hashlib.sha256(Path("table.parquet").read_bytes()).hexdigest(), flush=True)

def both(jobs, backend="loky", address=None):
    axes = {"policy": "greedy;timeout", "trace": "poisson:duration=0.1", "table": "synthetic", "load": [0.4, 0.8]}
    hashed({**axes, "seed": range(3)}, jobs, backend, address)
    if sys.argv[-1] != "spare":
        hashed({**axes, "policy": "killing:Killer(marker='marker');greedy"}, jobs, backend, address)

if __name__ == "__main__":
    if sys.argv[1] == "dask":
        from distributed import LocalCluster
        with LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster:
            both(1, "dask", cluster.scheduler_address)
    else:
        both(int(sys.argv[2]), sys.argv[1])
"""


def tables(folder: Path, *arguments: str, marker: bool = False) -> list[str]:
    folder.mkdir()
    (folder / "killing.py").write_text(KILLER)
    (folder / "program.py").write_text(PROGRAM)
    if marker:
        (folder / "marker").touch()
    path = os.pathsep.join([str(folder), str(ROOT)])
    command, environment = [sys.executable, "program.py", *arguments], {**os.environ, "PYTHONPATH": path}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return [line.split()[1] for line in done.stdout.splitlines() if line.startswith("table ")]  # Ray prints of its own


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """The tables of one process, which the killer spares."""
    return tables(tmp_path_factory.mktemp("alone") / "here", "loky", "1", marker=True)


def test_two_workers_give_the_same_bytes_and_a_killed_one_is_replaced(alone, tmp_path):
    assert tables(tmp_path / "here", "loky", "2") == alone
    assert (tmp_path / "here" / "marker").exists()


def test_a_dask_cluster_gives_the_same_bytes_and_survives_a_killed_worker(alone, tmp_path):
    pytest.importorskip("distributed", reason="dask's distributed is not installed")
    assert tables(tmp_path / "here", "dask") == alone
    assert (tmp_path / "here" / "marker").exists()


def test_ray_gives_the_same_bytes(alone, tmp_path):
    pytest.importorskip("ray", reason="ray is not installed")
    assert tables(tmp_path / "here", "ray", "2", "spare") == alone[:1]


@pytest.mark.slow
def test_a_killed_worker_of_ray_is_replaced(alone, tmp_path):
    pytest.importorskip("ray", reason="ray is not installed")
    assert tables(tmp_path / "here", "ray", "2") == alone
    assert (tmp_path / "here" / "marker").exists()


def test_a_flipped_bit_of_a_segment_is_an_error_never_another_value(tmp_path):
    """A hundred bits at random, one at a time."""
    rows = [{"key": f"{number:032x}", "attainment": number / 7, "policy": "greedy"} for number in range(5)]
    store = Store(tmp_path)
    store.add(rows)
    store.flush()
    (segment,) = tmp_path.glob("*.parquet")
    whole, rng = segment.read_bytes(), np.random.default_rng(0)
    found = 0
    for bit in rng.integers(0, 8 * len(whole), 100).tolist():
        content = bytearray(whole)
        content[bit // 8] ^= 1 << bit % 8
        segment.write_bytes(content)
        try:
            kept = store.find(row["key"] for row in rows)
        except ValueError:
            found += 1
        else:
            assert kept == {row["key"]: row for row in rows}
    assert found > 95


def test_budgets_of_adapters_and_tenants_are_axes(tmp_path):
    table = write_table(tmp_path / "toy")
    rows = "model,kind,bytes,load_us,distinct,batch,tokens,extra_us\nstudents-2x8,toy,1024,200,16,16,64,5\n"
    (table / "adapters.csv").write_text(rows)
    found = analysis.sweep(
        policy="lru(greedy)", table=str(table), trace="poisson:rate=400,duration=0.5", slo_ms=50,
        tenants="zipf:count=20;zipf:count=80", adapter_budget="16KiB;100KiB", jobs=1,
    )  # fmt: skip
    cells = found.set_index(["tenants", "adapter_budget"])["hit_rate"]
    assert cells["zipf:count=80", "16KiB"] < cells["zipf:count=20", "16KiB"]
    assert cells["zipf:count=80", "16KiB"] < cells["zipf:count=80", "100KiB"]
