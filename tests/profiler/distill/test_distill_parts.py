"""The parts of distillation, each against its law: encoder, targets, line search, initial bodies, batches."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
import torch

from profiler.answers.margins import learned, outcome
from profiler.answers.recorded import Answers
from profiler.distill.costs import phases
from profiler.distill.evaluation import paired
from profiler.distill.learning.baselines import SHAPE, begin
from profiler.distill.learning.boosting import line_search
from profiler.distill.learning.correction import only
from profiler.distill.learning.encoder import encode, vectors
from profiler.distill.learning.heads import fitted
from profiler.distill.learning.initial import Checkpoint, beside, body, segment_layers, shape
from profiler.distill.learning.journal import StudyLog
from profiler.distill.learning.recipe import RECIPES, TINY_ROWS, Recipe
from profiler.distill.learning.teacher import Target, cross_entropy, divergence
from profiler.distill.learning.texts import augmented, batches, pack
from profiler.distill.learning.training import Setup, fit
from profiler.distill.preparation import settle
from profiler.measuring import reference
from profiler.models import weights
from profiler.models.spec import parse_spec
from profiler.models.weights import EMBEDDINGS

SPEC = replace(
    parse_spec("students-2x64", 3),
    vocab=50, positions=16, classes=2, outputs=6, heads=4, pooler=False, shared_embeddings=True,
)  # fmt: skip


@pytest.fixture(autouse=True)
def _one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def draw() -> tuple[dict[str, torch.Tensor], torch.Tensor, torch.Tensor]:
    tensors = weights.random(SPEC, seed=3).map(lambda _, tensor: tensor * 3).tensors()
    rng = np.random.default_rng(0)
    ids = torch.from_numpy(rng.integers(0, 50, (5, 9)))
    mask = torch.arange(9) < torch.tensor([9, 4, 1, 7, 9])[:, None]
    return tensors, ids, mask


def test_the_encoder_that_learns_is_the_reference_that_serves() -> None:
    tensors, ids, mask = draw()
    with torch.inference_mode():
        sums = vectors(tensors, encode(SPEC, tensors, ids, mask).cls).cumsum(0)
        full = encode(SPEC, tensors, ids, mask, everything=True)
    own = weights.assemble(SPEC, tensors)
    rows = [row[seen].numpy() for row, seen in zip(ids, mask, strict=True)]
    for count in (1, 2, 3):
        logits = sums[count - 1] @ tensors["head_weight"][count - 1] + tensors["head_bias"][count - 1]
        assert np.abs(logits.numpy() - reference.logits(own, count, rows)).max() < 1e-4
    assert torch.allclose(full.cls, encode(SPEC, tensors, ids, mask).cls, atol=1e-5)
    assert (len(full.states), full.attention[0].shape) == (2, (3, 5, 4, 9, 9))


def test_a_student_answers_the_same_whichever_others_run() -> None:
    tensors, ids, mask = draw()
    together = vectors(tensors, encode(SPEC, tensors, ids, mask).cls)
    for index in (2, 0, 1):
        spec, own = replace(SPEC, students=1), only(tensors, index)
        alone = vectors(own, encode(spec, own, ids, mask).cls)[0]
        assert torch.allclose(alone, together[index], atol=1e-5)
        shorter = vectors(own, encode(spec, own, ids[1:2, :4], None).cls)[0, 0]
        assert torch.allclose(shorter, together[index, 1], atol=1e-5)


def test_gradients_in_bfloat16_point_where_those_of_float32_do() -> None:
    """The path of a GPU's training, autocast on a CPU: hint, attention and states included."""
    tensors, ids, mask = draw()
    gradients = []
    for half in (False, True):
        own = {key: tensor.clone().requires_grad_() for key, tensor in tensors.items() if not key.startswith("head")}
        with torch.autocast("cpu", torch.bfloat16, enabled=half):
            found = encode(SPEC, own, ids, mask, hint=torch.ones(3, 5, 64), everything=True)
            loss = vectors(own, found.cls).float().square().mean() + found.states[0].float().square().mean()
        (loss + found.attention[1].exp().square().mean()).backward()
        gradients.append(torch.cat([tensor.grad.flatten() for tensor in own.values() if tensor.grad is not None]))
    assert float(torch.nn.functional.cosine_similarity(*gradients, dim=0)) > 0.99


def test_the_line_search_is_the_least_squares_step_and_obeys_the_identity() -> None:
    generator = torch.Generator().manual_seed(0)
    residual = torch.randn(70_000, 5, generator=generator)
    says = 0.3 * residual + torch.randn(70_000, 5, generator=generator)
    step = line_search(residual, says)
    best = float((residual.double() * says).sum() / says.double().square().sum())
    assert step.size == pytest.approx(best, rel=1e-9)
    assert step.identity < 1e-12
    assert step.after < step.before
    for other in (0.5, 0.9):
        part = line_search(residual, says, other)
        assert step.after < part.after < step.before
        assert part.identity < 1e-12
    assert line_search(residual, torch.zeros_like(says)).size == 0


def test_targets_are_scaled_to_unit_energy_and_the_head_gives_the_logits_back() -> None:
    generator = torch.Generator().manual_seed(1)
    says = 5 + 3 * torch.randn(400, 10, generator=generator)
    target = Target.fitted(says, 3, 0.5)
    energy = target.of(says).square()
    assert float(energy[:, :7].sum(1).mean()) == pytest.approx(1, rel=1e-4)
    assert float(energy[:, 7:].sum(1).mean()) == pytest.approx(0.5, rel=1e-4)
    weight, bias = target.head()
    assert torch.allclose(target.of(says) @ weight + bias, says[:, 7:], atol=1e-4)
    assert torch.allclose(target.logits(target.of(says)), says[:, 7:], atol=1e-4)


def test_losses_against_the_book() -> None:
    generator = torch.Generator().manual_seed(2)
    logits, other = torch.randn(2, 6, 4, generator=generator), torch.randn(6, 4, generator=generator)
    labels = torch.tensor([0, 3, -1, 1, -1, 2])
    expected = [torch.nn.functional.cross_entropy(own, labels, ignore_index=-1) for own in logits]
    assert float(cross_entropy(logits, labels)) == pytest.approx(float(sum(expected)) / 2, rel=1e-5)
    assert float(cross_entropy(logits, torch.full((6,), -1))) == 0
    p, q = (other / 2).softmax(-1), (logits / 2).softmax(-1)
    assert torch.allclose(divergence(logits, other, 2.0), 4 * (p * (p / q).log()).sum(-1), atol=1e-5)
    assert float(divergence(other, other, 2.0).abs().max()) < 1e-6


def test_a_head_is_only_replaced_where_that_helps_and_its_heat_is_calibrated() -> None:
    generator = torch.Generator().manual_seed(3)
    says = torch.randn(3000, 8, generator=generator)
    target = Target.fitted(says, 2, 1.0)
    labels = (says[:, 6:].softmax(-1).cumsum(-1) < torch.rand(3000, 1, generator=generator)).sum(-1).clamp(max=1)
    sums = target.of(says) * torch.tensor([1.0] * 6 + [4.0] * 2)  # four times too sure of itself
    weight, bias = fitted((sums[:2000], says[:2000, 6:], labels[:2000]), (sums[2000:], labels[2000:]), target)
    sure = (sums[2000:] @ weight + bias).softmax(-1).max(-1).values.mean()
    right = ((sums[2000:] @ weight + bias).argmax(-1) == labels[2000:]).float().mean()
    assert abs(float(sure - right)) < 0.04


def test_each_body_takes_one_layer_of_every_segment_and_the_teachers_last() -> None:
    assert [segment_layers(2, 6, which) for which in range(4)] == [(2, 5), (1, 5), (0, 5), (2, 5)]
    assert segment_layers(4, 6, 0) == (0, 2, 3, 5)
    assert segment_layers(6, 6, 5) == (0, 1, 2, 3, 4, 5)
    assert segment_layers(3, 2, 0) == (0, 0, 1)


def test_two_encoders_side_by_side_are_one_of_twice_the_width() -> None:
    teacher = replace(SPEC, students=1)
    tensors = {key: tensor for key, tensor in draw()[0].items() if key.startswith("layers") or key in EMBEDDINGS}
    tensors = {key: tensor[:1] for key, tensor in tensors.items()}
    wide = replace(shape(teacher, 2, 128, 1, 2), name="wide")
    assert (wide.heads, wide.head_width) == (8, 16)
    flat = replace(teacher, ffn=2 * teacher.hidden)
    assert [shape(flat, 2, width, 1, 2).ffn for width in (64, 128, 96)] == [128, 256, 384]
    _, ids, mask = draw()
    own = body(wide, teacher, tensors, 0, [])
    narrow = encode(teacher, tensors, ids, mask).cls
    assert torch.allclose(encode(wide, own, ids, mask).cls, torch.cat([narrow, narrow], dim=-1), atol=1e-4)
    again = beside([tensors])
    assert all(torch.equal(again[key], tensors[key]) for key in tensors)


def test_a_narrower_body_keeps_the_embeddings_main_directions() -> None:
    teacher = replace(SPEC, students=1)
    tensors = {key: tensor[:1] for key, tensor in draw()[0].items()}
    narrow = shape(teacher, 1, 32, 1, 2)
    shapes = {key: size for key, size in weights.shapes(narrow).items() if key.startswith("layers.")}
    own = body(narrow, teacher, tensors, 0, [torch.ones(size) for size in shapes.values()])
    assert weights.assemble(
        narrow,
        own
        | {key: torch.zeros(size) for key, size in weights.shapes(narrow).items() if key.startswith(("head", "proj"))},
    )
    before, after = (source["word_embeddings"][0] for source in (tensors, own))
    values = torch.linalg.svdvals(before)
    kept = float((values[:32] ** 2).sum() / (values**2).sum())
    assert float(after.square().sum() / before.square().sum()) == pytest.approx(kept, rel=1e-3)


def test_batches_hold_every_text_once_and_are_of_like_length() -> None:
    lengths = np.random.default_rng(0).integers(3, 60, 4001)
    found = batches(lengths, 32, np.random.default_rng(1))
    assert sorted(np.concatenate(found).tolist()) == list(range(4001))
    padded = sum(len(rows) * int(lengths[rows].max()) for rows in found)
    assert padded < 1.05 * lengths.sum()
    assert len({int(lengths[rows[0]]) for rows in found[:10]}) > 5  # not sorted over the whole


def test_augmented_texts_keep_their_ends_and_fit() -> None:
    texts = pack([np.array([1, *range(10, 10 + n), 2], np.int32) for n in (1, 5, 9, 12)])
    found = augmented(texts, 50, 12, 4, np.random.default_rng(0))
    assert len(found) == 50
    assert found.lengths.max() <= 12
    for index in range(50):
        row = found.row(index)
        assert (row[0], row[-1]) == (1, 2)
        assert set(row[1:-1].tolist()) <= {4, *range(10, 22)}
    assert (found.ids == 4).any()


def test_intervals_against_known_figures() -> None:
    rng = np.random.default_rng(0)
    covered = 0
    for _ in range(400):
        a, b = rng.random(500) < 0.9, rng.random(500) < 0.85
        _, low, high = paired(a, b)
        covered += low <= 0.05 <= high
    assert 0.92 <= covered / 400 <= 0.98


def recorded(texts: int, flips: float) -> Answers:
    """Answers of three prefixes; with margin m the first one is flipped with chance 2 flips (1 - m)."""
    rng = np.random.default_rng(0)
    label = rng.integers(0, 2, texts)
    margin = rng.random((3, texts)).astype(np.float32)
    last = np.where(rng.random(texts) < 0.9, label, 1 - label)
    answer = np.where(rng.random((3, texts)) < 2 * flips * (1 - margin), 1 - last, last)
    answer[-1] = last
    more = {"teacher_answer": label, "teacher_confidence": margin[0], "about": {"task": "made up"}}
    place = np.arange(texts)
    names = np.full(texts, "held-out", object)
    return Answers(np.full(texts, 9, np.int32), label, names, place, answer, (1 + margin) / 2, margin, **more)


def test_stopping_text_by_text_keeps_to_the_share_of_flips(tmp_path: Path) -> None:
    items = recorded(20_000, 0.2)
    before = 3.0
    for share in (0.0, 0.02, 0.1):
        rule = learned(items, share)
        own = outcome(items, rule)
        assert own.flips <= share
        assert own.students < before
        before = own.students
        half = np.arange(0, 20_000, 2)
        unseen = outcome(items, learned(items, share, half), half + 1)
        assert unseen.flips <= share + 4 * np.sqrt(0.02 / 10_000)
    # of a uniform margin m, the texts above it are flipped with chance 0.2 (1 - m) on average
    assert learned(items, 0.1).margins[0] == pytest.approx(1 - 0.1 / 0.2, abs=0.05)
    assert learned(items, 0.1).margins[-1] == 0
    items.write(tmp_path / "items.parquet")
    again = Answers.read(tmp_path / "items.parquet")
    assert (again.answer == items.answer).all()
    assert (again.margin == items.margin).all()
    assert dict(again.about) == {"task": "made up"}
    with pytest.raises(LookupError, match="no recorded answers"):
        Answers.read(tmp_path / "none.parquet")


def test_texts_shrink_with_the_root_of_the_data_and_never_grow() -> None:
    recipe = RECIPES["reduced"]
    assert recipe.scaled(60_000) == recipe.scaled(10**6) == recipe
    quarter = recipe.scaled(15_000)
    assert (quarter.teacher_texts, quarter.single_texts) == (recipe.teacher_texts // 2, recipe.single_texts // 2)
    assert (quarter.joint_texts, quarter.students, quarter.rate) == (0, recipe.students, recipe.rate)
    assert recipe.scaled(1).teacher_texts > 0


def test_the_tiny_recipe_is_little_work_for_a_teacher_of_twelve_layers() -> None:
    """A text in a layer takes about 1 ms to learn and 0.3 ms to answer (docs/lab-log.md): well under a CPU minute."""
    teacher = Checkpoint(parse_spec("teacher-12x384"), {}, head=False)
    work = phases(RECIPES["tiny"], teacher, TINY_ROWS).values()
    assert sum(own.learned for own in work) < 8_000
    assert sum(own.answered for own in work) < 8_000


def test_recipes_refuse_nonsense() -> None:
    assert set(RECIPES) == {"tiny", "reduced", "full"}
    with pytest.raises(ValueError, match="students is 0"):
        Recipe(students=0)
    with pytest.raises(ValueError, match=r"shrinkage is 1\.5"):
        Recipe(shrinkage=1.5)
    with pytest.raises(ValueError, match=r"students.*key=value"):
        Recipe().changed(["students"])


def test_baselines_may_be_added_to_a_study_and_nothing_else_may_change(tmp_path: Path) -> None:
    settle(tmp_path / "work", {"task": "toy", **asdict(Recipe(baselines="single"))})
    settle(tmp_path / "work", {"task": "toy", **asdict(Recipe())})
    with pytest.raises(ValueError, match=r"rate was 0\.0006, is 0\.1"):
        settle(tmp_path / "work", {"task": "toy", **asdict(Recipe(rate=0.1))})


def test_single_models_have_once_twice_and_three_times_the_depth() -> None:
    asked: list[int] = []

    def bodies(depth: int, number: int) -> dict[str, torch.Tensor]:
        asked.append(depth)
        return {}

    names = []
    for name in ("single", "deep", "deeper"):
        begin(name, SPEC, bodies)
        names.append(SHAPE[name](SPEC).name)
    assert names == ["single-2x64", "single-4x64", "single-6x64"]
    assert asked == [2, 4, 6]


@pytest.mark.parametrize(("after", "diverges"), [(1.8, True), (0.7, False), (0.05, False)])
def test_a_training_whose_loss_has_risen_for_good_ends(tmp_path: Path, after: float, diverges: bool) -> None:
    """From 4 down to 0.4 in a hundred steps, then something else; only what is far above both ends it."""
    learns = torch.zeros(1)
    run = Setup(tmp_path, 0, torch.device("cpu"), False, StudyLog(tmp_path / "log.jsonl", {}))

    def loss(step: int) -> torch.Tensor:
        return 0 * learns.sum() + (max(0.4, 4.0 - 0.04 * step) if step < 100 else after)

    if diverges:
        with pytest.raises(ArithmeticError, match=r"more than 3 times its least, 0.[45].*lower the rate"):
            fit(run, "made-up", {"weight": learns}, 1e-3, 600, loss)
    else:
        fit(run, "made-up", {"weight": learns}, 1e-3, 600, loss)
