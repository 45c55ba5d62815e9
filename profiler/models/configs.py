"""The config.json of a checkpoint: what of it changes the function is looked at, and computed or refused. No torch."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from profiler.models.spec import MOST_HIDDEN, MOST_LAYERS
from traces.shared.documents import checked

#: The only architecture whose answers are computed: [CLS], pooler, one linear layer.
CLASSIFIER = "BertForSequenceClassification"

_Size = Annotated[int, Field(ge=1, le=10_000_000)]


class BertSizes(BaseModel):
    """What is computed of a config.json: the sizes, the norms' epsilon, the classes. Defaults are transformers'."""

    model_config = ConfigDict(extra="ignore", strict=True, allow_inf_nan=False)

    vocab_size: _Size = 30522
    hidden_size: Annotated[int, Field(ge=1, le=MOST_HIDDEN)] = 768
    num_hidden_layers: Annotated[int, Field(ge=1, le=MOST_LAYERS)] = 12
    num_attention_heads: _Size = 12
    intermediate_size: _Size = 3072
    max_position_embeddings: _Size = 512
    type_vocab_size: _Size = 2
    layer_norm_eps: Annotated[float, Field(ge=0, lt=1)] = 1e-12
    id2label: dict[str, str] | None = None
    num_labels: _Size | None = None


class _BertConfig(BertSizes):
    """Besides, the keys that change what BERT computes, with the values that are computed here.

    Others act on training, on memory, on what is returned besides, or on nothing: dropout, initializer_range,
    problem_type (the loss), use_cache, chunk_size_feed_forward, tie_word_embeddings, dtype. They are not heeded.
    """

    model_type: Literal["bert"] = "bert"
    architectures: list[str] | None = None
    hidden_act: Literal["gelu"] = "gelu"
    position_embedding_type: Literal["absolute"] | None = "absolute"
    is_decoder: Literal[False] | None = False
    add_cross_attention: Literal[False] | None = False
    is_encoder_decoder: Literal[False] | None = False
    pruned_heads: Annotated[dict[str, Any], Field(max_length=0)] | None = None
    per_layer_config: Annotated[dict[str, Any], Field(max_length=0)] | None = None
    quantization_config: None = None
    auto_map: None = None
    embedding_size: None = None


def read_config(values: Any, where: object, *, classifier: bool) -> dict[str, Any]:
    """The keys of `BertSizes` that a config has. ValueError where its model is not the BERT that is computed here.

    classifier: whether its answers are wanted, not its encoder alone. where: whose config it is, for the error.
    """
    try:
        config = checked(_BertConfig, values, where)
    except ValueError as error:
        raise ValueError(f"{error}; only BERT encoders with gelu and absolute positions are computed here") from None
    if classifier and config.architectures and CLASSIFIER not in config.architectures:
        raise ValueError(
            f"{where}: architectures is {', '.join(config.architectures)}, which has no classifier as {CLASSIFIER} "
            "has: give a checkpoint that was fine-tuned to classify texts"
        )
    labels = config.id2label
    if labels is not None and (not labels or sorted(labels) != sorted(map(str, range(len(labels))))):
        raise ValueError(f"{where}: id2label is {labels}, which does not number the classes from 0 on")
    return config.model_dump(include=set(BertSizes.model_fields), exclude_none=True)
