"""Encoded examples of random tokens, packed as training packs them, and padded as transformers takes them."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from transformers import BertConfig

from bert_lightning.checkpoints.huggingface import from_huggingface
from bert_lightning.checkpoints.tensor_checks import HEADS
from bert_lightning.models.encoder_config import EncoderConfig
from bert_lightning.objectives.task_objective import TaskObjective
from data_pipeline.streams.packed_batch import PackedBatch
from data_pipeline.streams.task_packing import TaskPacker
from data_pipeline.tasks.encoded import EncodedExamples, EncodedTargets
from tests.support.models import tiny_encoder

CONFIG = tiny_encoder(101, num_hidden_layers=2, num_attention_heads=4, max_position_embeddings=40)
LENGTHS = [9, 31, 4, 17, 40, 12]


@dataclass
class Padded:
    """The same sequences in rows, (sequences, longest)."""

    input_ids: Tensor
    token_type_ids: Tensor
    attention_mask: Tensor


def encoded(targets: dict[str, EncodedTargets], sequences_per_example: int = 1) -> EncodedExamples:
    """Sequences of `LENGTHS` with random tokens."""
    numbers = np.random.default_rng(0)
    cu_seqlens = np.concatenate([[0], np.cumsum(LENGTHS)])
    types = np.concatenate([np.arange(length) > length // 2 for length in LENGTHS]).astype(np.int8)
    ids = numbers.integers(5, 101, size=cu_seqlens[-1]).astype(np.int32)
    return EncodedExamples(ids, types, cu_seqlens, targets, sequences_per_example)


def first_rows(labels: list[int]) -> EncodedTargets:
    """One row a sequence, at its first token."""
    rows = len(labels)
    return EncodedTargets(np.zeros(rows, dtype=np.int32), np.array(labels, dtype=np.int32), np.arange(rows + 1))


def packed(examples: EncodedExamples, room: int = 8) -> PackedBatch:
    """All examples in one batch with room for more, so that there is filler at its end."""
    packer, every = TaskPacker(examples), np.arange(len(examples))
    return packer.pack([every], [every], packer.shape(room))[0]


def padded(examples: EncodedExamples) -> Padded:
    rows = Padded(*(torch.zeros(len(LENGTHS), max(LENGTHS), dtype=torch.long) for _ in range(3)))
    for row, (begin, length) in enumerate(zip(examples.cu_seqlens, LENGTHS, strict=False)):
        rows.input_ids[row, :length] = torch.from_numpy(examples.input_ids[begin : begin + length])
        rows.token_type_ids[row, :length] = torch.from_numpy(examples.token_type_ids[begin : begin + length])
        rows.attention_mask[row, :length] = 1
    return rows


def reference(kind: type, **settings: int) -> nn.Module:
    """A transformers model whose weights are far from zero."""
    torch.manual_seed(0)
    model = kind(BertConfig(**CONFIG.as_dict(), **settings, attn_implementation="eager"))
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if not name.endswith("LayerNorm.weight"):
                parameter.normal_(std=0.15)
    return model


def ours(tensors: Mapping[str, Tensor], config: EncoderConfig = CONFIG) -> dict[str, Tensor]:
    """Return tensors of a transformers model under our names, for which query, key and value are one tensor."""
    encoder = {name: tensor for name, tensor in tensors.items() if name.startswith(("bert.embeddings", "bert.encoder"))}
    heads = {name.removeprefix("bert."): tensor for name, tensor in tensors.items() if name not in encoder}
    return from_huggingface(encoder, config, HEADS) | heads


def load(model: TaskObjective, other: nn.Module, config: EncoderConfig = CONFIG) -> TaskObjective:
    """Ours with the weights of a transformers model; what only ours has keeps its weights."""
    state = ours(other.state_dict(), config)
    assert state.keys() <= model.state_dict().keys()
    model.load_state_dict({**model.state_dict(), **state}, strict=True)
    return model


def assert_same_gradients(model: TaskObjective, other: nn.Module, config: EncoderConfig = CONFIG) -> None:
    expected = ours({name: torch.zeros_like(p) if p.grad is None else p.grad for name, p in other.named_parameters()})
    for name, parameter in model.named_parameters():
        if name in expected:
            assert parameter.grad is not None, name
            torch.testing.assert_close(parameter.grad, expected[name], atol=1e-5, rtol=1e-4, msg=name)
    assert sum(bool(gradient.abs().sum() > 0) for gradient in expected.values()) > 20
