"""Fine-tuning in transformers' classes on padded rows, as its example scripts feed them."""

from typing import Any

import torch
import transformers
from torch import Tensor, nn
from transformers import BertConfig

from bert_lightning.benchmarks.contestants import MAX_NORM, Contestant, MakeOptimizer
from bert_lightning.checkpoints.huggingface import BERT, from_huggingface, to_config_json, to_huggingface
from bert_lightning.checkpoints.task_head import QUESTION_ANSWERING, SEQUENCE_CLASSIFICATION, TaskHead
from bert_lightning.models.encoder_config import EncoderConfig
from data_pipeline.streams.packed_batch import PackedBatch
from data_pipeline.tasks.answer_windows import END, START
from data_pipeline.tasks.encoded import LABELS

KINDS = (SEQUENCE_CLASSIFICATION, QUESTION_ANSWERING)
"""Kinds of heads whose labels this module can write as transformers takes them."""


class PaddedTask(Contestant):
    """A fine-tuned class of transformers.

    Args:
        config: Sizes of the encoder.
        head: The head.
        state: Weights that it begins with, by our names.
        row_length: Tokens every row is padded to; None pads to the longest of the batch.
        name: Name in the tables.
        make_optimizer: Builds the optimizer of parameter groups.
        device: The device.
        is_half_precision: Whether the model trains under bf16 autocast.
    """

    def __init__(
        self,
        config: EncoderConfig,
        head: TaskHead,
        state: dict[str, Tensor],
        row_length: int | None,
        name: str,
        make_optimizer: MakeOptimizer,
        device: torch.device,
        is_half_precision: bool,
    ) -> None:
        BERT.check(config, head=head)
        about, kind = to_config_json(config, state, head), BERT.architecture(state, head)
        model: nn.Module = getattr(transformers, kind)(BertConfig(**about, attn_implementation="sdpa"))
        model.load_state_dict(to_huggingface(state, config, head), strict=True)
        super().__init__(name, model.to(device).train(), make_optimizer, is_half_precision)
        self._config, self._head, self._row_length = config, head, row_length

    def prepare(self, batch: PackedBatch) -> dict[str, Tensor]:
        """Pad the examples, and name their labels as the class does."""
        rows = _rows(batch, self._row_length) | _labels(batch, self._head)
        return rows if self.device.type == "cpu" else {name: tensor.pin_memory() for name, tensor in rows.items()}

    def loss(self, inputs: dict[str, Tensor]) -> Tensor:
        """Return the model's own loss."""
        moved = {name: tensor.to(self.device, non_blocking=True) for name, tensor in inputs.items()}
        return self.model(**moved).loss

    def clip(self) -> None:
        """Clip as transformers' Trainer does."""
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), MAX_NORM)

    def state(self) -> dict[str, Tensor]:
        """Return the weights by our names."""
        return from_huggingface(self.model.state_dict(), self._config, head=self._head)


def _rows(batch: PackedBatch, length: int | None) -> dict[str, Any]:
    """Return ids, segments and mask as rows padded to `length`, or to the longest, (sequences, length)."""
    tokens, number = batch.tokens, batch.num_examples
    lengths = tokens.cu_seqlens.diff()[:number].long()
    longest = length or int(lengths.max())
    is_real = torch.arange(longest) < lengths[:, None]  # (sequences, length)
    total = int(lengths.sum())

    def padded(values: Tensor) -> Tensor:
        rows = torch.zeros(number, longest, dtype=torch.long)
        rows[is_real] = values[:total].long()
        return rows

    return {
        "input_ids": padded(tokens.input_ids),
        "token_type_ids": padded(tokens.token_type_ids),
        "attention_mask": is_real.long(),
    }


def _labels(batch: PackedBatch, head: TaskHead) -> dict[str, Tensor]:
    number = batch.num_examples
    if head.kind == QUESTION_ANSWERING:
        starts, ends = (batch.targets[name].labels[:number].long() for name in (START, END))
        return {"start_positions": starts, "end_positions": ends}
    labels = batch.targets[LABELS].labels
    if head.problem_type == "regression":
        return {"labels": labels[:number].view(torch.float32)}
    if head.problem_type == "multi_label_classification":
        return {"labels": labels.view(-1, len(head.labels))[:number].float()}
    return {"labels": labels[:number].long()}
