"""Our own endpoint, measured from outside: by what its replies say, and to the time that its device takes."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("starlette")
pytest.importorskip("httptools")
pytest.importorskip("prometheus_client")

from serving_doubles import MODEL, VOCAB, SleepingDevice, endpoint, running

from profiler.__main__ import main
from profiler.table import LatencyTable


@pytest.mark.slow
def test_replies_give_the_devices_own_time(tmp_path, capsys):
    with running(endpoint([SleepingDevice(0.02)])) as address:
        run = ["run", "--url", f"http://127.0.0.1:{address.port}", "--model", MODEL, "--vocab", str(VOCAB)]
        run += ["--batches", "1,3,16", "--tokens", "8,16,32", "--budget-s", "1", "--out", str(tmp_path / "table")]
        while not (tmp_path / "table").exists():  # a busy machine goes on where it ended
            status = main(run)
    table = LatencyTable.load(tmp_path / "table")
    about = table.meta["black_box"]
    assert (about["way"], "binary" in about["protocol"]) == ("replies", True)
    assert status == (0 if about["valid"] else 1)
    assert set(table.meta["skipped"]) == {"16 texts", "32 tokens"}  # the endpoint's own words say why
    measured = table.columns["impl"] == "replies"
    assert measured.sum() == 4
    assert (table.columns["latency_us"][measured] >= 20e3).all()  # on a busy machine a sleep lasts longer
    assert np.isfinite(table.columns["wire_us"]).all()
