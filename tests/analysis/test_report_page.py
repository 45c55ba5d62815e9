"""python -m analysis report: one file, offline, the same bytes again, with the numbers of the runs."""

from __future__ import annotations

import base64
import csv
import re
from html.parser import HTMLParser

import numpy as np
import pytest
from conftest import formula_table

from analysis.__main__ import main
from analysis.comparisons.comparison import compare
from analysis.inputs import read_any
from analysis.pages import page as page_of
from analysis.pages import sections
from analysis.runs import Run
from analysis.sweeps.frames import read, write
from simulator import simulate
from simulator.reporting.output import save
from traces import Trace

TABLE = formula_table(lambda k, b, t: 1e4 * (k + b), students=(1, 2), accuracy=lambda k: 0.8 + 0.05 * k)
TRACE = Trace(np.sort(np.random.default_rng(3).uniform(0, 5, 300)), np.full(300, 9))


class Page(HTMLParser):
    """What a browser would fetch, and the text and tags of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.links: list[str] = []
        self.open: list[str] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.links += [value for name, value in attributes if name in ("src", "href")]
        if tag not in ("meta", "img"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    folder = tmp_path_factory.mktemp("results")
    save(simulate(TRACE, "greedy", TABLE, slo_s=0.2), folder / "greedy")
    policies, trace = "greedy;fixed(students=2)", "poisson:duration=0.05"
    axes = ["--policy", policies, "--trace", trace, "--load", "0.2,0.5,0.9", "--gpus", "1,2", "--seeds", "0,1"]
    where = ["--table", "synthetic", "--jobs", "1", "--store", str(folder / "store"), "--out", str(folder / "sweep")]
    assert main(["sweep", *axes, *where]) == 0
    compared = compare(policies, table="synthetic", trace=trace, load=0.5, replications=3)
    write(compared.standings, folder / "compared.csv")
    return folder


@pytest.fixture(scope="module")
def of_a_run(results):
    """The section of one run; drawn once for all tests."""
    return sections.of_runs([Run.read(results / "greedy")])


@pytest.fixture(scope="module")
def of_a_sweep(results):
    return sections.of_sweep(read(results / "sweep"))


def report(results, *names, out="report.html", title="A & B"):
    status = main(["report", *(str(results / name) for name in names), "--out", str(results / out), "--title", title])
    assert status == 0
    return (results / out).read_text()


def test_a_report_fetches_nothing_and_runs_nothing(results, of_a_run, of_a_sweep):
    compared = sections.of_comparison(read_any(results / "compared.csv")[1])
    text = page_of("A & B", [of_a_run, of_a_sweep, compared])
    page = Page(text)
    assert not page.open
    assert all(link.startswith(("data:", "#section-")) for link in page.links)
    assert "<script" not in text
    for svg in re.findall(r'src="data:image/svg\+xml;base64,([^"]+)"', text):
        drawing = base64.b64decode(svg).decode()
        assert not re.findall(r'(?:href|src)="(?!#)[^"]*"', drawing)
    assert [title for title in ("Run", "Sweep", "Comparison") if title in page.text] == [
        "Run",
        "Sweep",
        "Comparison",
    ]
    assert "<title>A &amp; B</title>" in text


def test_the_same_inputs_give_the_same_bytes(results):
    assert report(results, "compared.csv") == report(results, "compared.csv", out="again.html")


def test_numbers_of_a_figure_are_beside_it(results, of_a_run):
    found = {figure.name: base64.b64decode(figure.csv.partition(",")[2]).decode() for figure in of_a_run.figures}
    assert list(found) == ["timeline", "latency-cdf", "latency-tail", "batch-sizes", "padding", "gantt"]
    rows = list(csv.DictReader(found["batch-sizes"].splitlines()))
    size = Run.read(results / "greedy").batches["size"]
    assert float(rows[0]["y_end"]) == pytest.approx(100 * np.mean(size == 1))


def test_a_runs_table_is_its_summary(results, of_a_run):
    summary = Run.read(results / "greedy").summary
    cells = dict(zip(of_a_run.tables[0].head, of_a_run.tables[0].rows[0], strict=True))
    assert cells["policy"] == "greedy"
    assert float(cells["p99 ms"]) == pytest.approx(1e3 * summary["p99_s"], rel=1e-3)
    assert cells["on time %"] == f"{100 * summary['attainment']:.2f}"
    text = " ".join(of_a_run.paragraphs)
    assert re.search(r"\(modelled\), 1 device, SLO 200 ms; 300 requests", text)
    assert re.search("table formula .*not measured", text)


def test_a_sweeps_table_has_a_row_per_cell_with_the_mean_over_seeds(results, of_a_sweep):
    frame, section = read(results / "sweep"), of_a_sweep
    assert len(section.tables[0].rows) == 2 * 3 * 2
    cells = {row[0]: dict(zip(section.tables[0].head, row, strict=True)) for row in section.tables[0].rows}
    rows = (frame["policy"] == "greedy") & (frame["load"] == 0.5) & (frame["gpus"] == 2)
    assert rows.sum() == 2
    assert cells["greedy, 2 GPUs, load 0.5"]["busy %"] == f"{100 * frame['utilisation'][rows].mean():.2f}"
    figures = "latency-load attainment-load goodput-rate goodput-gpus gpus-needed accuracy-latency accuracy-goodput"
    assert [figure.name for figure in section.figures] == figures.split()


def test_a_comparison_names_its_ceiling(results):
    text = Page(report(results, "compared.csv")).text
    assert "No policy exceeds" in text
    assert "(modelled), 1 GPU" in text
    assert "seeds 0 to 2" in text


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["greedy", "--out", "report.pdf"], r"--out report\.pdf: .*\.html"),
        (["nothing"], "error: nothing "),
        (["text.csv"], "column policy.* a, b"),
        (["broken.csv"], r"broken\.csv cannot be read"),
    ],
)
def test_what_cannot_be_reported_is_one_line(results, monkeypatch, capsys, arguments, message):
    monkeypatch.chdir(results)
    (results / "text.csv").write_text("a,b\n1,2\n")
    (results / "broken.csv").write_text("a,b\n1,2\n1,2,3\n")
    assert main(["report", *arguments]) == 2
    error = capsys.readouterr().err
    assert re.search(message, error)
    assert error.count("\n") == 1


def test_a_plan_is_in_the_words_of_its_command(tmp_path, capsys):
    arguments = [
        "--trace",
        "poisson:rate=20000,duration=0.05",
        "--slo-ms",
        "5",
        "--tables",
        "synthetic",
        "--seeds",
        "2",
    ]
    rest = [
        "--policies",
        "greedy;none",
        "--jobs",
        "1",
        "--store",
        str(tmp_path / "store"),
        "--out",
        str(tmp_path / "plan"),
    ]
    assert main(["plan", *arguments, *rest]) == 0
    printed = capsys.readouterr().out
    kind, found = read_any(tmp_path / "plan")
    assert kind == "plan"
    section = sections.of_plan(found)
    assert section.text in printed
    assert "(modelled)" in section.text
    rows = list(csv.DictReader(base64.b64decode(section.figures[0].csv.partition(",")[2]).decode().splitlines()))
    best = found.choices[0].best
    assert (best.gpus, 100 * best.attainment.mean) in [
        (int(row["x"]), pytest.approx(float(row["y"]))) for row in rows if row["kind"] == "line"
    ]
    (tmp_path / "plan" / "plan.json").write_text("{}")
    assert main(["report", str(tmp_path / "plan")]) == 2
    assert "missing" in capsys.readouterr().err
