"""The padding-free path of transformers: DataCollatorWithFlattening, one flash-attention kernel, masked tokens only.

A flattened batch is one row, of which BertForPreTraining would score the first [CLS] alone. So the model is
BertForMaskedLM, which has no sentence pairs to learn. The kernel is the one in torch: it is the second generation of
flash attention, like that of the flash-attn package, which this path needs otherwise.
"""

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AttentionInterface, BertConfig, BertForMaskedLM, DataCollatorWithFlattening

from bert_lightning.benchmarks.contestants import MAX_NORM, Contestant, Setting
from bert_lightning.benchmarks.model_batches import flat_labels
from bert_lightning.checkpoints.huggingface import BERT, to_huggingface
from bert_lightning.models.attention import flash_context
from bert_lightning.models.looped_attention import looped_attention
from data_pipeline.streams.packed_batch import PackedBatch

ATTENTION = "bert_lightning_packed"
"""Name under which transformers finds the attention of this module."""


def packed_attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    dropout: float = 0.0,
    *,
    cu_seq_lens_q: Tensor,
    max_length_q: int,
    **unused: Any,
) -> tuple[Tensor, None]:
    """Attend within each sequence of a flattened batch, as transformers' attention functions are called.

    Args:
        module: The layer that asks.
        query: Queries, (1, heads, tokens, head_dim); key and value alike.
        key: Keys.
        value: Values.
        attention_mask: None; the offsets say who sees whom.
        dropout: Probability that a weight of attention is dropped.
        cu_seq_lens_q: Offset of every sequence and the end, (sequences + 1,).
        max_length_q: Tokens of the longest sequence.
        **unused: The same facts about the keys, and what other functions take.

    Returns:
        The context, (1, tokens, heads, head_dim), and no weights.
    """
    query, key, value = (each.squeeze(0).transpose(0, 1) for each in (query, key, value))  # (tokens, heads, head_dim)
    if query.is_cuda and query.dtype != torch.float32:
        context = flash_context(query, key, value, cu_seq_lens_q, max_length_q, dropout)
    else:
        context = looped_attention(torch.stack([query, key, value], dim=1), cu_seq_lens_q, max_length_q, dropout)
    return context.unsqueeze(0), None


class PaddingFree(Contestant):
    """transformers' BertForMaskedLM on flattened batches."""

    collate: Callable[..., dict[str, Any]] = DataCollatorWithFlattening(return_flash_attn_kwargs=True)

    def prepare(self, batch: PackedBatch) -> dict[str, Any]:
        """Flatten the examples with transformers' collator."""
        ids, labels = batch.tokens.input_ids, flat_labels(batch)
        ends = batch.tokens.cu_seqlens[: batch.num_examples + 1].tolist()
        flat = self.collate(
            [{"input_ids": ids[a:b].tolist(), "labels": labels[a:b].tolist()} for a, b in pairwise(ends)]
        )
        return {name: self._pinned(value) for name, value in flat.items()}

    def _pinned(self, value: Any) -> Any:
        return value.pin_memory() if torch.is_tensor(value) and self.device.type == "cuda" else value

    def loss(self, inputs: dict[str, Any]) -> Tensor:
        """Return the mean loss of the masked tokens."""
        moved = {
            name: value.to(self.device, non_blocking=True) if torch.is_tensor(value) else value
            for name, value in inputs.items()
        }
        return self.model(**moved).loss

    def clip(self) -> None:
        """Clip as transformers' Trainer does."""
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), MAX_NORM)


def padding_free(setting: Setting, state: dict[str, Tensor]) -> PaddingFree:
    """Build transformers' model with the weights of ours, uncompiled."""
    BERT.check(setting.config)
    AttentionInterface.register(ATTENTION, packed_attention)
    model = BertForMaskedLM(BertConfig(**setting.config.as_dict(), attn_implementation=ATTENTION))
    model.load_state_dict(to_huggingface(state, setting.config), strict=False)
    return PaddingFree(
        name="transformers, padding-free, MLM only",
        model=model.to(setting.device).train(),
        make_optimizer=setting.make_optimizer,
        is_half_precision=setting.dtype == torch.bfloat16,
    )
