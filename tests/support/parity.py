"""A tiny transformers BERT and ours with the same weights, on the same ragged examples: padded there, packed here."""

import itertools
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from transformers import BertConfig, BertForPreTraining

from bert_lightning.checkpoints.huggingface import from_huggingface
from bert_lightning.models.encoder_config import EncoderConfig
from bert_lightning.objectives.mlm_nsp import MaskedLMWithNSP
from bert_lightning.objectives.objective import Objective
from data_pipeline import rng
from data_pipeline.masking.masking import TokenMasking, Vocabulary
from data_pipeline.pairs.chunks import Spans
from data_pipeline.records import NO_LABEL
from data_pipeline.streams.collate import pack
from data_pipeline.streams.loaded_window import LoadedWindow
from data_pipeline.streams.packed_batch import PackedBatch, PackedTokens, Targets, unpack_buffers
from data_pipeline.streams.packed_shape import PackedShape
from data_pipeline.streams.samples import Examples
from tests.support.models import tiny_encoder

CONFIG = tiny_encoder(101, num_hidden_layers=3, num_attention_heads=4, max_position_embeddings=40)
SEGMENTS = [(9, 12), (1, 1), (20, 15), (3, 30), (17, 2), (6, 6)]
TARGETS = ("mlm", "nsp")
VOCABULARY = Vocabulary(size=101, mask=4, cls=2, sep=3, pad=0, is_continuation=np.zeros(101, dtype=bool))


@dataclass
class Padded:
    """The same examples as transformers takes them, (batch, seq)."""

    input_ids: Tensor
    token_type_ids: Tensor
    attention_mask: Tensor
    labels: Tensor
    next_sentence_label: Tensor


def packed_examples(seed: int = 0, room: int = 8) -> PackedBatch:
    """Ragged masked pairs in one packed batch, with room for more, so that there is filler at its end."""
    numbers = np.random.default_rng(seed)
    start = numbers.integers(0, 400, size=(len(SEGMENTS), 2))
    spans = Spans.of_pairs(start, start + np.array(SEGMENTS), numbers.integers(0, 2, size=len(SEGMENTS)) == 1)
    tokens = numbers.integers(5, 101, size=500).astype(np.uint16)
    samples = np.arange(len(SEGMENTS))
    window = LoadedWindow(tokens, None, None, None, None)  # type: ignore[arg-type]
    examples = Examples(samples, rng.fold(seed, samples), spans, np.zeros_like(samples), [window])
    buffer = pack(examples, [samples], PackedShape(room, 40), TokenMasking(), VOCABULARY, 0, TARGETS)
    return unpack_buffers(buffer, TARGETS)[0]


def padded(batch: PackedBatch) -> Padded:
    """Unpack into padded rows."""
    ends = batch.tokens.cu_seqlens.tolist()[: batch.num_examples + 1]
    longest = max(b - a for a, b in itertools.pairwise(ends))
    ids = torch.zeros(batch.num_examples, longest, dtype=torch.long)
    types, mask, labels = torch.zeros_like(ids), torch.zeros_like(ids), torch.full_like(ids, -100)
    flat = torch.full((len(batch.tokens.input_ids),), -100)
    mlm = batch.targets["mlm"]
    flat[mlm.positions[: mlm.count].long()] = mlm.labels[: mlm.count].long()
    for row in range(batch.num_examples):
        begin, end = ends[row : row + 2]
        ids[row, : end - begin] = batch.tokens.input_ids[begin:end]
        types[row, : end - begin] = batch.tokens.token_type_ids[begin:end]
        mask[row, : end - begin] = 1
        labels[row, : end - begin] = flat[begin:end]
    return Padded(ids, types, mask, labels, batch.targets["nsp"].labels[: batch.num_examples].long())


def one_by_one(batch: PackedBatch) -> list[PackedBatch]:
    """Return every example of a packed batch as a batch of its own, without filler."""
    tokens, mlm, nsp = batch.tokens, batch.targets["mlm"], batch.targets["nsp"]
    ends = tokens.cu_seqlens.tolist()
    singles = []
    for row in range(batch.num_examples):
        begin, end = ends[row : row + 2]
        own = (mlm.positions >= begin) & (mlm.positions < end) & (mlm.labels != NO_LABEL)
        alone = PackedTokens(
            input_ids=tokens.input_ids[begin:end],
            position_ids=tokens.position_ids[begin:end],
            token_type_ids=tokens.token_type_ids[begin:end],
            cu_seqlens=torch.tensor([0, end - begin], dtype=torch.int32),
            max_seqlen=tokens.max_seqlen,
        )
        targets = {
            "mlm": Targets(mlm.positions[own] - begin, mlm.labels[own], int(own.sum())),
            "nsp": Targets(torch.zeros(1, dtype=torch.int32), nsp.labels[row : row + 1], 1),
        }
        singles.append(PackedBatch(alone, targets, batch.sample_ids[row : row + 1], end - begin, 1))
    return singles


def losses(model: Objective, batch: PackedBatch) -> dict[str, Tensor]:
    """Return the summed losses of a batch, without the metrics."""
    sums = model(batch)
    return {name: sums[name] for name, quantity in model.quantities.items() if quantity.loss_weight}


def gradients(model: nn.Module) -> dict[str, Tensor]:
    """Return a copy of every gradient and forget them; a parameter without one is missing."""
    found = {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
    model.zero_grad()
    return found


def bf16_errors(model: nn.Module, run: Callable[[], tuple[Tensor, Tensor]]) -> tuple[float, float]:
    """Return the errors of hidden states and of all gradients in bf16, as shares of their norms in fp32.

    Args:
        model: The model.
        run: Returns its hidden states and its loss.
    """
    found = []
    for is_bf16 in (False, True):
        model.zero_grad()
        with torch.autocast("cpu", torch.bfloat16, enabled=is_bf16):
            hidden, loss = run()
        loss.backward()
        found.append((hidden.detach().float(), torch.cat([grad.flatten() for grad in gradients(model).values()])))
    exact, rounded = found
    hidden_error, gradient_error = (
        float((other - one).norm() / one.norm()) for one, other in zip(exact, rounded, strict=True)
    )
    return hidden_error, gradient_error


def assert_rounds_as_well(found: tuple[float, float], reference: tuple[float, float]) -> None:
    """Errors in bf16 are there, and at most 3 times those of the reference."""
    for error, other in zip(found, reference, strict=True):
        assert 0 < error <= 3 * other


def random_weights(model: nn.Module) -> nn.Module:
    """Give a model weights, biases and LayerNorms that are not trivial."""
    torch.manual_seed(0)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            is_norm = parameter.ndim == 1 and name.endswith("weight")
            parameter.uniform_(0.5, 1.5) if is_norm else parameter.normal_(std=0.15)
    return model.eval()


def reference_model(config: EncoderConfig = CONFIG) -> BertForPreTraining:
    """A transformers model with random weights, biases and LayerNorms that are not trivial."""
    torch.manual_seed(0)
    model = BertForPreTraining(BertConfig(**config.as_dict(), attn_implementation="sdpa"))
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith("LayerNorm.weight"):
                parameter.uniform_(0.5, 1.5)
            elif name.endswith("bias"):
                parameter.normal_(std=0.2)
            else:
                parameter.normal_(std=0.15)
    return model


def our_model(reference: BertForPreTraining, config: EncoderConfig = CONFIG) -> MaskedLMWithNSP:
    """Ours with the weights of a transformers model, loaded strictly."""
    model = MaskedLMWithNSP(config)
    model.load_state_dict(from_huggingface(reference.state_dict(), config), strict=True)
    return model
