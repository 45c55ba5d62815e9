"""Files of perf_analyzer become tables; what they do not say is refused."""

from __future__ import annotations

import pytest

from profiler.__main__ import main
from profiler.table import Deployment, LatencyTable

HEAD = "Concurrency,Inferences/Second,Client Send,Network+Server Send/Recv,Server Queue,Server Compute Input,"
HEAD += "Server Compute Infer,Server Compute Output,Client Recv,p50 latency,p90 latency\n"
BUSY = "4,300,10,200,9000,5,1500,4,1,9800,9900\n"


def test_one_request_in_flight_is_a_batch(tmp_path, capsys):
    (tmp_path / "1.csv").write_text(HEAD + BUSY + "1,69,30,400,64,6,1181,13,5,1589,1779\n")
    (tmp_path / "2.csv").write_text(HEAD + "1,69,40,500,64,8,2181,15,6,2689,2779\n")
    files = [f"1x16={tmp_path / '1.csv'}", f"2x16={tmp_path / '2.csv'}"]
    assert main(["import", *files, "--model", "bert", "--out", str(tmp_path / "table")]) == 0
    table = LatencyTable.load(tmp_path / "table")
    assert table.meta["kind"] == "black-box"
    assert table.columns["latency_us"].tolist() == [1200, 2204]
    assert table.columns["wire_us"].tolist() == [435, 546]
    level = Deployment.of(table).levels[0]
    assert [table.seconds(level, key) for key in table.plan("bert").keys(1)] == pytest.approx([1635e-6, 2750e-6])
    (tmp_path / "old.csv").write_text("Concurrency,Inferences/Second,p50 latency\n1,69,1500\n")
    assert main(["import", f"1x8={tmp_path / 'old.csv'}", "--model", "bert", "--out", str(tmp_path / "old")]) == 0
    for own, words in (
        ([*files, f"2x32={tmp_path / 'old.csv'}"], "measure all alike"),
        ([*files, files[0]], "named twice"),
        (["8=x.csv"], "TEXTSxTOKENS"),
        ([f"1x8={tmp_path / 'none.csv'}"], "none.csv"),
    ):
        assert main(["import", *own, "--model", "bert", "--out", str(tmp_path / "bad")]) == 2
        assert words in capsys.readouterr().err
    (tmp_path / "busy.csv").write_text(HEAD + BUSY)
    assert main(["import", f"1x8={tmp_path / 'busy.csv'}", "--model", "bert", "--out", str(tmp_path / "bad")]) == 2
    assert "Concurrency 1" in capsys.readouterr().err
