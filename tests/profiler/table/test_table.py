"""The tables: what is refused, levels, bucket plans, exact keys, jitter, digests."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest

from profiler.table import AccuracyTable, BucketPlan, Jitter, LatencyTable, ShapeKey, shipped

HEADER = "model,students,depth,hidden,batch,tokens,latency_us"
ROWS = ["students-2x8,1,2,8,1,16,100", "students-2x8,1,2,8,4,16,200", "students-2x8,2,2,8,1,16,150",
        "students-2x8,2,2,8,4,16,350", "teacher-12x8,1,12,8,2,32,900"]  # fmt: skip
ACCURACY = "model,students,task,accuracy"


def write(folder, rows=ROWS, header=HEADER, accuracy=None, jitter=None, meta='{"device": "a formula"}'):
    folder.mkdir(exist_ok=True)
    (folder / "latency.csv").write_text("\n".join([header, *rows]) + "\n")
    if meta is not None:
        (folder / "meta.json").write_text(meta)
    if accuracy is not None:
        (folder / "accuracy.csv").write_text("\n".join([ACCURACY, *accuracy]) + "\n")
    if jitter is not None:
        (folder / "jitter.csv").write_text("\n".join(["below_us,probability,ratio", *jitter]) + "\n")
    return folder


@pytest.fixture
def toy(tmp_path):
    return LatencyTable.load(write(tmp_path / "toy", accuracy=["students-2x8,1,a,0.8", "students-2x8,2,a,0.9"]))


def test_levels_ascend_by_students_with_their_accuracy(toy):
    first, second = toy.levels("students-2x8", "a")
    assert (first.index, first.students, first.accuracy) == (0, 1, 0.8)
    assert (second.index, second.students, second.depth, second.hidden, second.accuracy) == (1, 2, 2, 8, 0.9)
    assert str(second) == "students-2x8/2"
    assert all(math.isnan(level.accuracy) for level in toy.levels("students-2x8"))


def test_a_deep_model_has_one_level(toy):
    (level,) = toy.levels("teacher-12x8")
    assert (level.students, level.depth) == (1, 12)


def test_the_defaults_are_the_first_ensemble_and_the_first_task(tmp_path, toy):
    assert toy.default_model() == "students-2x8"
    assert toy.default_task() == "a"
    teachers = LatencyTable.load(write(tmp_path / "teachers", ROWS[-1:]))
    assert teachers.default_model() == "teacher-12x8"
    assert teachers.default_task() is None


def test_the_default_task_of_models_is_the_first_that_all_of_them_were_evaluated_on(toy):
    rows = [("students-2x8", 1, "real", 0.8), ("students-2x8", 1, "made up", 0.8), ("teacher-12x8", 1, "made up", 0.9)]
    table = replace(toy, accuracy=AccuracyTable(tuple(rows)))
    assert table.default_task() == table.default_task("students-2x8") == "real"
    assert table.default_task("teacher-12x8") == table.default_task("students-2x8,teacher-12x8") == "made up"


def test_a_key_takes_exactly_its_rows_time(toy):
    level = toy.levels("students-2x8")[1]
    assert toy.seconds(level, ShapeKey(2, 4, 16)) == 350 * 1e-6
    assert np.unique(toy.service(level, toy.plan("students-2x8"))).tolist() == [150 * 1e-6, 350 * 1e-6]


def test_nothing_is_interpolated(toy):
    with pytest.raises(LookupError, match="students-2x8/2 at batch 2, 16 tokens"):
        toy.seconds(toy.levels("students-2x8")[1], ShapeKey(2, 2, 16))


def test_a_hole_is_named(tmp_path):
    holed = LatencyTable.load(write(tmp_path / "holed", [row for row in ROWS if ",2,2,8,4," not in row]))
    with pytest.raises(LookupError, match="students-2x8/2 at batch 4, 16 tokens"):
        holed.service(holed.levels("students-2x8")[1], holed.plan("students-2x8"))


def test_a_plan_has_the_sizes_of_its_own_model(toy):
    assert toy.plan("students-2x8") == BucketPlan((1, 4), (16,))
    assert toy.plan("teacher-12x8") == BucketPlan((2,), (32,))


def test_a_batch_runs_at_the_next_size_up():
    plan = BucketPlan((1, 4, 16), (16, 64))
    assert plan.key(3, [9]) == ShapeKey(3, 1, 16)
    assert plan.key(3, [16, 16, 16, 16]) == ShapeKey(3, 4, 16)
    assert plan.key(3, [9, 17, 9, 9, 9]) == ShapeKey(3, 16, 64)
    assert plan.buckets(np.array([1, 16, 17, 64], np.int32)).tolist() == [0, 0, 1, 1]
    for sizes in ([1] * 17, [65]):
        with pytest.raises(LookupError, match="outside the table"):
            plan.key(1, sizes)
    with pytest.raises(LookupError, match=r"request 1.* 65 tokens.*64"):
        plan.buckets(np.array([3, 65], np.int32))


@pytest.mark.parametrize("sizes", [(), (4, 1), (1, 1), (0, 4)])
def test_a_plan_has_distinct_ascending_positive_sizes(sizes):
    with pytest.raises(ValueError, match="distinct ascending"):
        BucketPlan(sizes, (16,))
    with pytest.raises(ValueError, match="distinct ascending"):
        BucketPlan((1,), sizes)


@pytest.mark.parametrize(
    ("rows", "header", "message"),
    [
        ([], HEADER, "no rows"),
        (["students-2x8,1,2,8,1,100"], HEADER.replace("tokens,", ""), "no column tokens.*model, students"),
        (ROWS + ROWS[1:2], HEADER, "row 5.*students-2x8/1 at batch 4, 16 tokens"),
        (["m,1,2,8,1,16,0"], HEADER, r"row 0: latency_us is 0\.0"),
        (["m,1,2,8,1,16,-3"], HEADER, r"row 0: latency_us is -3\.0"),
        (["m,1,2,8,1,16,nan"], HEADER, "latency_us"),
        (["m,1,2,8,1,16,inf"], HEADER, "latency_us is inf"),
        (["m,1,2,8,1,16,fast"], HEADER, "column latency_us.*numbers"),
        (["m,1,2,8,1,16,"], HEADER, "column latency_us"),
        (["m,0,2,8,1,16,9"], HEADER, r"students is 0\.0"),
        (["m,1,2,8,1.5,16,9"], HEADER, r"batch is 1\.5"),
        (["m,1,2,8,1,-16,9"], HEADER, r"tokens is -16\.0"),
        (["m,1,2,8,1,16,9", "m,2,3,8,1,16,9"], HEADER, "row 1.*3x8.*2x8"),
        (["m,1,2,8,1,16"], HEADER, "cannot be read"),
    ],
)
def test_a_bad_latency_table_is_refused_in_words(tmp_path, rows, header, message):
    with pytest.raises(ValueError, match=message):
        LatencyTable.load(write(tmp_path / "bad", rows, header))


@pytest.mark.parametrize(
    ("accuracy", "message"),
    [
        (["students-2x8,1,a,1.1"], r"row 0: accuracy is 1\.1"),
        (["students-2x8,1,a,nan"], "accuracy"),
        (["students-2x8,1,a,0.8", "students-2x8,1,a,0.9"], "row 1.*students-2x8/1 on a"),
        (["students-2x8,0,a,0.8"], r"students is 0\.0"),
        (["students-2x8,1,a,good"], "column accuracy.*numbers"),
    ],
)
def test_a_bad_accuracy_table_is_refused_in_words(tmp_path, accuracy, message):
    with pytest.raises(ValueError, match=message):
        LatencyTable.load(write(tmp_path / "bad", accuracy=accuracy))


def test_a_level_without_an_accuracy_is_an_error_that_names_it(tmp_path):
    table = LatencyTable.load(write(tmp_path / "toy", accuracy=["students-2x8,1,a,0.8"]))
    with pytest.raises(LookupError, match=r"students-2x8 on a .*\[2\]"):
        table.levels("students-2x8", "a")
    with pytest.raises(LookupError, match=r"task 'b'.* a$"):
        table.levels("students-2x8", "b")
    with pytest.raises(LookupError, match=r"'bert'.*students-2x8, teacher-12x8"):
        table.levels("bert")


@pytest.mark.parametrize(("meta", "message"), [(None, "missing"), ("{", "valid JSON"), ("[]", "JSON object")])
def test_a_folder_without_its_meta_is_refused(tmp_path, meta, message):
    with pytest.raises((ValueError, LookupError), match=message):
        LatencyTable.load(write(tmp_path / "toy", meta=meta))


def test_what_is_no_table_is_an_error(tmp_path):
    with pytest.raises(LookupError, match="no table 'nowhere'"):
        LatencyTable.load("nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(LookupError, match=r"latency\.csv.*latency\.parquet"):
        LatencyTable.load(tmp_path / "empty")


def test_a_single_file_and_parquet_are_tables_too(tmp_path, toy):
    lone = LatencyTable.load(write(tmp_path / "lone") / "latency.csv")
    assert lone.name == "latency"
    assert lone.device == "unknown device"
    folder = write(tmp_path / "binary")
    pa.parquet.write_table(pa.csv.read_csv(folder / "latency.csv"), folder / "latency.parquet")
    (folder / "latency.csv").unlink()
    level = toy.levels("students-2x8")[0]
    for table in (lone, LatencyTable.load(folder)):
        assert np.array_equal(*(each.service(level, each.plan("students-2x8")) for each in (table, toy)))


def test_a_modelled_table_is_labelled(tmp_path):
    modelled = LatencyTable.load(write(tmp_path / "toy", meta='{"device": "H200", "kind": "modelled"}'))
    assert modelled.modelled
    assert modelled.device == "H200 (modelled)"


def test_jitter_is_a_quantile_function_per_class_of_median(tmp_path):
    rows = ["1000,1,2", "1000,0,0.5", "inf,0,1", "inf,0.5,1", "inf,1,1.2"]  # the rows of a class in any order
    jitter = LatencyTable.load(write(tmp_path / "toy", jitter=rows)).jitter
    assert [jitter.ratio(0.9e-3, u) for u in (0.0, 0.5, 1.0)] == [0.5, 1.25, 2.0]
    assert jitter.ratio(1e-3, 1.0) == 2.0
    assert [jitter.ratio(1.1e-3, u) for u in (0.25, 0.75, 1.0)] == [1.0, pytest.approx(1.1), 1.2]


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (["1000,0,1"], "below_us = inf"),
        (["inf,0,-1"], "ratio is -1"),
        (["inf,2,1"], "probability is 2.*0 to 1"),
        (["inf,0,"], "column ratio.*1 empty"),
        (["inf,0,wide"], "column ratio.*numbers"),
    ],
)
def test_bad_jitter_is_refused_in_words(tmp_path, rows, message):
    write(tmp_path / "toy", jitter=rows)
    with pytest.raises(ValueError, match=message):
        Jitter.read(tmp_path / "toy" / "jitter.csv")


def test_the_idle_factor_is_read_off_its_curve(tmp_path, toy):
    meta = json.dumps({"device": "x", "idle_factor": [[0, 1.0], [0.1, 1.2]]})
    warm = LatencyTable.load(write(tmp_path / "warm", meta=meta))
    assert [warm.idle_factor(gap) for gap in (0, 0.05, 0.1, 9)] == [1.0, pytest.approx(1.1), 1.2, 1.2]
    assert toy.idle_factor(9) == 1.0


def test_the_digest_changes_with_whatever_can_change_a_run(tmp_path):
    same = {"accuracy": ["students-2x8,1,a,0.8", "students-2x8,2,a,0.9"], "jitter": ["inf,0,1", "inf,1,2"]}
    variants = [
        {},
        {"rows": ROWS[:-1] + ["teacher-12x8,1,12,8,2,32,901"]},
        {"accuracy": ["students-2x8,1,a,0.8", "students-2x8,2,a,0.91"]},
        {"jitter": ["inf,0,1", "inf,1,2.1"]},
        {"meta": '{"idle_factor": [[0, 1], [1, 2]]}'},
    ]
    digests = [LatencyTable.load(write(tmp_path / "toy", **same | each)).digest for each in variants]
    assert len(set(digests)) == len(variants)
    again = LatencyTable.load(write(tmp_path / "moved", rows=ROWS[::-1], **same, meta='{"device": "renamed"}'))
    assert again.digest == digests[0], "the order of the rows and the name of the device change nothing"


@pytest.mark.parametrize("name", shipped())
def test_every_shipped_table_is_whole(name):
    """Each model has every key of its plan and, where a task has been evaluated for it, an accuracy for each level."""
    table = LatencyTable.load(name)
    for model in table.models:
        plan = table.plan(model)
        for level in table.levels(model, table.default_task()):
            assert np.all(table.service(level, plan) > 0)


SEVERAL = ["students-2x8,1,2,8,1,16,100", "students-2x8,1,2,8,4,16,200", "students-2x8,1,2,8,4,32,300",
           "students-2x8,1,2,8,1,32,200", "students-2x8,4,2,8,1,16,150", "students-2x8,4,2,8,4,16,350",
           "students-2x8,4,2,8,1,32,700", "students-2x8,4,2,8,4,32,950", "teacher-6x8,1,6,8,1,32,500",
           "teacher-6x8,1,6,8,2,32,600", "teacher-6x8,1,6,8,4,32,800"]  # fmt: skip


def test_the_plan_of_several_models_holds_the_sizes_that_all_have(tmp_path):
    table = LatencyTable.load(write(tmp_path / "several", SEVERAL))
    assert table.plan("students-2x8") == BucketPlan((1, 4), (16, 32))
    assert table.plan("students-2x8,teacher-6x8") == BucketPlan((1, 4), (32,))


def test_models_that_share_no_size_are_refused(toy):
    with pytest.raises(LookupError, match=r"students-2x8 and teacher-12x8.*batch"):
        toy.plan("students-2x8,teacher-12x8")


def test_models_are_named_once_and_known(toy):
    with pytest.raises(ValueError, match="named twice"):
        toy.plan("students-2x8,students-2x8")
    with pytest.raises(LookupError, match=r"'b'.*students-2x8"):
        toy.plan("students-2x8,b")
    with pytest.raises(LookupError, match=r"'b'.*students-2x8"):
        toy.levels("b")
