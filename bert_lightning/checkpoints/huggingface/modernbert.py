"""ModernBERT (Warner et al., 2024) in transformers, whose versions 4 and 5 name the kinds of layers differently.

Both read the keys of version 4, which are written. The classes for tasks call the layers before their classifier as
the class for masked tokens calls those before its decoder.
"""

from collections.abc import Mapping
from typing import Any

from bert_lightning.checkpoints.huggingface.family import Family
from bert_lightning.checkpoints.huggingface.task_classes import TaskClass
from bert_lightning.checkpoints.task_head import (
    CLASSIFIER,
    HEAD_DENSE,
    HEAD_NORM,
    MULTIPLE_CHOICE,
    QA_OUTPUTS,
    QUESTION_ANSWERING,
    SEQUENCE_CLASSIFICATION,
    TOKEN_CLASSIFICATION,
)
from bert_lightning.models.encoder_config import EncoderConfig
from data_pipeline.untrusted.typed_fields import checked, shown, whole_number

_LOCAL, _GLOBAL = "sliding_attention", "full_attention"


_HEAD = {HEAD_DENSE: "head.dense", HEAD_NORM: "head.norm"}
_TEXTS = {"classifier_pooling": "cls"}


class ModernBert(Family):
    """Masked tokens and tasks."""

    def config_fields(self, config: EncoderConfig) -> dict[str, Any]:
        """Return the sizes, and which layers see how far."""
        local = config.local_attention
        return super().config_fields(config) | {
            "classifier_activation": config.hidden_act,
            "local_attention": 128 if local is None else local,
            "global_attn_every_n_layers": 1 if local is None else config.global_attn_every_n_layers,
            "global_rope_theta": config.rope_theta,
            "local_rope_theta": config.rope_theta if config.local_rope_theta is None else config.local_rope_theta,
        }

    def values(self, content: Mapping[str, Any], where: str) -> dict[str, Any]:
        """Return the sizes; ValueError if layers with global attention do not come at equal distances."""
        act = content.get("hidden_activation") or "gelu"
        if (content.get("classifier_activation") or "gelu") != act:
            raise ValueError(
                f"{where} has classifier_activation={shown(content.get('classifier_activation'))} and "
                f"hidden_activation={shown(act)}; they must be the same"
            )
        _check_positions(content, where)
        values = super().values(content, where)
        distance = _distance(content, where)
        if distance == 1:
            thetas = {"rope_theta": _theta(content, _GLOBAL, "global_rope_theta", 160_000.0, where)}
            return values | thetas
        return values | {
            "local_attention": content.get("local_attention") or 128,
            "global_attn_every_n_layers": distance,
            "rope_theta": _theta(content, _GLOBAL, "global_rope_theta", 160_000.0, where),
            "local_rope_theta": _theta(content, _LOCAL, "local_rope_theta", _usual_local(content), where),
        }


def _check_positions(content: Mapping[str, Any], where: str) -> None:
    """Raise a ValueError if positions are scaled, or local attention is said in two ways that differ."""
    scaling = checked(content.get("rope_scaling") or {}, dict[str, object], where, "rope_scaling")
    kind = scaling.get("rope_type", scaling.get("type", "default"))
    if kind != "default":
        raise ValueError(f"{where} has rope_scaling of the type {shown(kind)}; only 'default' can be read")
    side, local = content.get("sliding_window"), content.get("local_attention") or 128
    if side is not None and local != 2 * whole_number(side, where, "sliding_window", 1):
        said = f"sliding_window={shown(side)}, which looks to one side, and local_attention={shown(local)}"
        raise ValueError(f"{where} has {said}, which must be twice as much")


def _usual_local(content: Mapping[str, Any]) -> float:
    """Return the base of layers with local attention in a file that gives none; null is that of the other layers."""
    base = content.get("global_rope_theta") or 160_000.0 if "local_rope_theta" in content else 10_000.0
    return float(base)


def _distance(content: Mapping[str, Any], where: str) -> int:
    """Return how many layers after a layer with global attention the next one comes; 1 if all have it."""
    kinds = checked(content.get("layer_types"), list[str] | None, where, "layer_types")
    if kinds is None:
        every = content.get("global_attn_every_n_layers")
        return whole_number(3 if every is None else every, where, "global_attn_every_n_layers", 1)
    distance = kinds.index(_GLOBAL, 1) if _GLOBAL in kinds[1:] else max(len(kinds), 1)
    if kinds != [_LOCAL if number % distance else _GLOBAL for number in range(len(kinds))]:
        raise ValueError(
            f"{where} has {_GLOBAL} in layers of layer_types that are not at equal distances from the first"
        )
    return distance


def _theta(content: Mapping[str, Any], kind: str, key: str, usual: float, where: str) -> float:
    """Return the base of the rotary positions of a kind of layers.

    Args:
        content: The object in the file.
        kind: The kind, in the terms of version 5.
        key: The key of version 4.
        usual: What it is if the file does not say.
        where: The file, for errors.
    """
    rope = checked(content.get("rope_parameters") or {}, dict[str, object], where, "rope_parameters")
    about = checked(rope.get(kind) or {}, dict[str, object], where, f"rope_parameters.{kind}")
    if about.get("rope_type", "default") != "default":
        raise ValueError(f"{where} has rope_type={shown(about['rope_type'])}; only 'default' can be read")
    theta = about.get("rope_theta", content.get(key))
    return usual if theta is None else float(checked(theta, float, where, key))


MODERNBERT = ModernBert(
    title="ModernBERT",
    model_type="modernbert",
    prefix="model",
    encoder={"embeddings.token": "embeddings.tok_embeddings", "embeddings.norm": "embeddings.norm"}
    | {"norm": "final_norm"},
    layer_name="layers.{}",
    layer={
        "attention_output": "attn.Wo",
        "attention_norm": "attn_norm",
        "intermediate": "mlp.Wi",
        "output": "mlp.Wo",
        "output_norm": "mlp_norm",
    },
    qkv=("attn.Wqkv",),
    heads={"mlm_head.transform": "head.dense", "mlm_head.norm": "head.norm", "mlm_head": "decoder"},
    left_out=("nsp_head", "sop_head"),
    classes=((("mlm_head",), "ModernBertForMaskedLM"), ((), "ModernBertModel")),
    tasks={
        SEQUENCE_CLASSIFICATION: TaskClass(
            "ModernBertForSequenceClassification", _HEAD | {CLASSIFIER: "classifier"}, _TEXTS
        ),
        TOKEN_CLASSIFICATION: TaskClass("ModernBertForTokenClassification", _HEAD | {CLASSIFIER: "classifier"}),
        MULTIPLE_CHOICE: TaskClass("ModernBertForMultipleChoice", _HEAD | {CLASSIFIER: "classifier"}, _TEXTS),
        QUESTION_ANSWERING: TaskClass("ModernBertForQuestionAnswering", _HEAD | {QA_OUTPUTS: "classifier"}),
    },
    copies={"decoder.weight": "model.embeddings.tok_embeddings.weight"},
    fields={
        "vocab_size": "vocab_size",
        "hidden_size": "hidden_size",
        "num_hidden_layers": "num_hidden_layers",
        "num_attention_heads": "num_attention_heads",
        "intermediate_size": "intermediate_size",
        "hidden_act": "hidden_activation",
        "hidden_dropout_prob": "embedding_dropout",
        "attention_probs_dropout_prob": "attention_dropout",
        "max_position_embeddings": "max_position_embeddings",
        "initializer_range": "initializer_range",
        "layer_norm_eps": "norm_eps",
        "pad_token_id": "pad_token_id",
    },
    same_dropout="mlp_dropout",
    constants={
        **dict.fromkeys(("norm_bias", "attention_bias", "mlp_bias", "classifier_bias"), False),
        "decoder_bias": True,
    },
    unset=("bos_token_id", "eos_token_id", "cls_token_id", "sep_token_id"),
    traits=frozenset({"rope_theta", "local_rope_theta", "local_attention", "global_attn_every_n_layers"}),
    required={
        "type_vocab_size": 0,
        "positions": "rotary",
        "norm": "pre",
        "use_bias": False,
        "feed_forward": "gated",
    },
    usual={
        "vocab_size": 50368,
        "intermediate_size": 1152,
        "num_hidden_layers": 22,
        "hidden_dropout_prob": 0.0,
        "attention_probs_dropout_prob": 0.0,
        "max_position_embeddings": 8192,
        "layer_norm_eps": 1e-5,
        "pad_token_id": 50283,
    },
)
