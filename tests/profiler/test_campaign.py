"""The campaign command, as a dry run on the CPU; and its verdicts, on tables one can do arithmetic with."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
import torch

pytest.importorskip("transformers", reason="transformers is not installed")

from profiler.__main__ import main
from profiler.campaign import campaign as campaign_module
from profiler.campaign import parts as campaign_parts
from profiler.campaign.campaign import Campaign
from profiler.campaign.parts import PARTS
from profiler.campaign.plan import BASELINES, full, tiny
from profiler.campaign.verdicts import verdicts
from profiler.measuring.measure import Measurement
from profiler.models.products import Shape
from profiler.models.roofline import H200
from profiler.models.spec import parse_spec
from profiler.table import LatencyTable
from profiler.table.merging import merge_tables
from profiler.table.writing import write_table


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def dry_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("campaign")
    assert main(["campaign", "--device", "cpu", "--out", str(out)]) == 0
    return out


def test_a_dry_run_goes_through_every_part(dry_run: Path) -> None:
    state = json.loads((dry_run / "campaign.json").read_text())
    assert {name: part["status"] for name, part in state["parts"].items()} == dict.fromkeys(PARTS, "done")
    assert {verdict["verdict"] for verdict in state["verdicts"]} == {"dry run"}
    assert not list(dry_run.glob("*.partial"))


def test_every_table_of_a_campaign_loads_and_names_what_was_measured(dry_run: Path) -> None:
    for name in tiny().tables:
        table = LatencyTable.load(dry_run / name)
        assert table.meta["kind"] == "measured"
        assert "dry run" in table.device
        assert set(table.meta["cold_start"][table.models[0]]) == {"load_s", "warm_s"}
        assert (table.columns["back_to_back_us"] > 0).all()
        assert (table.columns["floor_us"] > 0).all()
        for model in table.models:
            for level in table.levels(model):
                table.service(level, table.plan(model))


def test_the_merged_table_holds_every_model_once(dry_run: Path) -> None:
    merged = LatencyTable.load(dry_run / "table")
    models = [model for name in tiny().tables for model in LatencyTable.load(dry_run / name).models]
    assert list(merged.models) == models
    assert {"created", "command", "commit", "versions"} <= merged.meta.keys()
    assert set(merged.meta["parts"]) == set(tiny().tables)


def test_baselines_run_on_the_shapes_of_ours(dry_run: Path) -> None:
    table = LatencyTable.load(dry_run / "baselines")
    students = {model.split("+")[1] for model in table.models if model.startswith("students")}
    assert students == {b.name for b in BASELINES if b.of != "teachers" and b.compiled is None}
    ours = table.plan("students-2x64+ours")
    assert all(table.plan(model) == ours for model in table.models if model.startswith("students"))


def test_a_repeated_campaign_runs_only_what_is_not_done(dry_run: Path, tmp_path: Path) -> None:
    out = tmp_path / "again"
    shutil.copytree(dry_run, out)
    state = json.loads((out / "campaign.json").read_text())
    state["parts"]["energy"]["status"] = "outstanding"
    (out / "campaign.json").write_text(json.dumps(state))
    ran: list[str] = []
    noted = {name: lambda campaign, part, deadline: ran.append(part) or {"status": "done"} for name in PARTS}
    Campaign(out, tiny(), on_gpu=False).run(noted, 100.0)
    assert ran == ["energy"]


def test_a_part_that_fails_is_reported_and_the_next_one_runs(tmp_path: Path) -> None:
    def broken(campaign: Campaign, name: str, deadline: float) -> dict[str, Any]:
        raise MemoryError("the device is full")

    parts = {"probes": broken, "energy": PARTS["energy"]}
    state = Campaign(tmp_path, tiny(), on_gpu=False).run(parts, 100.0)
    assert state["parts"]["probes"]["reason"] == "MemoryError: the device is full"
    assert state["parts"]["energy"]["status"] == "done"


def test_an_interrupted_campaign_keeps_its_verdicts_and_the_table_of_the_part_under_way(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own, timed = Measurement._time, 0

    def until_interrupted(self: Measurement, kind: str, cell: Any, gap_s: float = 0.0) -> float:
        nonlocal timed
        timed += 1
        if timed > 60:
            raise KeyboardInterrupt
        return own(self, kind, cell, gap_s)

    plan = replace(tiny(), least_s=60.0, enough=10**6)
    parts = {name: PARTS[name] for name in ("probes", "students-768", "teachers")}
    monkeypatch.setattr(Measurement, "_time", until_interrupted)
    with pytest.raises(KeyboardInterrupt):
        Campaign(tmp_path, plan, on_gpu=False, commit="0123abc").run(parts, 100.0)
    state = json.loads((tmp_path / "campaign.json").read_text())
    assert state["parts"]["probes"]["status"] == "done"
    assert state["parts"]["students-768"]["status"] == "unfinished"
    assert "teachers" not in state["parts"]
    assert state["verdicts"]
    assert state["origin"]["commit"] == "0123abc"
    assert LatencyTable.load(tmp_path / "table").meta["parts"]["students-768"]["commit"] == "0123abc"
    monkeypatch.setattr(Measurement, "_time", own)
    again = Campaign(tmp_path, tiny(), on_gpu=False).run(parts, 100.0)
    assert {name: again["parts"][name]["status"] for name in parts} == dict.fromkeys(parts, "done")


def test_a_report_needs_no_device_and_makes_a_table_of_what_is_there(
    dry_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "back"
    shutil.copytree(dry_run, out)
    shutil.rmtree(out / "table")
    state = json.loads((out / "campaign.json").read_text())
    state["parts"]["depths"] = {"status": "running"}
    (out / "campaign.json").write_text(json.dumps(state))
    assert main(["campaign", "--report", "--out", str(out)]) == 1
    said = capsys.readouterr().out
    assert re.search(r"depths +unfinished", said)
    assert re.search(r"students-768 +done", said)
    assert (out / "table" / "latency.csv").exists()
    assert main(["campaign", "--report", "--out", str(tmp_path / "nothing")]) == 2


def test_lack_of_time_is_no_failure_of_the_numerics(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was found before is kept at once, and not done again."""
    campaign = Campaign(tmp_path, tiny(), on_gpu=False)
    campaign.run({}, 1.0)
    late = campaign_parts._numerics(campaign, "numerics", 0.0)
    assert (late["status"], late["failed"]) == ("unfinished", [])
    assert "cuda-stock float32" in late["late"]
    ticks = iter(range(1000))
    monkeypatch.setattr(campaign_parts.time, "monotonic", lambda: next(ticks))
    some = campaign_parts._numerics(campaign, "numerics", 2.0)
    assert len(some["errors"]) == 2
    kept = json.loads((tmp_path / "campaign.json").read_text())["parts"]["numerics"]
    assert kept["errors"] == some["errors"]
    opened = len(list(ticks)) and some["errors"]
    monkeypatch.setattr(campaign_parts.time, "monotonic", lambda: 0.0)
    rest = campaign_parts._numerics(campaign, "numerics", 1.0)
    assert rest["status"] == "done"
    assert {label: rest["errors"][label] for label in opened} == opened


def test_products_are_chosen_once_for_all_executors_of_a_campaign(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    handed: list[dict[Any, str]] = []

    def opened(kind: str, *arguments: Any, choices: dict[Any, str], **options: Any) -> None:
        handed.append(choices)
        choices.setdefault(Shape(1, 8, 64, 64, False), "loop")

    monkeypatch.setattr(campaign_module, "open_executor", opened)
    first = Campaign(tmp_path, tiny(), on_gpu=False)
    first.run({}, 1.0)
    for dtype in ("float32", "float32", "bfloat16"):
        first.open("cuda-stock", *[None] * 3, dtype=dtype)  # type: ignore[arg-type]
    assert handed[0] is handed[1]
    assert handed[2] is not handed[0]
    first.note("probes")
    second = Campaign(tmp_path, tiny(), on_gpu=False)
    second.run({}, 1.0)
    second.open("cuda-stock", *[None] * 3)  # type: ignore[arg-type]
    assert handed[3] == handed[0]


def test_untried_products_miss_a_target(tmp_path: Path) -> None:
    def untried(count: int) -> dict[str, Any]:
        state = {"parts": {"students-768": {"status": "done", "untried": {"students-2x768": count}}}}
        (found,) = [each for each in verdicts(tmp_path, state) if "untried" in each["what"]]
        return found

    assert (untried(3)["value"], untried(3)["verdict"]) == (3.0, "missed")
    assert untried(0)["verdict"] == "met"


def test_gaps_stand_beside_those_with_the_kernel_that_the_targets_were_set_with(tmp_path: Path) -> None:
    write_table(tmp_path / "students-768", rows("students-2x768", 1, {(1, 32): 110.0}), META)
    probed = asdict(replace(H200, kernel_s=1.25e-6))
    found = {each["what"]: each for each in verdicts(tmp_path, {"parts": {"probes": {"ceilings": probed}}})}
    own = found["device time / serial kernel floor, launch-bound keys (median)"]
    assert own["value"] > 2.0
    assert float(own["also"].split()[0]) == pytest.approx(90.0 / 45.0, rel=0.1)


def test_a_line_is_said_for_every_part(tmp_path: Path) -> None:
    said: list[str] = []
    Campaign(tmp_path, tiny(), on_gpu=False, said=said.append).run({"energy": PARTS["energy"]}, 100.0)
    assert re.fullmatch(r"energy: done after 0 s no energy counter.*", said[0])


def test_another_number_format_is_another_campaign(dry_run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    flags = ["campaign", "--device", "cpu", "--out", str(dry_run), "--dtype"]
    assert main([*flags, "float16"]) == 2
    assert "choose another --out" in capsys.readouterr().err
    assert main([*flags, "int8"]) == 2
    assert "bfloat16, float16, float32" in capsys.readouterr().err


def test_without_time_left_parts_stay_outstanding(tmp_path: Path) -> None:
    state = Campaign(tmp_path, full(), on_gpu=False).run({"students-768": PARTS["students-768"]}, 5.0)
    assert state["parts"]["students-768"]["status"] == "outstanding"


def test_another_campaign_in_the_same_folder_is_refused(dry_run: Path) -> None:
    with pytest.raises(ValueError, match="choose another --out"):
        Campaign(dry_run, tiny(), on_gpu=False, seed=1).run({}, 1.0)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--device", "cpu"], "--out is missing"),
        (["--device", "cpu", "--out", "x", "--budget-s", "nan"], "--budget-s"),
        (["--device", "cpu", "--out", "x", "--parts", "probe"], "part probe;.*probes"),
    ],
)
def test_bad_usage_is_an_error_in_words(flags: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["campaign", *flags]) == 2
    assert re.search(message, capsys.readouterr().err)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_without_a_gpu_the_command_names_the_dry_run(tmp_path: Path, capsys: Any) -> None:
    assert main(["campaign", "--out", str(tmp_path / "x")]) == 2
    assert "--device cpu" in capsys.readouterr().err
    assert not (tmp_path / "x").exists()


def test_the_full_campaign_fits_eight_minutes_and_covers_the_issue() -> None:
    plan = full()
    assert list(plan.budgets) == list(PARTS)
    assert sum(plan.budgets.values()) <= 480
    models = [grid.model for name, grids in plan.tables.items() for grid in grids if name != "packed"]
    assert len(models) == len(set(models))
    (packed,) = plan.tables["packed"]
    assert packed.plan.layout == "packed"
    assert (packed.plan.max_batch, packed.plan.max_tokens) == (128, 128)
    assert len(packed.cells()) == 500
    assert {"students-2x768", "students-2x384", "teacher-6x384", "teacher-6x768"} < set(models)
    assert {"teacher-12x768", "teacher-24x1024"} < set(models)
    assert {f"students-{depth}x{hidden}" for depth in (1, 3, 4) for hidden in (384, 768)} < set(models)
    assert max(grid.students[-1] for grid in plan.tables["students-768"]) == 32


def rows(model: str, students: int, times: dict[tuple[int, int], float]) -> list[dict[str, Any]]:
    """Table rows with these latencies (us) by (batch, tokens); the device takes 20 us less."""
    spec = parse_spec(model.split("+")[0], students)
    return [
        {
            "model": model,
            "students": students,
            "depth": spec.layers,
            "hidden": spec.hidden,
            "batch": batch,
            "tokens": tokens,
            "latency_us": us,
            "device_us": us - 20.0,
            "back_to_back_us": us - 20.0,
        }
        for (batch, tokens), us in times.items()
    ]


META = {"kind": "measured", "device": "a device"}


def test_verdicts_are_the_ratios_that_they_name(tmp_path: Path) -> None:
    students = rows("students-2x768", 1, {(1, 32): 60.0, (1, 128): 70.0, (8, 128): 100.0})
    students += rows("students-2x768", 8, {(1, 32): 120.0, (1, 128): 140.0, (8, 128): 400.0})
    write_table(tmp_path / "students-768", students, META)
    teachers = rows("teacher-12x768", 1, {(1, 32): 360.0, (1, 128): 420.0, (8, 128): 820.0})
    teachers += rows("teacher-24x1024", 1, {(1, 32): 540.0, (1, 128): 920.0, (8, 128): 1940.0})
    write_table(tmp_path / "teachers", teachers, META)
    baselines = rows("students-2x768+ours", 8, {(1, 32): 123.0})
    write_table(tmp_path / "baselines", baselines, META)
    found = {verdict["what"]: verdict for verdict in verdicts(tmp_path, {"parts": {}})}

    def get(word: str) -> dict[str, Any]:
        (verdict,) = [verdict for what, verdict in found.items() if word in what]
        return verdict

    base = get("latency of teacher-12x768 in this")
    assert (base["value"], base["verdict"], base["denominator"]) == (3.0, "aim reached", "students-2x768/8")
    large = get("latency of teacher-24x1024 in this")
    assert (large["value"], large["verdict"]) == (4.5, "missed")
    burst = get("burst throughput of 1 student of 2x768 / teacher-24x1024")
    assert (burst["value"], burst["verdict"]) == (24.0, "aim reached")
    assert get("host overhead")["value"] == 20.0
    assert get("host overhead")["verdict"] == "met"
    assert get("difference of medians")["value"] == 0.025
    assert get("difference of medians")["verdict"] == "missed"
    assert get("launch-bound")["verdict"] == "not measured"
    assert get("Hugging Face eager")["verdict"] == "not measured"


def test_tables_of_different_devices_are_not_merged(tmp_path: Path) -> None:
    for name, model in (("one", "students-2x64"), ("two", "students-2x128")):
        write_table(tmp_path / name, rows(model, 1, {(1, 16): 50.0}), {"kind": "measured", "device": name})
    with pytest.raises(ValueError, match="different devices"):
        merge_tables(tmp_path / "both", [tmp_path / "one", tmp_path / "two"])


def test_a_baseline_that_does_not_run_is_named_and_the_others_are_measured(tmp_path: Path, monkeypatch: Any) -> None:
    two = tuple(baseline for baseline in BASELINES if baseline.name in ("ours", "branches-graph", "stock-graph"))
    monkeypatch.setattr(campaign_parts, "BASELINES", two)
    own = Campaign.open

    def without_branches(campaign: Campaign, kind: str, *arguments: Any, **options: Any) -> Any:
        if kind == "cuda-branches":
            raise RuntimeError("stream is capturing\nCUDA kernel errors might be ...")
        return own(campaign, kind, *arguments, **options)

    monkeypatch.setattr(Campaign, "open", without_branches)
    state = Campaign(tmp_path, tiny(), on_gpu=False).run({"baselines": PARTS["baselines"]}, 100.0)
    part = state["parts"]["baselines"]
    assert part["status"] == "done"
    assert part["skipped"] == {"students-2x64+branches-graph": "RuntimeError: stream is capturing"}
    assert "students-2x64+stock-graph" in LatencyTable.load(tmp_path / "baselines").models
