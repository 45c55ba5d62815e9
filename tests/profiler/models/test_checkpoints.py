"""Checkpoints as foreign input: what is computed equals transformers, and whatever is not is refused by name."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="the extra gpu is not installed")
transformers = pytest.importorskip("transformers", reason="the extra gpu is not installed")

from safetensors.torch import load_file, save_file  # noqa: E402

from profiler.executors.cpu import CpuExecutor  # noqa: E402
from profiler.models.checkpoints import encoder_of, from_checkpoints  # noqa: E402
from profiler.table import BucketPlan  # noqa: E402

SHAPE = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 48}
SHAPE |= {"vocab_size": 40, "max_position_embeddings": 16, "num_labels": 3}
IDS = (3, 7, 30, 4, 9)
#: Classes of BERT whose checkpoints have no classifier of texts.
HEADLESS = ("BertModel", "BertForMaskedLM", "BertForTokenClassification", "BertForPreTraining",
            "BertForNextSentencePrediction", "BertForQuestionAnswering", "BertForMultipleChoice")  # fmt: skip


def saved(folder: Path, kind: str = "BertForSequenceClassification", seed: int = 0, **changes: Any) -> Path:
    """A tiny random checkpoint, every parameter moved, so that nothing is neutral."""
    dtype = changes.pop("dtype", torch.float32)
    torch.manual_seed(seed)
    model = getattr(transformers, kind)(transformers.BertConfig(**SHAPE | changes)).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape))
    model.to(dtype).save_pretrained(folder)
    return folder


def edit(folder: Path, **changes: Any) -> Path:
    """Change config.json; None takes a key out."""
    path = folder / "config.json"
    values = json.loads(path.read_text()) | changes
    path.write_text(json.dumps({name: value for name, value in values.items() if value is not None}))
    return folder


def rewrite(folder: Path, change: Any) -> Path:
    path = folder / "model.safetensors"
    save_file(change(load_file(path)), path, {"format": "pt"})
    return folder


def refused(folder: Path, *words: str) -> None:
    with pytest.raises((ValueError, LookupError)) as raised:
        from_checkpoints([folder])
    text = str(raised.value)
    assert "\n" not in text
    assert all(word in text for word in (str(folder), *words)), text


def answers(folder: Path) -> np.ndarray:
    """What the CPU executor answers."""
    executor = CpuExecutor(from_checkpoints([folder]), BucketPlan((1,), (len(IDS),)))
    executor.warm()
    return executor.run(1, [np.array(IDS, np.int32)]).logits[0]


def theirs(folder: Path) -> np.ndarray:
    load = transformers.BertForSequenceClassification.from_pretrained
    model = load(folder, dtype=torch.float32, attn_implementation="eager").eval()
    with torch.no_grad():
        return model(torch.tensor([IDS])).logits[0].numpy()


@pytest.mark.parametrize("eps", [1e-12, 0.3])
def test_a_classifier_answers_as_transformers_does(tmp_path: Path, eps: float) -> None:
    folder = saved(tmp_path / "bert", layer_norm_eps=eps)
    np.testing.assert_allclose(answers(folder), theirs(folder), atol=2e-6)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_computed_in_float32(tmp_path: Path, dtype: Any) -> None:
    folder = saved(tmp_path / "half", dtype=dtype)
    assert from_checkpoints([folder]).dtype == torch.float32
    np.testing.assert_allclose(answers(folder), theirs(folder), atol=2e-6)


@pytest.mark.parametrize("kind", HEADLESS)
def test_a_checkpoint_without_a_classifier_of_texts_is_refused(tmp_path: Path, kind: str) -> None:
    refused(saved(tmp_path / kind, kind), "architectures", kind)


@pytest.mark.parametrize("kind", [*HEADLESS[:3], "BertForQuestionAnswering"])
def test_it_is_refused_also_where_its_config_claims_a_classifier(tmp_path: Path, kind: str) -> None:
    refused(edit(saved(tmp_path / kind, kind), architectures=["BertForSequenceClassification"]), "missing")
    refused(edit(tmp_path / kind, architectures=None), "missing")


@pytest.mark.parametrize("part", ["classifier.weight", "classifier.bias", "bert.pooler.dense.weight",
                                  "bert.encoder.layer.1.output.dense.bias",
                                  "bert.embeddings.token_type_embeddings.weight"])  # fmt: skip
def test_no_part_may_be_missing(tmp_path: Path, part: str) -> None:
    folder = rewrite(saved(tmp_path / "cut"), lambda own: {name: own[name] for name in own if name != part})
    refused(folder, "missing", part)


@pytest.mark.parametrize("name", ["bert.encoder.layer.2.output.dense.bias", "classifier.out_proj.weight",
                                  "bert.encoder.layer.0.attention.self.distance_embedding.weight",
                                  "bert.encoder.layer.0.attention.self.query.lora_A.weight"])  # fmt: skip
def test_no_weight_may_be_left_out_of_the_answer(tmp_path: Path, name: str) -> None:
    folder = rewrite(saved(tmp_path / "more"), lambda own: own | {name: torch.ones(32)})
    refused(folder, name)


def test_fewer_layers_in_the_config_than_in_the_weights_are_refused(tmp_path: Path) -> None:
    refused(edit(saved(tmp_path / "deep"), num_hidden_layers=1), "layer.1")


def test_old_buffers_are_no_weights(tmp_path: Path) -> None:
    folder = saved(tmp_path / "old")
    before = answers(folder)
    rewrite(folder, lambda own: own | {"bert.embeddings.position_ids": torch.arange(16)[None]})
    np.testing.assert_array_equal(answers(folder), before)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("is_decoder", True),
        ("add_cross_attention", True),
        ("is_encoder_decoder", True),
        ("position_embedding_type", "relative_key"),
        ("position_embedding_type", "rotary"),
        ("hidden_act", "gelu_new"),
        ("hidden_act", "relu"),
        ("layer_norm_eps", -1e-12),
        ("layer_norm_eps", "1e-12"),
        ("pruned_heads", {"0": [1]}),
        ("quantization_config", {"quant_method": "bitsandbytes"}),
        ("auto_map", {"AutoModel": "modeling.Mine"}),
        ("model_type", "roberta"),
        ("model_type", "distilbert"),
        ("model_type", "albert"),
        ("model_type", "bert-generation"),
        ("architectures", ["RobertaForSequenceClassification"]),
        ("vocab_size", 0),
        ("num_attention_heads", "2"),
        ("hidden_size", 32.5),
        ("type_vocab_size", 0),
        ("hidden_size", 64_000),
        ("vocab_size", 9_000_000),
        ("intermediate_size", 9_000_000),
        ("num_hidden_layers", 10**9),
        ("id2label", {"0": "no", "7": "yes"}),
        ("id2label", ["no", "yes"]),
    ],
)
def test_a_config_that_changes_the_function_is_refused(tmp_path: Path, name: str, value: object) -> None:
    folder = edit(saved(tmp_path / "bert"), **{name: value})
    refused(folder, "config.json")
    if name != "architectures":
        with pytest.raises(ValueError, match=r"config\.json"):
            encoder_of(folder)


@pytest.mark.parametrize(
    "changes",
    [
        {"use_cache": False, "chunk_size_feed_forward": 2, "gradient_checkpointing": True, "pruned_heads": {}},
        {"hidden_dropout_prob": 0.5, "classifier_dropout": 0.3, "problem_type": "multi_label_classification"},
        {"dtype": "float16", "rope_scaling": "none", "use_return_dict": 5, "initializer_range": 2, "num_labels": 3},
        {"position_embedding_type": "absolute", "finetuning_task": "mine", "architectures": None, "model_type": None},
    ],
)
def test_a_config_that_changes_nothing_of_the_function_is_taken(tmp_path: Path, changes: dict[str, Any]) -> None:
    folder = saved(tmp_path / "bert")
    before = answers(folder)
    np.testing.assert_array_equal(answers(edit(folder, **changes)), before)


@pytest.mark.parametrize("kind", ["Roberta", "DistilBert", "Albert", "Electra"])
def test_another_family_is_refused_by_name(tmp_path: Path, kind: str) -> None:
    sizes = SHAPE if kind != "DistilBert" else {"dim": 32, "n_layers": 1, "n_heads": 2, "hidden_dim": 48}
    config = getattr(transformers, f"{kind}Config")(**sizes)
    getattr(transformers, f"{kind}ForSequenceClassification")(config).save_pretrained(tmp_path / kind)
    refused(tmp_path / kind, f'"{kind.lower()}"')


def test_a_head_of_another_shape_is_refused(tmp_path: Path) -> None:
    change = {"classifier.weight": torch.ones(5, 32), "classifier.bias": torch.ones(5)}
    refused(rewrite(saved(tmp_path / "five"), lambda own: own | change), "classifier", "[5]")


def test_students_whose_classes_stand_in_another_order_are_refused(tmp_path: Path) -> None:
    first, second = (saved(tmp_path / str(seed), seed=seed) for seed in range(2))
    assert from_checkpoints([first, second]).spec.students == 2
    edit(first, id2label={"0": "no", "1": "yes", "2": "?"}, label2id=None)
    edit(second, id2label={"0": "yes", "1": "no", "2": "?"}, label2id=None)
    with pytest.raises(ValueError, match="same order"):
        from_checkpoints([first, second])


def test_an_adapter_beside_the_weights_is_refused(tmp_path: Path) -> None:
    (saved(tmp_path / "lora") / "adapter_config.json").write_text("{}")
    refused(tmp_path / "lora", "adapter")


@pytest.mark.parametrize("text", ["", "[]", "null", "{", '{"vocab_size": NaN}', "[" * 100_000])
def test_a_config_that_is_none_is_refused(tmp_path: Path, text: str) -> None:
    (saved(tmp_path / "bad") / "config.json").write_text(text)
    refused(tmp_path / "bad", "config.json")


@pytest.mark.parametrize("content", [b"", b"nonsense", b"\xff" * 100])
def test_weights_that_are_broken_are_refused(tmp_path: Path, content: bytes) -> None:
    folder = saved(tmp_path / "bad")
    (folder / "model.safetensors").write_bytes(content)
    refused(folder, "broken")
    (folder / "model.safetensors").unlink()
    (folder / "pytorch_model.bin").write_bytes(content)
    refused(folder, "broken")


@pytest.mark.parametrize("kind", ["BertForSequenceClassification", *HEADLESS])
def test_the_encoder_of_every_bert_is_the_same(tmp_path: Path, kind: str) -> None:
    """What stands above it does not matter to a teacher, whose head is trained."""
    spec, tensors = encoder_of(saved(tmp_path / kind, kind))
    own = load_file(tmp_path / kind / "model.safetensors")
    found = next(own[name] for name in own if name.endswith("layer.1.output.dense.weight"))
    assert torch.equal(tensors["layers.1.ffn2_weight"][0], found.T)
    assert (spec.pooler, spec.layers, "pooler_weight" in tensors) == (False, 2, False)


def test_only_the_error_is_printed(tmp_path: Path) -> None:
    folder = edit(saved(tmp_path / "bare", "BertModel"), architectures=None)
    lines = ("from profiler.models.checkpoints import from_checkpoints", f"try: from_checkpoints([{str(folder)!r}])")
    program = "\n".join([*lines, "except ValueError: pass"])
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("", "")


def shards(folder: Path) -> Path:
    """The same checkpoint in two files and an index."""
    weights = load_file(folder / "model.safetensors")
    names, files = sorted(weights), [f"model-{number}-of-2.safetensors" for number in (1, 2)]
    of = {name: files[number % 2] for number, name in enumerate(names)}
    for file in files:
        save_file({name: weights[name] for name in names if of[name] == file}, folder / file, {"format": "pt"})
    (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": of}))
    (folder / "model.safetensors").unlink()
    return folder


def pickled(folder: Path) -> Path:
    """The same checkpoint as older versions wrote it."""
    torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()
    return folder


@pytest.mark.parametrize("kept", [lambda folder: folder, shards, pickled])
@pytest.mark.parametrize(("dtype", "taken"), [
    (torch.float64, True), (torch.float16, True), (torch.int8, False), (torch.float8_e4m3fn, False),
])  # fmt: skip
def test_weights_are_floats_in_every_kind_of_file(tmp_path: Path, kept: Any, dtype: Any, taken: bool) -> None:
    def convert(weights: dict[str, Any]) -> dict[str, Any]:
        return {name: weight.to(dtype) for name, weight in weights.items()}

    folder = kept(rewrite(saved(tmp_path), convert))
    if not taken:
        refused(folder, "floats")
        return
    wanted = torch.float64 if dtype == torch.float64 else torch.float32
    assert from_checkpoints([folder]).dtype == wanted


@pytest.mark.parametrize("index", ["{", "null", "[]", "{}", '{"weight_map": {}}'])
def test_an_index_of_shards_that_is_none_is_refused(tmp_path: Path, index: str) -> None:
    folder = shards(saved(tmp_path))
    (folder / "model.safetensors.index.json").write_text(index)
    refused(folder)


@pytest.mark.parametrize("holds", [[1, 2], 3, "weights", None])
def test_a_pickle_of_something_else_is_refused(tmp_path: Path, holds: object) -> None:
    folder = pickled(saved(tmp_path))
    torch.save(holds, folder / "pytorch_model.bin")
    refused(folder, type(holds).__name__)
