"""Relatives of BERT in transformers and ours with the same weights, on the same ragged examples."""

from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn

from bert_lightning.models.encoder import Encoder
from bert_lightning.models.encoder_config import EncoderConfig
from data_pipeline.streams.packed_batch import PackedBatch
from tests.support.parity import packed_examples, padded

Names = Mapping[str, tuple[str, ...]]
"""Modules of ours, each with those of transformers that it is made of, in order."""
Layer = Callable[[int], Names]


def carried_over(tensors: Mapping[str, Tensor], names: Names, config: EncoderConfig) -> dict[str, Tensor]:
    """Return tensors of ours for weights, or gradients, of a model of transformers; GPT-2's matrices are transposed."""
    state = {}
    for ours, parts in names.items():
        for kind in ("weight", "bias"):
            found = [tensors[f"{part}.{kind}"] for part in parts if f"{part}.{kind}" in tensors]
            if found:
                state[f"{ours}.{kind}"] = torch.cat(found)
    table = state["embeddings.token.weight"]
    padding = table.new_zeros(config.padded_vocab_size - config.vocab_size, table.shape[1])
    state["embeddings.token.weight"] = torch.cat([table, padding])
    return state


def assert_parity(theirs: nn.Module, config: EncoderConfig, carry: Callable[[Mapping[str, Tensor]], dict[str, Tensor]],
                  hidden_states: Callable[[PackedBatch], list[Tensor]]) -> None:  # fmt: skip
    """Compare hidden states of all layers and every gradient, within 1e-5 in fp32.

    Args:
        theirs: The model of transformers.
        config: The sizes of ours.
        carry: Makes tensors of ours of theirs.
        hidden_states: Runs theirs on padded rows; of embeddings and of every layer, (batch, seq, hidden).
    """
    batch = packed_examples()
    ours = Encoder(config).eval()
    ours.load_state_dict(carry(dict(theirs.named_parameters())), strict=True)
    real = padded(batch).attention_mask.bool()
    expected = [states[real] for states in hidden_states(batch)]
    found = [states[: batch.num_tokens] for states in ours.hidden_states(batch.tokens)]
    assert len(found) == len(expected) == config.num_hidden_layers + 1
    for own, other in zip(found, expected, strict=True):
        torch.testing.assert_close(own, other, atol=1e-5, rtol=0)
    factors = torch.linspace(-1, 1, expected[-1].numel()).view_as(expected[-1]) / len(expected[-1])
    (expected[-1] * factors).sum().backward()
    last = ours(batch.tokens, torch.arange(batch.num_tokens))
    (last * factors).sum().backward()
    gradients = carry({name: p.grad for name, p in theirs.named_parameters() if p.grad is not None})
    assert {name for name, _ in ours.named_parameters()} <= set(gradients)
    for name, parameter in ours.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().max() > 1e-4, name
        torch.testing.assert_close(
            parameter.grad, gradients[name], atol=1e-5, rtol=0, msg=lambda m, n=name: f"{n}: {m}"
        )
