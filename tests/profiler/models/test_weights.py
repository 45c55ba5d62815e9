"""The stacked weights: prefixes are views, simplifications are exact, files and checkpoints come back the same."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
import torch

from profiler.executors.baselines.hugging_face import hugging_face
from profiler.executors.cpu import CpuExecutor
from profiler.measuring import reference
from profiler.models import weights
from profiler.models.checkpoints import from_checkpoints
from profiler.models.kernels.spans import Spans
from profiler.models.spec import Dims, parse_spec
from profiler.table import BucketPlan

transformers = pytest.importorskip("transformers")

SMALL = replace(parse_spec("students-2x64", 3), vocab=50, positions=16, classes=3, outputs=5, heads=2)


def batch(spec: Dims, lengths: tuple[int, ...], seed: int = 0) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    return [rng.integers(0, spec.vocab, size=length, dtype=np.int32) for length in lengths]


def test_names_give_the_shapes_of_bert() -> None:
    base = parse_spec("teacher-12x768")
    assert (base.layers, base.hidden, base.heads, base.ffn, base.head_width) == (12, 768, 12, 3072, 64)
    assert parse_spec("students-4x312").ffn == 1200
    with pytest.raises(LookupError, match="students-LxH, teacher-LxH or single-LxH"):
        parse_spec("bert-base")
    with pytest.raises(LookupError, match="multiple of 64"):
        parse_spec("students-2x100")
    with pytest.raises(ValueError, match="a teacher model is one, not 2"):
        parse_spec("teacher-12x768", 2)


def test_parameter_count_of_bert_base_is_the_published_one() -> None:
    sizes = weights.shapes(parse_spec("teacher-12x768")).items()
    encoder = sum(np.prod(shape) for name, shape in sizes if name.startswith("layers"))
    assert encoder == 85_054_464  # 12 layers of 7,087,872


@pytest.mark.parametrize("shared", [False, True])
def test_a_prefix_is_a_view_and_equals_the_smaller_ensemble(shared: bool) -> None:
    spec = replace(SMALL, shared_embeddings=shared)
    full = weights.random(spec, seed=4)
    two = weights.random(replace(spec, students=2), seed=4)
    prefix = full.prefix(2)
    for name, tensor in prefix.tensors().items():
        assert tensor.data_ptr() == full.tensors()[name].data_ptr()
        assert torch.equal(tensor, two.tensors()[name])
    with pytest.raises(LookupError, match="1 to 3 students, not 4"):
        full.prefix(4)


def test_dropping_the_key_bias_and_folding_the_value_bias_are_exact() -> None:
    full = weights.random(SMALL, seed=1, dtype=torch.float64).map(lambda _, tensor: tensor * 5)
    ids = batch(SMALL, (1, 7, 16))
    exact = reference.logits(full, 3, ids)
    for drop, fold in ((True, False), (False, True), (True, True)):
        changed = weights.simplify(full, drop_key_bias=drop, fold_value_bias=fold)
        assert (changed.layers[0].key_bias is None, changed.layers[0].value_bias is None) == (drop, fold)
        np.testing.assert_allclose(reference.logits(changed, 3, ids), exact, rtol=1e-12)


def test_safetensors_round_trip_keeps_every_bit(tmp_path: Path) -> None:
    for original in (weights.random(SMALL, seed=2), weights.simplify(weights.random(SMALL, 2, torch.bfloat16))):
        weights.save(original, tmp_path / "ensemble.safetensors")
        loaded = weights.load(tmp_path / "ensemble.safetensors")
        assert loaded.spec == original.spec
        assert loaded.tensors().keys() == original.tensors().keys()
        assert all(torch.equal(tensor, original.tensors()[name]) for name, tensor in loaded.tensors().items())
    assert [path.name for path in tmp_path.iterdir()] == ["ensemble.safetensors"]


def test_files_that_are_no_ensembles_are_refused(tmp_path: Path) -> None:
    from safetensors.torch import save_file

    with pytest.raises(LookupError, match="no weights at"):
        weights.load(tmp_path / "missing")
    (tmp_path / "text").write_text("hello")
    with pytest.raises(ValueError, match="not a safetensors file"):
        weights.load(tmp_path / "text")
    save_file({"a": torch.zeros(1)}, tmp_path / "other")
    with pytest.raises(ValueError, match="not an ensemble"):
        weights.load(tmp_path / "other")


@pytest.mark.parametrize(
    ("spec", "word"),
    [
        ("", "JSON"),
        ("{}", "missing"),
        ('{"students": NaN}', "NaN"),
        (json.dumps(asdict(SMALL) | {"layers": 1.5}), "layers"),
        (json.dumps(asdict(SMALL) | {"layers": 0}), "layers"),
        (json.dumps(asdict(SMALL) | {"norm_eps": -1}), "norm_eps"),
        (json.dumps(asdict(SMALL) | {"depth": 2}), "depth"),
    ],
)
def test_an_ensemble_whose_spec_is_none_is_refused(tmp_path: Path, spec: str, word: str) -> None:
    about = {"format": weights.FORMAT, "spec": spec}
    weights.write_tensors(tmp_path / "own", weights.random(SMALL, 0).tensors(), about)
    with pytest.raises(ValueError, match=word) as raised:
        weights.load(tmp_path / "own")
    assert "\n" not in str(raised.value)


def test_an_ensemble_of_whole_numbers_is_refused(tmp_path: Path) -> None:
    own = weights.random(SMALL, 0)
    weights.save(own.map(lambda name, tensor: tensor.to(torch.int8) if "ffn1" in name else tensor), tmp_path / "own")
    with pytest.raises(ValueError, match="int8"):
        weights.load(tmp_path / "own")


def bert(seed: int, **changes: object) -> object:
    """A random tiny classifier in float64, whose biases are not zero."""
    config = transformers.BertConfig(
        **{"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 96}
        | {"vocab_size": 50, "max_position_embeddings": 16, "num_labels": 3}
        | changes
    )
    generator = torch.Generator().manual_seed(seed)
    model = transformers.BertForSequenceClassification(config).double().eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator, dtype=torch.float64))
    return model


def test_stacked_checkpoints_answer_as_the_mean_of_hugging_face(tmp_path: Path) -> None:
    models = [bert(seed) for seed in range(3)]
    models[2].save_pretrained(tmp_path / "third")
    stacked = from_checkpoints([*models[:2], tmp_path / "third"])
    assert stacked.spec.name == "students-2x64"
    ids = batch(stacked.spec, (1, 5, 16))
    with torch.no_grad():
        own = [[model(torch.tensor(row)[None].long()).logits[0].numpy() for row in ids] for model in models]
    for students in (1, 2, 3):
        np.testing.assert_allclose(
            reference.logits(stacked, students, ids), np.mean(own[:students], axis=0), rtol=1e-10, atol=1e-12
        )


@pytest.mark.parametrize("shared", [False, True])
@pytest.mark.parametrize("rows", [0, 10_000])
def test_token_types_are_computed_as_by_hugging_face(shared: bool, rows: int, tmp_path: Path) -> None:
    """By the reference, one student after another, stacked, the baseline, and from a file."""
    models = [bert(seed).float() for seed in range(2)]  # type: ignore[attr-defined]
    if shared:
        models[1].bert.embeddings.load_state_dict(models[0].bert.embeddings.state_dict())
    stacked = from_checkpoints(models)
    assert (stacked.spec.types, stacked.spec.inputs, stacked.spec.shared_embeddings) == (2, 100, shared)
    weights.save(stacked, tmp_path / "ensemble.safetensors")
    stacked = weights.load(tmp_path / "ensemble.safetensors")
    ids = batch(stacked.spec, (5, 16, 7))
    types = [np.arange(len(row)) > 2 for row in ids]
    types[2][:] = False
    given = [row + 50 * kind.astype(np.int32) for row, kind in zip(ids, types, strict=True)]
    own = np.empty((2, 3, 3))
    with torch.no_grad():
        for index, model in enumerate(models):
            for place, (row, kind) in enumerate(zip(ids, types, strict=True)):
                pair = {"input_ids": row, "token_type_ids": kind}
                inputs = {name: torch.from_numpy(array).long()[None] for name, array in pair.items()}
                own[index, place] = model(**inputs).logits[0].numpy()
    executor = CpuExecutor(stacked, BucketPlan((4,), (16,)), stacked_rows=rows)
    executor.warm()
    baseline = hugging_face(stacked, "float32", torch.device("cpu"))
    padded = torch.zeros(3, 16, dtype=torch.int32)
    for place, row in enumerate(given):
        padded[place, : len(row)] = torch.from_numpy(row)
    for students in (1, 2):
        exact = own[:students].mean(axis=0)
        np.testing.assert_allclose(executor.run(students, given).logits, exact, atol=2e-6)
        np.testing.assert_allclose(reference.logits(stacked, students, given), exact, atol=2e-6)
        with torch.no_grad():
            lens = torch.tensor([len(row) for row in given])
            np.testing.assert_allclose(
                baseline(students, padded, Spans(lens, padded.shape[1])).numpy(), exact, atol=2e-6
            )
    assert np.abs(executor.run(2, ids).logits - executor.run(2, given).logits)[:2].max() > 1e-3
    with pytest.raises(ValueError, match="vocabulary"):
        executor.run(1, [np.asarray([100], np.int32)])


def test_weights_without_types_have_one() -> None:
    spec = parse_spec("students-1x64", 2)
    assert weights.random(spec, 0).spec.inputs == spec.vocab
    typed = weights.random(replace(spec, types=2), 0)
    assert typed.type_embeddings is not None
    own = {name: tensor for name, tensor in typed.tensors().items() if name != "type_embeddings"}
    assert weights.assemble(typed.spec, own).spec.types == 1
    assert typed.prefix(1).spec.types == typed.part(1, 2).spec.types == 2


def test_equal_embeddings_of_checkpoints_are_kept_once() -> None:
    first, second = bert(0), bert(1)
    second.bert.embeddings.load_state_dict(first.bert.embeddings.state_dict())
    stacked = from_checkpoints([first, second])
    assert stacked.spec.shared_embeddings
    assert stacked.word_embeddings.shape == (1, 50, 64)
    ids = batch(stacked.spec, (9,))
    with torch.no_grad():
        own = [model(torch.tensor(ids[0])[None].long()).logits[0].numpy() for model in (first, second)]
    np.testing.assert_allclose(reference.logits(stacked, 2, ids)[0], np.mean(own, axis=0), rtol=1e-10)


def test_checkpoints_that_cannot_be_stacked_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="at least one checkpoint"):
        from_checkpoints([])
    with pytest.raises(LookupError, match=r"config\.json"):
        from_checkpoints([tmp_path])
    with pytest.raises(ValueError, match="must be equal"):
        from_checkpoints([bert(0), bert(1, num_hidden_layers=1)])
    with pytest.raises(ValueError, match="gelu"):
        from_checkpoints([bert(0, hidden_act="relu")])
    with pytest.raises(ValueError, match="not Linear"):
        from_checkpoints([torch.nn.Linear(1, 1)])
