"""One step of a model, and how its compilation is traced on a CPU."""

import torch
from torch import Tensor

from bert_lightning.objectives.mlm_nsp import MaskedLMWithNSP
from data_pipeline.streams.packed_batch import PackedBatch
from tests.support.parity import gradients, losses

TRACED = {"on_cpu": True, "backend": "aot_eager"}


def train(model: MaskedLMWithNSP, batch: PackedBatch, seed: int = 0) -> tuple[Tensor, dict[str, Tensor]]:
    torch.manual_seed(seed)
    loss = sum(losses(model, batch).values())
    assert isinstance(loss, Tensor)
    loss.backward()
    return loss.detach(), gradients(model)
