"""The timeline of runs, and its command: what is drawn is what happened, and what is wrong is said in one line."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from conftest import formula_table
from matplotlib.figure import Figure

from analysis import timeline as drawing
from analysis.__main__ import main
from analysis.runs import Run
from analysis.timeline import timeline
from simulator import simulate
from simulator.output import save
from traces import Trace

#: Ten requests at 0, 1, ... 9 s, on one device that takes four seconds for a batch of one or two.
TRACE = Trace(np.arange(10.0), np.full(10, 9))
TABLE = formula_table(lambda *_: 4e6, students=(1, 2), batches=(1, 2))


def written(folder, policy="greedy", trace=TRACE, **settings):
    save(simulate(trace, policy, TABLE, **{"slo_s": 20.0} | settings), folder)
    return folder


@pytest.fixture
def run(tmp_path):
    return Run.read(written(tmp_path / "run"))


def lines(axes):
    return [line.get_ydata().tolist() for line in axes.lines]


def test_the_queue_is_what_has_arrived_and_not_begun(run):
    axes = drawing.queue(Figure().subplots(), run, np.arange(0.5, 10.5))
    # One begins at 0; the two oldest at 4, 8, ...
    assert lines(axes) == [[0, 1, 2, 3, 2, 3, 4, 5, 4, 5]]


def test_requests_that_were_turned_away_do_not_wait_for_ever(tmp_path):
    policy = "admission(greedy, max_waiting=1, hopeless=False)"
    axes = drawing.queue(Figure().subplots(), Run.read(written(tmp_path / "run", policy)), np.array([100.0]))
    assert lines(axes) == [[0]]


def test_rate_students_and_latency_are_those_of_the_columns(run):
    edges = np.array([0.0, 5.0, 10.0])
    panels = Figure().subplots(3, 1)
    assert drawing.rate(panels[0], run.requests["arrival_s"], edges).patches[0].get_data().values.tolist() == [1, 1]
    assert lines(drawing.students(panels[1], run, edges)) == [[2, 2]]
    latency_ms = 1e3 * (run.requests["finish_s"] - run.requests["arrival_s"])
    expected = [np.percentile(part, 99) for part in np.split(latency_ms, 2)]
    assert lines(drawing.latency(panels[2], run, edges)) == [pytest.approx(expected)]


def test_devices_are_named_with_each_run_where_they_differ(tmp_path):
    one, two = (Run.read(written(tmp_path / str(gpus), gpus=gpus)) for gpus in (1, 2))
    assert timeline([one, one]).get_suptitle() == "students-2x8 on a formula (modelled), 1 device"
    both = timeline([one, two])
    assert both.get_suptitle() == ""
    assert [text.get_text() for text in both.legends[0].get_texts()] == [
        "greedy: students-2x8 on a formula (modelled), 1 device",
        "greedy: students-2x8 on a formula (modelled), 2 devices",
    ]


@pytest.mark.parametrize("arrivals", [[1.0], [3.0, 3.0, 3.0]])
def test_a_trace_of_one_instant_is_drawn(tmp_path, arrivals):
    trace = Trace(np.array(arrivals), np.full(len(arrivals), 9))
    assert timeline([Run.read(written(tmp_path / "run", trace=trace))]).axes


def test_a_run_that_answers_nobody_is_drawn(run):
    nobody = {name: np.full(10, np.nan) for name in ("start_s", "finish_s")}
    nothing = {name: column[:0] for name, column in run.batches.items()}
    assert timeline([replace(run, requests=run.requests | nobody, batches=nothing)]).axes


def test_only_runs_on_one_trace_are_compared(tmp_path, run):
    later = Run.read(written(tmp_path / "later", trace=Trace(TRACE.arrival_s + 1, TRACE.tokens)))
    with pytest.raises(ValueError, match="greedy and greedy serve different traces"):
        timeline([run, later])
    with pytest.raises(ValueError, match="shows 1 to 6 runs, not 7"):
        timeline([run] * 7)


@pytest.mark.parametrize("suffix", ["png", "pdf", "svg"])
def test_the_command_writes_the_same_bytes_again(tmp_path, suffix, capsys):
    folder, outs = written(tmp_path / "run"), [tmp_path / f"{name}.{suffix}" for name in "ab"]
    for out in outs:
        assert main(["timeline", str(folder), "--out", str(out)]) == 0
    assert outs[0].read_bytes() == outs[1].read_bytes()
    assert f"written to {outs[1]}" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("file", "text", "said"),
    [
        ("summary.json", None, "is not the output of a run: it lacks summary.json"),
        ("summary.json", "{", "is not the output of a run: Expecting property name"),
        ("run.json", "{}", "is not the output of a run: 'policy'"),
        ("requests.parquet", "PAR1", "is not the output of a run: "),
    ],
)
def test_a_broken_run_is_one_line_and_status_2(tmp_path, capsys, file, text, said):
    folder = written(tmp_path / "run")
    (folder / file).unlink()
    if text is not None:
        (folder / file).write_text(text)
    assert main(["timeline", str(folder), "--out", str(tmp_path / "out.png")]) == 2
    error = capsys.readouterr().err
    assert said in error
    assert error.startswith("error: ")
    assert error.count("\n") == 1
    assert not (tmp_path / "out.png").exists()


def test_a_figure_of_another_kind_is_refused(tmp_path, capsys):
    assert main(["timeline", str(written(tmp_path / "run")), "--out", str(tmp_path / "out.txt")]) == 2
    assert "figures are written as .png, .pdf, .svg" in capsys.readouterr().err
