"""Floors and the estimator against the figures they were worked out from by hand, and against published ones."""

from __future__ import annotations

from dataclasses import replace

import pytest

from profiler.modelled import estimate
from profiler.models.roofline import H200, _floor, floor, kernels
from profiler.models.spec import parse_spec
from profiler.table import ShapeKey, shipped
from profiler.table.metadata import Ceilings


@pytest.mark.parametrize(
    ("model", "key", "compute", "compute_cls", "weights", "launch", "full", "cls"),
    [
        ("teacher-12x768", (1, 1, 32), 7, 6, 40, 220, 218, 220),
        ("teacher-12x768", (1, 8, 128), 226, 211, 40, 220, 329, 323),
        ("teacher-24x1024", (1, 32, 128), 3197, 3086, 141, 430, 3446, 3342),
        ("students-2x768", (1, 128, 128), 604, 353, 7, 45, 721, 445),
        ("students-2x768", (8, 1, 32), 9, 6, 55, 48, 78, 79),
        ("students-2x768", (8, 128, 128), 4829, 2823, 55, 48, 5735, 3431),
        ("students-2x384", (16, 32, 128), 620, 361, 27, 48, 852, 533),
    ],
)
def test_floors_of_an_h200_are_those_worked_out_independently(
    model: str,
    key: tuple[int, int, int],
    compute: int,
    compute_cls: int,
    weights: int,
    launch: int,
    full: int,
    cls: int,
) -> None:
    """Microseconds from the design study's table, which was computed by another program."""
    spec = parse_spec(model, key[0])
    shape = ShapeKey(*key)
    all_rows, short = (_floor(kernels(spec, shape, cls_only=cls_only), H200) for cls_only in (False, True))
    got = (all_rows.compute_s, short.compute_s, short.weights_s, short.launch_s, all_rows.serial_s, short.serial_s)
    assert [round(value * 1e6) for value in got] == [compute, compute_cls, weights, launch, full, cls]
    assert floor(spec, shape, H200).serial_s == min(all_rows.serial_s, short.serial_s)


def test_the_minimal_pass_has_seven_kernels_per_layer_and_three() -> None:
    spec = parse_spec("teacher-12x768")
    assert len(kernels(spec, ShapeKey(1, 1, 32), cls_only=False)) == 7 * 12 + 3
    assert len(kernels(spec, ShapeKey(1, 1, 32))) == 7 * 12 + 3 + 1
    assert len(kernels(parse_spec("students-2x768", 8), ShapeKey(8, 1, 32))) == 7 * 2 + 3 + 1 + 1


def test_the_last_layer_for_cls_alone_saves_two_fifths_of_two_layers() -> None:
    def flops(model: str, cls_only: bool) -> float:
        return sum(kernel.flops for kernel in kernels(parse_spec(model), ShapeKey(1, 32, 128), cls_only=cls_only))

    for model, share in (("students-2x768", 0.583), ("teacher-12x768", 0.93), ("teacher-24x1024", 0.965)):
        assert flops(model, True) / flops(model, False) == pytest.approx(share, abs=0.01)


def test_regimes_go_from_launch_through_weights_to_compute() -> None:
    spec = parse_spec("students-2x768", 16)
    assert floor(parse_spec("students-2x768"), ShapeKey(1, 1, 32), H200).regime == "launch"
    assert floor(spec, ShapeKey(16, 1, 32), H200).regime == "weights"
    assert floor(spec, ShapeKey(16, 128, 128), H200).regime == "compute"


def test_a_floor_never_falls_as_work_grows() -> None:
    for k, batch, tokens in ((1, 1, 16), (4, 8, 32), (16, 32, 128)):
        small = floor(parse_spec("students-2x384", k), ShapeKey(k, batch, tokens), H200).serial_s
        for key in (ShapeKey(2 * k, batch, tokens), ShapeKey(k, 2 * batch, tokens), ShapeKey(k, batch, 2 * tokens)):
            assert floor(parse_spec("students-2x384", key.students), key, H200).serial_s >= small


def test_ceilings_survive_metadata_and_refuse_nonsense() -> None:
    assert Ceilings.of({"ceilings": vars(H200)}) == H200
    assert Ceilings.of({}) is None
    with pytest.raises(ValueError, match="flops is 0"):
        replace(H200, flops=0.0)


def test_a_prediction_is_the_row_where_there_is_one_and_scales_the_floor_elsewhere() -> None:
    from profiler.table import LatencyTable

    assert "h200-modelled" in shipped()
    table = LatencyTable.load("h200-modelled")
    predict = estimate.predictor(table)
    spec, key = parse_spec("students-2x768", 8), ShapeKey(8, 32, 128)
    level = next(level for level in table.levels("students-2x768") if level.students == 8)
    assert predict(spec, key) == table.seconds(level, key)
    between = predict(spec, ShapeKey(8, 48, 128))
    assert predict(spec, key) < between < predict(spec, ShapeKey(8, 64, 128)) * 1.3
    bare = LatencyTable("bare", {name: table.columns[name] for name in table.columns if name != "floor_us"}, {})
    with pytest.raises(LookupError, match="no floors"):
        estimate.predictor(bare)(spec, ShapeKey(8, 48, 128))
