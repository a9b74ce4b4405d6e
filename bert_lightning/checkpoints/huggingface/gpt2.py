"""GPT-2 (Radford et al., 2019) and GPT (Radford et al., 2018) in transformers, whose matrices are transposed there.

The decoder is the token table. The head for whole texts is a classifier without a bias that reads the last token; GPT-2
has heads for single tokens besides.
"""

from collections.abc import Collection, Mapping
from typing import Any

from bert_lightning.checkpoints.huggingface.family import Family
from bert_lightning.checkpoints.huggingface.task_classes import TaskClass
from bert_lightning.checkpoints.task_head import (
    CLASSIFIER,
    QA_OUTPUTS,
    QUESTION_ANSWERING,
    SEQUENCE_CLASSIFICATION,
    TOKEN_CLASSIFICATION,
    TaskHead,
)
from bert_lightning.models.encoder_config import EncoderConfig
from data_pipeline.tasks.encoded import LAST
from data_pipeline.tokenizers.special_tokens import SpecialTokens
from data_pipeline.untrusted.typed_fields import shown

_LAYER = {
    "attention_output": "attn.c_proj",
    "attention_norm": "ln_1",
    "intermediate": "mlp.c_fc",
    "output": "mlp.c_proj",
    "output_norm": "ln_2",
}
_FIELDS = {
    "vocab_size": "vocab_size",
    "hidden_size": "n_embd",
    "num_hidden_layers": "n_layer",
    "num_attention_heads": "n_head",
    "hidden_dropout_prob": "resid_pdrop",
    "attention_probs_dropout_prob": "attn_pdrop",
    "max_position_embeddings": "n_positions",
    "initializer_range": "initializer_range",
    "layer_norm_eps": "layer_norm_epsilon",
    "pad_token_id": "pad_token_id",
}
_ALIASES = {name: key for name, key in _FIELDS.items() if key.startswith("n_")}
_TRANSPOSED = ("attn.c_attn", "attn.c_proj", "mlp.c_fc", "mlp.c_proj")
_ACTIVATIONS = {"gelu_new": "gelu", "relu": "relu"}
"""Activations of GPT, and what config.json calls them: its gelu is the approximation by tanh."""


class Gpt2(Family):
    """A causal model with LayerNorm before each half of a layer."""

    def token_fields(self, special: SpecialTokens, head: TaskHead | None) -> dict[str, Any]:
        """Return the tokens that begin and end a text, which `generate` of transformers stops at.

        A classifier reads the last token that is no padding there: if texts end with the padding, it has none, and
        transformers takes the last token of one text at a time.
        """
        ends = {"bos_token_id": special.cls, "eos_token_id": special.sep}
        is_read = head is not None and head.kind == SEQUENCE_CLASSIFICATION and special.pad == special.sep
        return ends | ({"pad_token_id": None} if is_read else {})

    def values(self, content: Mapping[str, Any], where: str) -> dict[str, Any]:
        """Return the sizes; a feed-forward network is four times as wide as the layers if the file does not say."""
        values = super().values(content, where)
        hidden_size = values.get("hidden_size", 768)
        return {"intermediate_size": 4 * hidden_size if isinstance(hidden_size, int) else hidden_size} | values


class OpenAIGpt(Gpt2):
    """A causal model with LayerNorm after each half of a layer."""

    def objections(self, config: EncoderConfig, modules: Collection[str], head: TaskHead | None) -> list[str]:
        """Return what the class does not have: another width of networks, or another activation."""
        said = super().objections(config, modules, head)
        is_wide = config.intermediate_size == 4 * config.hidden_size
        said += [] if is_wide else [f"model.intermediate_size={config.intermediate_size}"]
        return said + ([] if config.hidden_act in _ACTIVATIONS else [f"model.hidden_act={config.hidden_act}"])

    def config_fields(self, config: EncoderConfig) -> dict[str, Any]:
        """Return the sizes, with its own name of the activation."""
        return super().config_fields(config) | {"afn": _ACTIVATIONS[config.hidden_act]}

    def values(self, content: Mapping[str, Any], where: str) -> dict[str, Any]:
        """Return the sizes; ValueError if the activation is none of ours."""
        said = content.get("afn") or "gelu"
        found = [ours for ours, theirs in _ACTIVATIONS.items() if theirs == said]
        if not found:
            raise ValueError(f"{where} has afn={shown(said)}; only {', '.join(_ACTIVATIONS.values())} can be read")
        return super().values(content, where) | {"hidden_act": found[0]}


GPT2 = Gpt2(
    title="GPT-2",
    model_type="gpt2",
    prefix="transformer",
    encoder={"embeddings.token": "wte", "embeddings.position": "wpe", "norm": "ln_f"},
    layer_name="h.{}",
    layer=_LAYER,
    qkv=("attn.c_attn",),
    heads={},
    classes=(((), "GPT2LMHeadModel"),),
    tasks={
        SEQUENCE_CLASSIFICATION: TaskClass("GPT2ForSequenceClassification", {CLASSIFIER: "score"}),
        TOKEN_CLASSIFICATION: TaskClass("GPT2ForTokenClassification", {CLASSIFIER: "classifier"}),
        QUESTION_ANSWERING: TaskClass("GPT2ForQuestionAnswering", {QA_OUTPUTS: "qa_outputs"}),
    },
    extract=LAST,
    copies={"lm_head.weight": "transformer.wte.weight"},
    buffers=(),
    layer_buffers=("attn.bias", "attn.masked_bias"),
    transposed=_TRANSPOSED,
    fields=_FIELDS | {"intermediate_size": "n_inner", "hidden_act": "activation_function"},
    aliases=_ALIASES,
    same_dropout="embd_pdrop",
    constants={
        "scale_attn_weights": True,
        "scale_attn_by_inverse_layer_idx": False,
        "add_cross_attention": False,
    },
    unset=("bos_token_id", "eos_token_id"),
    required={"type_vocab_size": 0, "norm": "pre", "embedding_norm": False, "is_causal": True},
    usual={
        "vocab_size": 50257,
        "hidden_act": "gelu_new",
        "max_position_embeddings": 1024,
        "layer_norm_eps": 1e-5,
    },
)
OPENAI_GPT = OpenAIGpt(
    title="GPT",
    model_type="openai-gpt",
    prefix="transformer",
    encoder={"embeddings.token": "tokens_embed", "embeddings.position": "positions_embed"},
    layer_name="h.{}",
    layer=_LAYER,
    qkv=("attn.c_attn",),
    heads={},
    classes=(((), "OpenAIGPTLMHeadModel"),),
    tasks={SEQUENCE_CLASSIFICATION: TaskClass("OpenAIGPTForSequenceClassification", {CLASSIFIER: "score"})},
    extract=LAST,
    copies={"lm_head.weight": "transformer.tokens_embed.weight"},
    buffers=("position_ids",),
    layer_buffers=("attn.bias",),
    transposed=_TRANSPOSED,
    fields=_FIELDS,
    aliases=_ALIASES,
    same_dropout="embd_pdrop",
    required={"type_vocab_size": 0, "embedding_norm": False, "is_causal": True},
    usual={"vocab_size": 40478, "layer_norm_eps": 1e-5},
)
