"""Running servers as devices: live, and behind the gateway; what a dead one was given waits again, nothing is lost."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

pytest.importorskip("torch", reason="the extra gpu is not installed")

from server_doubles import MODEL as NAME
from server_doubles import Hidden, serving

from profiler.table.writing import write_table
from simulator.__main__ import main
from simulator.core import ExecutorError
from simulator.devices import devices_of
from simulator.live import open_live
from simulator.settings import Settings, prepare


def seconds(lengths):
    return 0.004 + 0.001 * len(lengths)


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    """What the profiler would have found of such a server."""
    rows = [
        {"model": NAME, "students": 1, "depth": 1, "hidden": 1, "batch": b, "tokens": t, "latency_us": 4e3 + 1e3 * b,
         "wire_us": 500.0}
        for b in (1, 2, 4)
        for t in (8, 16)
    ]  # fmt: skip
    about = {"url": "http://test", "protocol": "a test", "way": "counters", "valid": True, "reasons": [], "gates": {}}
    about |= {"padding": {}, "unknown": [], "vocab": 500}
    folder = tmp_path_factory.mktemp("servers") / "table"
    write_table(folder, rows, {"device": "a test", "kind": "black-box", "black_box": about})
    return folder


def live(table, urls, **settings):
    named = {"trace": "poisson:rate=200,duration=0.8", "policy": "greedy", "clock": "wall", "slo_ms": 50.0}
    return open_live(prepare(Settings(**named | {"table": str(table), "device": ",".join(urls)} | settings)))


def dying(after, back_s=None, hidden=None):
    """A server that takes nothing after so many further batches; for so many seconds, or for good."""
    hidden = hidden or Hidden(seconds)
    count = len(hidden.batches) + after

    def last(lengths):
        if len(hidden.batches) == count:
            hidden.down = True
            if back_s is not None:
                threading.Timer(back_s, setattr, (hidden, "down", False)).start()
        return seconds(lengths)

    hidden.seconds = last
    return hidden


def test_requests_of_a_dead_server_wait_again_and_all_are_answered(table):
    with serving(Hidden(seconds)) as first, serving(dying(10, 0.2)) as second:
        devices = live(table, [first, second])
        report = devices.run()
    assert report.summary["ok"] + report.summary["late"] == len(report.trace)
    expected = [ids[0] for ids in devices.ids]
    assert report.logits[:, 0].tolist() == expected
    assert report.logits[:, 1].tolist() == report.trace.tokens.tolist()
    gpu, start = report.batch_columns["gpu"], report.batch_columns["start_s"]
    assert (report.answers == 0).sum() >= 1  # at least one batch was returned
    out = (gpu == 1) & (report.answers == 0)
    assert start[(gpu == 1) & (start > start[out].max())].size  # and the device came back
    answered = report.answers.sum()
    assert answered == len(report.trace)
    devices.served.close()


def test_a_server_that_never_comes_back_does_not_keep_the_run(table, monkeypatch):
    servers = [Hidden(seconds), dying(10)]
    with serving(servers[0]) as first, serving(servers[1]) as second:
        devices = live(table, [first, second], trace="poisson:rate=200,duration=0.4")
        report = devices.run()
        assert report.summary["ok"] + report.summary["late"] == len(report.trace)
        assert not np.isnan(report.logits).any()
        assert servers[1].down
        dying(3, hidden=servers[0])
        monkeypatch.setattr("simulator.live.canary", lambda served: lambda: None)
        monkeypatch.setattr("simulator.live.PATIENCE_S", 0.5)
        with pytest.raises(ExecutorError, match="no device has been there"):
            devices.run()
        devices.served.close()


def test_the_gateway_serves_on_while_a_server_is_dead(table, tmp_path):
    pytest.importorskip("starlette")
    pytest.importorskip("httptools")
    pytest.importorskip("prometheus_client")
    from serving_doubles import body, call, get, running

    from simulator.endpoint.command import parser
    from simulator.endpoint.opening import opened

    servers = [Hidden(seconds), Hidden(seconds)]
    infer = f"/v2/models/{NAME}/infer"
    with serving(servers[0]) as first:
        with serving(servers[1]) as second:
            flags = ["--table", str(table), "--policy", "greedy", "--device", first, "--device", second]
            options = parser().parse_args([*flags, "--slo-ms", "500"])
            assert options.device == f"{first},{second}"
            endpoint, served, _ = opened(options)
            own = int(second.rpartition(":")[2])
        # The second server has gone: connections to it are refused.
        with running(endpoint) as address:
            with ThreadPoolExecutor(8) as pool:
                replies = list(pool.map(lambda at: call(address, path=infer, content=body((at, 5))), range(3, 43)))
                assert [status for status, _, _ in replies] == [200] * 40
                assert [each["outputs"][0]["data"][0] for _, _, each in replies] == list(range(3, 43))
                before = len(servers[1].batches)
                with serving(servers[1], own):
                    deadline = time.monotonic() + 10
                    while len(servers[1].batches) < before + 3 and time.monotonic() < deadline:
                        list(pool.map(lambda at: call(address, path=infer, content=body((at, 5))), range(3, 13)))
                    assert len(servers[1].batches) >= before + 3
            assert (get(address, "/v2/health/live")[0], get(address, "/v2/health/ready")[0]) == (200, 200)
            servers[0].down = servers[1].down = True
            with ThreadPoolExecutor(1) as pool:
                waits = pool.submit(call, address, path=infer, content=body((77, 5)))
                deadline = time.monotonic() + 10
                while get(address, "/v2/health/ready")[0] == 200 and time.monotonic() < deadline:
                    time.sleep(0.05)
                assert get(address, "/v2/health/ready")[0] == 503  # no server is there
                assert get(address, "/v2/health/live")[0] == 200  # a restart would not help
                servers[0].down = False
                assert waits.result()[2]["outputs"][0]["data"][0] == 77  # what was waiting is answered
        served.close()


def test_a_text_that_the_server_refuses_fails_alone(table):
    hidden = Hidden(seconds)
    with serving(hidden) as url:
        devices = live(table, [url])
        (executor,) = devices.served.executors[0].values()
        hidden.fails = 7
        found = executor.run(1, [np.full(length, 9, np.int32) for length in (5, 7, 6)])
        devices.served.close()
    assert np.isnan(found.logits[1]).all()
    assert found.logits[[0, 2]].tolist() == [[9, 5], [9, 6]]
    assert executor.refused == 1


def test_devices_are_counted_and_named(table, capsys):
    assert devices_of("http://a:1,http://b:2", 1) == 2
    assert devices_of("cpu", 3) == 3
    with pytest.raises(ValueError, match="each of them is one device"):
        devices_of("http://a:1,http://b:2", 3)
    with pytest.raises(ValueError, match="http://HOST:PORT"):
        devices_of("tpu", 1)
    run = ["--policy", "greedy", "--live", "--table", str(table), "--device"]
    for device, words in (("http://127.0.0.1:1", "gives no whole answer"), ("http://", "is no address of a server")):
        assert main([*run, device]) == 2
        assert words in capsys.readouterr().err


def test_a_server_of_texts_gets_texts_of_the_traces_lengths(table, tmp_path):
    tokenizers = pytest.importorskip("tokenizers")
    words = {word: at for at, word in enumerate(["[UNK]", "[CLS]", "[SEP]", "good", "film", "bad"])}
    found = tokenizers.Tokenizer(tokenizers.models.WordLevel(words, unk_token="[UNK]"))
    found.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    special = [("[CLS]", 1), ("[SEP]", 2)]
    found.post_processor = tokenizers.processors.TemplateProcessing("[CLS] $A [SEP]", special_tokens=special)
    found.add_special_tokens(["[CLS]", "[SEP]", "[UNK]"])
    found.save(str(tmp_path / "tokenizer.json"))
    hidden = Hidden(seconds, protocol="infinity", tokenize=lambda text: len(text.split()) + 2)
    trace = {"trace": "poisson:rate=100,duration=0.2", "lengths": "uniform:low=3,high=16"}
    with serving(hidden) as url:
        with pytest.raises(LookupError, match="--weights DIR"):
            live(table, [url], **trace)
        devices = live(table, [url], weights=str(tmp_path), **trace)
        before = len(hidden.batches)
        report = devices.run()
        devices.served.close()
    sent = sorted(length for batch in hidden.batches[before:] for length in batch)
    canaries = len(sent) - len(report.trace)
    assert sorted([*report.trace.tokens.tolist(), *[8] * canaries]) == sent
