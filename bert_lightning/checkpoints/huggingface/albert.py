"""ALBERT (Lan et al., 2019) in transformers.

A model without shared layers that has small embeddings is one with as many groups as layers.
"""

from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import Any

from torch import Tensor

from bert_lightning.checkpoints.huggingface.family import EMBEDDINGS, FIELDS, Family
from bert_lightning.checkpoints.huggingface.task_classes import task_classes
from bert_lightning.checkpoints.task_head import CLASSIFIER, POOLER, TaskHead
from bert_lightning.models.encoder_config import EncoderConfig


class Albert(Family):
    """Masked tokens and sentence order; of a head for next sentences only the pooler has a counterpart."""

    def objections(self, config: EncoderConfig, modules: Collection[str], head: TaskHead | None) -> list[str]:
        """Return what the classes do not have: they always have a linear layer between embeddings and layers."""
        said = super().objections(config, modules, head)
        is_narrow = config.embedding_width != config.hidden_size
        return said if is_narrow else [*said, f"model.embedding_size={config.embedding_size}"]

    def fitted(self, config: EncoderConfig) -> EncoderConfig:
        """Return sizes with a group for each layer if no layer is shared."""
        if config.shared_parameters != "none" or config.local_attention is not None:
            return config
        groups = config.num_hidden_layers
        return replace(config, shared_parameters="all", num_hidden_groups=groups, initialization="bert")

    def simplified(self, state: dict[str, Tensor], config: EncoderConfig) -> tuple[dict[str, Tensor], EncoderConfig]:
        """Return sizes without shared layers if each layer is a group by itself; the tensors have the same names."""
        if config.num_hidden_groups == config.num_hidden_layers:
            config = replace(config, shared_parameters="none", num_hidden_groups=1)
        return state, config

    def read_config(self, content: Mapping[str, Any], where: str) -> EncoderConfig:
        """Return the sizes; ValueError if the embeddings are as wide as the layers."""
        config = super().read_config(content, where)
        if config.embedding_width == config.hidden_size:
            raise ValueError(
                f"{where} has embedding_size={config.embedding_width}, which is hidden_size; "
                "an ALBERT can be read if they differ"
            )
        return config


ALBERT = Albert(
    title="ALBERT",
    model_type="albert",
    prefix="albert",
    encoder=EMBEDDINGS | {"embeddings.projection": "encoder.embedding_hidden_mapping_in"},
    layer_name="encoder.albert_layer_groups.{}.albert_layers.0",
    layer={
        "attention_output": "attention.dense",
        "attention_norm": "attention.LayerNorm",
        "intermediate": "ffn",
        "output": "ffn_output",
        "output_norm": "full_layer_layer_norm",
    },
    qkv=("attention.query", "attention.key", "attention.value"),
    heads={
        "sop_head.pooler.dense": "albert.pooler",
        "sop_head.classifier": "sop_classifier.classifier",
        "mlm_head.transform": "predictions.dense",
        "mlm_head.norm": "predictions.LayerNorm",
        "mlm_head": "predictions",
    },
    borrowed={"nsp_head.pooler.dense": "sop_head.pooler.dense"},
    left_out=("nsp_head.classifier",),
    classes=(
        (("mlm_head", "sop_head.classifier"), "AlbertForPreTraining"),
        (("mlm_head",), "AlbertForMaskedLM"),
        ((), "AlbertModel"),
    ),
    tasks=task_classes("Albert", {POOLER: "albert.pooler", CLASSIFIER: "classifier"}),
    pooler="pooler",
    copies={
        "predictions.decoder.weight": "albert.embeddings.word_embeddings.weight",
        "predictions.decoder.bias": "predictions.bias",
    },
    fields=FIELDS | {"embedding_size": "embedding_size", "num_hidden_groups": "num_hidden_groups"},
    constants={"position_embedding_type": "absolute", "inner_group_num": 1},
    unset=("bos_token_id", "eos_token_id"),
    traits=frozenset({"embedding_size", "num_hidden_groups"}),
    required={"shared_parameters": "all"},
    usual={
        "embedding_size": 128,
        "hidden_size": 4096,
        "num_attention_heads": 64,
        "intermediate_size": 16384,
        "hidden_act": "gelu_new",
        "hidden_dropout_prob": 0.0,
        "attention_probs_dropout_prob": 0.0,
    },
)
