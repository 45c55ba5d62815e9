"""What a campaign measures: the full one for a GPU, and a tiny one of the same parts for a CPU."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from profiler.executors.cuda import KINDS, Simplifications
from profiler.measuring.gpu_probes import Sizes
from profiler.measuring.grid import Grid
from profiler.models.spec import Dims
from profiler.table import ShapeKey


@dataclass(frozen=True)
class Baseline:
    """Something that our executor is compared with, on the same shapes.

    kind: an executor of ours (`ours`: the best), used where attention is None; attention: that of a Hugging Face model.
    compiled: a mode of torch.compile. of: `students`, `teachers` or `both`. tuned: whether trials choose the products.
    """

    name: str
    of: str
    kind: str = "ours"
    attention: str | None = None
    compiled: str | None = None
    simplifications: Simplifications | None = None
    tuned: bool = True


#: In the column `model` a baseline is written MODEL+NAME.
BASELINES = (
    Baseline("ours", "both"),
    Baseline("stock-graph", "both", "cuda-stock"),
    Baseline("stacked-eager", "students", "cuda-eager"),
    Baseline("sequential-graph", "students", "cuda-sequential"),
    Baseline("sequential-eager", "students", "cuda-sequential-eager"),
    Baseline("branches-graph", "students", "cuda-branches"),
    Baseline("hf-eager", "both", attention="eager"),
    Baseline("hf-sdpa", "both", attention="sdpa"),
    Baseline("ours-without-cls-only", "both", simplifications=Simplifications(cls_only=False)),
    Baseline("ours-without-key-drop", "students", simplifications=Simplifications(drop_key_bias=False)),
    Baseline("ours-without-value-fold", "students", simplifications=Simplifications(fold_value_bias=False)),
    Baseline("ours-without-fused-qkv", "students", simplifications=Simplifications(fused_qkv=False)),
    Baseline("ours-with-copies", "students", simplifications=Simplifications(direct=False)),
    Baseline("ours-with-three-heads", "students", simplifications=Simplifications(one_head=False)),
    Baseline("ours-without-tuning", "both", tuned=False),
    Baseline("hf-compile", "teachers", attention="sdpa", compiled="default"),
    Baseline("hf-compile-graphs", "teachers", attention="sdpa", compiled="reduce-overhead"),
    Baseline("hf-compile-autotuned", "teachers", attention="sdpa", compiled="max-autotune"),
)


@dataclass(frozen=True)
class CampaignPlan:
    """The sizes of a campaign. ours: the executor that the tables show; kinds: those that the numerics part tries.

    budgets: seconds by part. least_s: of measuring that a table gets, whatever its preparation took. enough: samples
    after which a key is left alone. shortest_s: with less left, no part begins. tune_s: for choosing products, per
    executor. tables: grids by part. idle: how often each idle gap is tried, by part. students, teachers: what baselines
    are compared on. compiled: the shapes that are compiled, none in a dry run.
    energy: keys by grid, each looped for energy_s.
    """

    name: str
    ours: str
    kinds: tuple[str, ...]
    dtype: str
    budgets: Mapping[str, float]
    least_s: float
    enough: int
    shortest_s: float
    tune_s: float
    sizes: Sizes
    numerics: Grid
    tables: Mapping[str, tuple[Grid, ...]]
    idle: Mapping[str, int]
    students: tuple[Grid, ...]
    teachers: tuple[Grid, ...]
    compiled: tuple[Grid, ...]
    energy: tuple[tuple[Grid, tuple[ShapeKey, ...]], ...]
    energy_s: float

    def compared_grids(self, baseline: Baseline) -> tuple[Grid, ...]:
        """The grids that a baseline runs on."""
        if baseline.compiled is not None:
            return self.compiled
        both = {"students": self.students, "teachers": self.teachers, "both": self.students + self.teachers}
        return both[baseline.of]


#: Classes of the models of a campaign. With two, the logits of a request are now and then so close to zero that correct
#: rounding fails the numerics gate; the time of a wider head cannot be seen.
_CLASSES = 16


def shape(grid: Grid) -> Dims:
    """What a campaign runs under a grid's name."""
    return replace(grid.spec, outputs=_CLASSES, classes=_CLASSES)


_STUDENTS = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32)
_BATCHES = (1, 2, 4, 8, 12, 16, 24, 32, 48, 64, 96, 128)
_TOKENS = (16, 32, 64, 128, 256, 512)
#: Of packed batches, four to an octave. Two numbers of texts are enough: what texts add is the rows of [CLS].
_TOTALS = (*(step * 2**octave for octave in range(4, 12) for step in (4, 5, 6, 7)), 16_384)
#: Teachers: fewer sizes. The tables of the students have all of them, so that ratios compare equal shapes.
_THIN = ((1, 2, 4, 8, 16, 32, 64, 128), (16, 32, 64, 128, 256))
#: What baselines are compared on.
_COMPARED = ((1, 8, 32, 128), (32, 128))


def _thin(model: str, students: tuple[int, ...] = (1,)) -> Grid:
    return Grid(model, students, *_THIN)


def full() -> CampaignPlan:
    """Under eight minutes on an H200, by the budgets."""
    wide = Grid("students-2x768", _STUDENTS, _BATCHES, _TOKENS)
    compared = Grid("students-2x768", (1, 8, 32), *_COMPARED)
    teachers = tuple(Grid(model, (1,), *_COMPARED) for model in ("teacher-12x768", "teacher-24x1024"))
    keys = tuple(ShapeKey(k, batch, 128) for k in (1, 8) for batch in (1, 32))
    return CampaignPlan(
        name="full",
        ours="cuda",
        kinds=tuple(KINDS),
        dtype="bfloat16",
        budgets={
            "probes": 15.0,
            "numerics": 70.0,
            "students-768": 85.0,
            "students-384": 60.0,
            "teachers": 45.0,
            "packed": 40.0,
            "baselines": 70.0,
            "slots": 5.0,
            "depths": 35.0,
            "energy": 25.0,
            "compiled": 30.0,
        },
        least_s=8.0,
        enough=200,
        shortest_s=10.0,
        tune_s=20.0,
        sizes=Sizes(),
        numerics=Grid("students-2x384", (1, 2, 4), (1, 4), (16, 32)),
        tables={
            "students-768": (wide,),
            "students-384": (Grid("students-2x384", _STUDENTS, _BATCHES, _TOKENS),),
            "teachers": tuple(map(_thin, ("teacher-6x384", "teacher-6x768", "teacher-12x768", "teacher-24x1024"))),
            "packed": (Grid("students-2x768", _STUDENTS, (32, 128), totals=_TOTALS),),
            "depths": tuple(
                Grid(f"students-{depth}x{hidden}", (1, 2, 4, 8), (1, 4, 16, 64), (32, 128))
                for hidden in (768, 384)
                for depth in (1, 3, 4)
            ),
        },
        idle={"students-768": 6, "students-384": 6},
        students=(compared,),
        teachers=teachers,
        compiled=(Grid("teacher-12x768", (1,), (1,), (32,)), Grid("teacher-12x768", (1,), (32,), (128,))),
        energy=((wide, keys), (_thin("teacher-12x768"), (ShapeKey(1, 1, 128), ShapeKey(1, 32, 128)))),
        energy_s=2.0,
    )


def tiny() -> CampaignPlan:
    """The same parts on shapes that a CPU runs in seconds: shows that the command works, nothing more."""
    students = Grid("students-2x64", (1, 2), (1, 2), (16,))
    teacher = Grid("teacher-2x64", (1,), (1, 2), (16,))
    return CampaignPlan(
        name="tiny",
        ours="cuda-stock",
        kinds=tuple(kind for kind, how in KINDS.items() if how.forward != "fused"),
        dtype="float32",
        budgets=dict.fromkeys(full().budgets, 60.0),
        least_s=0.1,
        enough=3,
        shortest_s=0.0,
        tune_s=0.0,
        sizes=Sizes(matrix=128, copy_bytes=1 << 20, cache_bytes=1 << 16, nodes=20, calls=20, spin_s=0.0),
        numerics=students,
        tables={
            "students-768": (students,),
            "students-384": (Grid("students-2x128", (1, 2), (1, 2), (16,)),),
            "teachers": (teacher,),
            "depths": (Grid("students-1x64", (1, 2), (1,), (16,)),),
        },
        idle={"students-768": 1},
        students=(students,),
        teachers=(teacher,),
        compiled=(),
        energy=(),
        energy_s=0.1,
    )


#: By the name that campaign.json keeps.
PLANS: dict[str, Callable[[], CampaignPlan]] = {"full": full, "tiny": tiny}
