"""Every policy serves a real device, under the same name and parameters; what a device cannot do is refused."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from policies import POLICIES, RESIDENCY, make, needs  # noqa: E402
from profiler.table.writing import write_table  # noqa: E402
from simulator.live import open_live  # noqa: E402
from simulator.settings import Settings, prepare  # noqa: E402
from traces import Trace, write  # noqa: E402

MODEL = "students-1x64"
#: What a CPU does not offer (exits need ramps, which this model has none of), or a run in its own time.
BEYOND = {"layers", "preempt", "future", "scale", "returns", "exits"}
SPECS = [
    f"{name}(greedy)" if "inner" in cls.__dataclass_fields__ else name
    for name, cls in POLICIES.items()
    if name not in RESIDENCY
]


@pytest.fixture(scope="module")
def inputs(tmp_path_factory):
    """A table of a tiny model, and 30 requests within a tenth of a second."""
    folder = tmp_path_factory.mktemp("inputs")
    keys = [(students, batch) for students in (1, 2) for batch in (1, 4, 16)]
    rows = [
        {"model": MODEL, "students": k, "depth": 1, "hidden": 64, "batch": b, "tokens": 16, "latency_us": 1e3 * k + b}
        for k, b in keys
    ]
    accuracy = [{"model": MODEL, "students": k, "task": "toy", "accuracy": 0.8 + 0.05 * k} for k in (1, 2)]
    about = {"device": "a test", "threads": 1, "dtype": "float32", "kind": "modelled"}
    write_table(folder / "tiny", rows, about, accuracy=accuracy)
    rng = np.random.default_rng(0)
    write(Trace(rng.exponential(0.003, 30).cumsum(), np.full(30, 9, np.int32)), folder / "traffic.csv")
    return folder


@pytest.mark.parametrize("spec", SPECS)
def test_it_serves_a_device_in_the_loop_or_names_what_the_device_lacks(spec, inputs):
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    settings = Settings(
        policy=spec, trace=str(inputs / "traffic.csv"), table=str(inputs / "tiny"), device="cpu", slo_ms=100.0
    )
    try:
        lacking = needs(make(spec)) & BEYOND
        if lacking:
            with pytest.raises(ValueError, match="|".join(lacking)):
                open_live(prepare(settings)).run()
            return
        report = open_live(prepare(settings)).run()
    finally:
        torch.set_num_threads(threads)
    answered = report.requests["start_s"] >= 0
    assert answered.any()
    assert (~np.isnan(report.logits).any(axis=1))[answered].all()
    assert sum(report.summary[name] for name in ("ok", "late", "dropped", "rejected")) == 30
