"""RoBERTa (Liu et al., 2019) in transformers.

Its classes read positions from the row after that of the padding token, and always have segment embeddings: a single
row of zeros is none.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from bert_lightning.checkpoints.huggingface.family import Family
from bert_lightning.checkpoints.huggingface.task_classes import task_classes
from bert_lightning.checkpoints.task_head import CLASSIFIER, POOLER
from bert_lightning.models.encoder_config import EncoderConfig

_POSITIONS, _SEGMENTS = "encoder.embeddings.position.weight", "encoder.embeddings.segment.weight"
_CLASSIFIER = {POOLER: "classifier.dense", CLASSIFIER: "classifier.out_proj"}
_CHOICE = {POOLER: "roberta.pooler.dense", CLASSIFIER: "classifier"}


class Roberta(Family):
    """Masked tokens alone."""

    def fitted(self, config: EncoderConfig) -> EncoderConfig:
        """Return sizes with positions from the row after that of the padding token, and with segments."""
        if config.positions != "learned":  # no RoBERTa
            return config
        segments, offset = max(config.type_vocab_size, 1), config.pad_token_id + 1
        return replace(config, type_vocab_size=segments, position_offset=offset, initialization="bert")

    def fitted_state(self, state: Mapping[str, Tensor], config: EncoderConfig) -> dict[str, Tensor]:
        """Return the tensors with rows of positions moved, and segments of zeros if there are none."""
        table, offset = state[_POSITIONS], config.pad_token_id + 1
        moved = dict(state)
        if offset != config.position_offset:
            read = table[config.position_offset :]  # (positions, embedding)
            moved[_POSITIONS] = torch.cat([read.new_zeros(offset, read.shape[1]), read])
        if not config.type_vocab_size:
            moved[_SEGMENTS] = table.new_zeros(1, table.shape[1])
        return moved

    def simplified(self, state: dict[str, Tensor], config: EncoderConfig) -> tuple[dict[str, Tensor], EncoderConfig]:
        """Return tensors and sizes without segments if there is one alone, of zeros."""
        if config.type_vocab_size > 1 or state[_SEGMENTS].any():
            return state, config
        kept = {name: tensor for name, tensor in state.items() if name != _SEGMENTS}
        return kept, replace(config, type_vocab_size=0)

    def config_fields(self, config: EncoderConfig) -> dict[str, Any]:
        """Return the sizes; unread rows of positions are counted among the positions."""
        positions = config.max_position_embeddings + config.position_offset
        return super().config_fields(config) | {"max_position_embeddings": positions}

    def read_config(self, content: Mapping[str, Any], where: str) -> EncoderConfig:
        """Return the sizes, with unread rows of positions apart."""
        config = super().read_config(content, where)
        offset = config.pad_token_id + 1
        positions = config.max_position_embeddings - offset
        if positions < 1:
            raise ValueError(
                f"{where} has max_position_embeddings={config.max_position_embeddings}, which leaves no position after "
                f"the {offset} rows that pad_token_id={config.pad_token_id} keeps"
            )
        return replace(config, max_position_embeddings=positions, position_offset=offset)


ROBERTA = Roberta(
    title="RoBERTa",
    model_type="roberta",
    prefix="roberta",
    heads={"mlm_head.transform": "lm_head.dense", "mlm_head.norm": "lm_head.layer_norm", "mlm_head": "lm_head"},
    left_out=("nsp_head", "sop_head"),
    classes=((("mlm_head",), "RobertaForMaskedLM"), ((), "RobertaModel")),
    tasks=task_classes("Roberta", _CLASSIFIER, _CHOICE),
    copies={
        "lm_head.decoder.weight": "roberta.embeddings.word_embeddings.weight",
        "lm_head.decoder.bias": "lm_head.bias",
    },
    constants={"position_embedding_type": "absolute", "is_decoder": False},
    unset=("bos_token_id", "eos_token_id"),
    traits=frozenset({"position_offset"}),
    usual={"pad_token_id": 1},
    head_activation="gelu",
)
