"""Reading of several layers against transformers' hidden states, and wrong layers."""

from typing import Any

import pytest
import torch

from bert_lightning.checkpoints.huggingface import from_huggingface
from bert_lightning.models.encoder import Encoder
from bert_lightning.models.layer_reading import LayerReading, layer_reading
from data_pipeline.streams.packed_texts import pack_sequences
from tests.support.models import tiny_encoder
from tests.support.parity import reference_model

CONFIG = tiny_encoder(50)
TOKENS = [[2, 7, 8, 9, 3], [2, 10, 3]]
LAST = CONFIG.num_hidden_layers


def states() -> tuple[Encoder, list[torch.Tensor]]:
    """An encoder and the hidden states that transformers computes of both sequences, one after another."""
    model = reference_model(CONFIG)
    encoder = Encoder(CONFIG).eval()
    ours = from_huggingface(model.state_dict(), CONFIG)
    encoder.load_state_dict({k.removeprefix("encoder."): v for k, v in ours.items() if k.startswith("encoder.")})
    with torch.no_grad():
        found = [model.bert(torch.tensor([ids]), output_hidden_states=True).hidden_states for ids in TOKENS]
    return encoder, [torch.cat([one[0], other[0]]) for one, other in zip(*found, strict=True)]


@pytest.mark.parametrize("rows", [None, [0, 5, 6]])
def test_layers_are_those_of_transformers(rows: list[int] | None) -> None:
    encoder, hidden = states()
    tokens = pack_sequences(TOKENS, [[0] * len(ids) for ids in TOKENS])
    chosen = slice(None) if rows is None else rows
    expected = {
        ((-1,), "concat"): hidden[-1],
        ((0,), "sum"): hidden[0],
        ((-2, -1), "concat"): torch.cat([hidden[-2], hidden[-1]], dim=-1),
        ((-1, 0), "concat"): torch.cat([hidden[-1], hidden[0]], dim=-1),
        ((1, LAST), "sum"): hidden[1] + hidden[-1],
        ((0, 1), "mean"): (hidden[0] + hidden[1]) / 2,
    }
    for (layers, combine), values in expected.items():
        reading = layer_reading(layers, combine, CONFIG)
        with torch.no_grad():
            found = reading(encoder, tokens, None if rows is None else torch.tensor(rows))
        assert found.shape[1] == reading.width(CONFIG.hidden_size)
        torch.testing.assert_close(found, values[chosen], atol=1e-5, rtol=1e-5)


def test_layers_above_are_not_run() -> None:
    encoder, _ = states()
    encoder.layers[-1].forward = None  # type: ignore[method-assign, assignment]
    tokens = pack_sequences(TOKENS, [[0] * len(ids) for ids in TOKENS])
    assert layer_reading([0, -2], "sum", CONFIG)(encoder, tokens).shape == (8, CONFIG.hidden_size)


def test_only_the_last_layer_alone_is_the_last() -> None:
    assert layer_reading([-1], "sum", CONFIG).is_last
    assert layer_reading([LAST], "concat", CONFIG).is_last
    assert not layer_reading([-1, -1], "sum", CONFIG).is_last


@pytest.mark.parametrize("layers", [[], [LAST + 1], [-LAST - 2], [True], ["1"], [0.5]])
def test_other_layers_are_an_error(layers: list[Any]) -> None:
    with pytest.raises(ValueError, match=f"layers must be numbers from {-LAST - 1} to {LAST}; got"):
        layer_reading(layers, "concat", CONFIG)


def test_what_a_checkpoint_says_is_checked() -> None:
    with pytest.raises(ValueError, match="combine must be one of concat, sum, mean; got max"):
        LayerReading([0], "max")
    with pytest.raises(ValueError, match=rf"layers \[9\] are read, but the encoder has {LAST}"):
        LayerReading([9]).check(CONFIG)
