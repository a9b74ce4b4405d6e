"""What the model part of bert-benchmark measures, in tiny."""

from functools import partial

import torch

from bert_lightning.benchmarks.contestants import Setting
from bert_lightning.benchmarks.model_batches import LengthMixture, synthetic_batches
from bert_lightning.objectives.mlm_nsp import MaskedLMWithNSP
from data_pipeline.masking.masking import TokenMasking
from data_pipeline.streams.packed_batch import PackedBatch
from data_pipeline.streams.packed_shape import PackedShape
from tests.support.parity import CONFIG

SHAPE = PackedShape(8, 40)
HALF = LengthMixture(0.4965, 0.1)
SETTING = Setting(
    "tiny", CONFIG, MaskedLMWithNSP, partial(torch.optim.AdamW, lr=1e-3, fused=True), "cpu", "32-true", 40, 0
)


def made_up(count: int = 3, mixture: LengthMixture = HALF) -> list[PackedBatch]:
    return synthetic_batches(mixture, count, SHAPE, CONFIG.vocab_size, TokenMasking(), 0)
