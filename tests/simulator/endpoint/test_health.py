"""Health: red where the loop does not go on, whatever holds it; and answers that are no numbers."""

from __future__ import annotations

import concurrent.futures
import time

import numpy as np
import pytest

pytest.importorskip("starlette")
pytest.importorskip("httptools")
pytest.importorskip("prometheus_client")

from serving_doubles import SleepingDevice, body, call, endpoint, get, holding, running


@pytest.mark.parametrize("spins", [False, True])
@pytest.mark.parametrize("where", ["decide", "observe"])
@pytest.mark.parametrize("gpus", [1, 2])
def test_a_policy_that_does_not_return_turns_health_red_after_the_patience(where, spins, gpus):
    policy = f"serving_doubles:Held(where={where!r}, spins={spins})"
    made = endpoint([SleepingDevice() for _ in range(gpus)], policy, patience_s=0.4)
    with running(made, drain_s=2) as address, concurrent.futures.ThreadPoolExecutor(1) as pool:
        assert call(address, content=body())[0] == 200
        time.sleep(0.6)  # a loop that sleeps is not stuck
        assert get(address, "/v2/health/live")[0] == 200
        holding.set()
        try:
            inside = pool.submit(call, address, content=body())
            began = time.monotonic()
            while get(address, "/v2/health/live")[0] == 200:
                assert time.monotonic() - began < 5
                time.sleep(0.02)
            assert time.monotonic() - began > 0.3
            assert get(address, "/v2/health/ready")[0] == 503
            status, headers, _ = call(address, content=body())
            assert (status, headers["retry-after"]) == (503, "1")
        finally:
            holding.clear()
        assert inside.result()[0] == 200
        began = time.monotonic()
        while get(address, "/v2/health/live")[0] == 503:  # it goes on
            assert time.monotonic() - began < 2
            time.sleep(0.01)
        assert call(address, content=body())[0] == 200


class Broken(SleepingDevice):
    """Answers ids that begin with 13 with NaN, those with 14 with infinity."""

    def run(self, students, ids):
        found = super().run(students, ids)
        found.logits[[row[0] == 13 for row in ids], 1] = np.nan
        found.logits[[row[0] == 14 for row in ids], 0] = -np.inf
        return found


@pytest.mark.parametrize("first", [13, 14])
def test_an_answer_that_is_no_number_is_a_500_for_that_request_alone(first):
    with running(endpoint([Broken(0.05)])) as address:
        with concurrent.futures.ThreadPoolExecutor(8) as pool:
            asked = [pool.submit(call, address, content=body((each, 2))) for each in (1, 2, 3, first, 4, 5)]
            found = [each.result() for each in asked]
        assert [status for status, _, _ in found] == [200, 200, 200, 500, 200, 200]
        assert list(found[3][2]) == ["error"]
        assert get(address, "/v2/health/ready")[0] == 200
        lines = get(address, "/metrics")[2].decode().splitlines()
        assert 'cohort_requests_total{klass="",outcome="failed"} 1.0' in lines
        assert any(line.startswith("nv_inference_request_failure") and line.endswith(" 1.0") for line in lines)


def test_tritons_counters_are_counters():
    with running(endpoint([SleepingDevice()])) as address:
        types = dict(
            line.split()[2:]
            for line in get(address, "/metrics")[2].decode().splitlines()
            if line.startswith("# TYPE nv_")
        )
    assert types.pop("nv_inference_pending_request_count") == "gauge"
    assert set(types.values()) == {"counter"}
    assert len(types) == 7
