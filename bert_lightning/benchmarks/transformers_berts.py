"""The BERT of transformers for the same objective as ours, with the same weights, as users run it."""

from typing import Any

import torch
from torch import Tensor, nn
from transformers import BertConfig, BertForMaskedLM, BertForPreTraining

from bert_lightning.benchmarks.contestants import MAX_NORM, Contestant, Setting
from bert_lightning.benchmarks.model_batches import pad_rows
from bert_lightning.checkpoints.huggingface import BERT, to_huggingface
from bert_lightning.objectives.objective import Objective
from data_pipeline.streams.packed_batch import PackedBatch

PAIR_TARGETS = {"mlm": None, "mlm_nsp": "nsp", "mlm_sop": "sop"}
"""The pair labels of the objectives that transformers has a BERT for."""


class HuggingFace(Contestant):
    """A BERT of transformers with scaled_dot_product_attention, on padded rows.

    Args:
        model: A BertForPreTraining, or a BertForMaskedLM.
        row_length: Tokens every row is padded to; None pads to the longest of the batch.
        pair_target: Name of the pair labels that the model learns; None for a BertForMaskedLM.
        **options: See Contestant.
    """

    def __init__(self, *, model: nn.Module, row_length: int | None, pair_target: str | None, **options: Any) -> None:
        super().__init__(model=model, **options)
        self.row_length = row_length
        self.pair_target = pair_target

    def prepare(self, batch: PackedBatch) -> dict[str, Tensor]:
        """Pad the examples."""
        rows = pad_rows(batch, self.row_length, self.pair_target)
        return rows if self.device.type == "cpu" else {name: tensor.pin_memory() for name, tensor in rows.items()}

    def loss(self, inputs: dict[str, Tensor]) -> Tensor:
        """Return the model's own loss."""
        moved = {name: tensor.to(self.device, non_blocking=True) for name, tensor in inputs.items()}
        return self.model(**moved).loss

    def clip(self) -> None:
        """Clip as transformers' Trainer does."""
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), MAX_NORM)


def pair_target(objective: Objective) -> str | None:
    """Return the name of the pair labels for which transformers' BERT needs its head of two classes; None for none.

    BertForPreTraining learns the order of sentences (sop) as it learns the next sentence: only the labels differ.

    Raises:
        ValueError: if transformers has no BERT for the objective.
    """
    if objective.name not in PAIR_TARGETS:
        raise ValueError(
            f"objective={objective.name} is none of those that transformers has a BERT for, {', '.join(PAIR_TARGETS)}; "
            "take baseline=none"
        )
    return PAIR_TARGETS[objective.name]


def huggingface(setting: Setting, state: dict[str, Tensor], is_compiled: bool, is_full_row: bool) -> HuggingFace:
    """Build transformers' model for the same objective, with the weights of ours."""
    BERT.check(setting.config)
    target = pair_target(setting.shapes_only())
    kind = BertForMaskedLM if target is None else BertForPreTraining
    model = kind(BertConfig(**setting.config.as_dict(), attn_implementation="sdpa"))
    as_nsp = {name.replace(f"{target}_head.", "nsp_head."): tensor for name, tensor in state.items()}
    model.load_state_dict(to_huggingface(as_nsp, setting.config), strict=False)
    model.to(setting.device).train()
    if is_compiled:
        model.compile(backend=setting.compilation.backend)
    names = ["transformers", "compiled" if is_compiled else "eager"] + ["full rows"] * is_full_row
    return HuggingFace(
        name=", ".join(names),
        model=model,
        row_length=setting.seq_len if is_full_row else None,
        pair_target=target,
        make_optimizer=setting.make_optimizer,
        is_half_precision=setting.dtype == torch.bfloat16,
    )
