"""objective=late_masks: the first layers run on the other tokens alone, against the same sequence by sequence."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from bert_lightning.models.encoder import Encoder
from bert_lightning.models.encoder_config import EncoderConfig
from bert_lightning.objectives.late_masks import LateMaskedLM
from bert_lightning.objectives.mlm import MaskedLM
from data_pipeline.records import NO_LABEL
from data_pipeline.streams.packed_batch import MLM, PackedBatch, PackedTokens
from tests.support.parity import CONFIG, packed_examples, random_weights

MODERN: dict[str, Any] = {
    "positions": "rotary",
    "norm": "pre",
    "feed_forward": "gated",
    "use_bias": False,
    "local_attention": 6,
    "global_attn_every_n_layers": 2,
    "type_vocab_size": 0,
}
CONFIGS = {
    "bert": replace(CONFIG, num_hidden_layers=4),
    "modern": replace(CONFIG, num_hidden_layers=4, **MODERN),
    "albert": replace(CONFIG, num_hidden_layers=4, shared_parameters="all", num_hidden_groups=2),
}
each_config = pytest.mark.parametrize("name", CONFIGS)


def objective(config: EncoderConfig, mask_layer: int | None) -> LateMaskedLM:
    made = LateMaskedLM(config, mask_layer=mask_layer)
    random_weights(made)
    return made


def one_sequence(ids: Tensor, positions: Tensor, segments: Tensor) -> PackedTokens:
    return PackedTokens(ids, positions, segments, torch.tensor([0, len(ids)], dtype=torch.int32), len(ids))


def by_hand(encoder: Encoder, batch: PackedBatch, layer: int) -> Tensor:
    """The hidden states of all real tokens, each sequence by itself, (tokens, hidden)."""
    tokens, target, found = batch.tokens, batch.targets[MLM], []
    chosen = set(target.positions[target.labels != NO_LABEL].tolist())
    for begin, end in zip(tokens.cu_seqlens[:-1].tolist(), tokens.cu_seqlens[1:].tolist(), strict=True):
        columns = (tokens.input_ids[begin:end], tokens.position_ids[begin:end], tokens.token_type_ids[begin:end])
        early = torch.tensor([index for index in range(end - begin) if index + begin not in chosen], dtype=torch.long)
        hidden = encoder.embeddings(one_sequence(*columns))
        part = encoder.embeddings(one_sequence(*(column[early] for column in columns)))
        for block in encoder.layers_in_order()[:layer]:
            part = block(part, one_sequence(*(column[early] for column in columns)))
        hidden = hidden.index_copy(0, early, part)
        for block in encoder.layers_in_order()[layer:]:
            hidden = block(hidden, one_sequence(*columns))
        found.append(encoder.finish(hidden))
    return torch.cat(found)


@each_config
@pytest.mark.parametrize("mask_layer", [1, 2, 3])
def test_losses_and_gradients_are_those_of_one_sequence_at_a_time(name: str, mask_layer: int) -> None:
    batch, packed, alone = packed_examples(), *(objective(CONFIGS[name], mask_layer) for _ in range(2))
    target = batch.targets[MLM]
    sums = packed(batch)
    expected = alone.mlm_sums(by_hand(alone.encoder, batch, mask_layer)[target.positions.long()], target)
    torch.testing.assert_close(sums["mlm_loss"], expected["mlm_loss"], atol=1e-4, rtol=1e-5)
    for one in (sums, expected):
        one["mlm_loss"].backward()
    for (label, one), other in zip(packed.named_parameters(), alone.parameters(), strict=True):
        torch.testing.assert_close(
            one.grad, other.grad, atol=1e-4, rtol=1e-4, msg=lambda said, at=label: f"{at}: {said}"
        )


@each_config
def test_layer_0_is_the_ordinary_objective(name: str) -> None:
    late, batch = objective(CONFIGS[name], 0), packed_examples()
    ordinary = MaskedLM(CONFIGS[name])
    ordinary.load_state_dict(late.state_dict())
    for quantity, value in ordinary(batch).items():
        torch.testing.assert_close(late(batch)[quantity], value)


def test_the_first_layers_do_not_see_what_enters_late(monkeypatch: pytest.MonkeyPatch) -> None:
    config = CONFIGS["bert"]
    late, batch = objective(config, None), packed_examples()
    seen: list[int] = []
    for block in late.encoder.layers:
        block.register_forward_pre_hook(lambda _, args: seen.append(len(args[0])))
    late(batch)
    whole = len(batch.tokens.input_ids)
    assert seen == [whole - batch.targets[MLM].count] * 2 + [whole] * 2


@each_config
def test_operations_are_saved_in_proportion_to_what_is_masked(name: str) -> None:
    counts, sizes = {MLM: 500.0}, (1000.0, 100_000.0)
    ordinary, *late = [objective(CONFIGS[name], layer).useful_flops(*sizes, counts) for layer in range(4)]
    assert ordinary == MaskedLM(CONFIGS[name]).useful_flops(*sizes, counts)
    saved = [ordinary - each for each in late]
    assert saved == sorted(saved)
    head = 6 * 500 * (CONFIGS[name].hidden_size ** 2 + CONFIGS[name].hidden_size * CONFIGS[name].vocab_size)
    assert 0.3 * (ordinary - head) < saved[-1] < 0.75 * 0.75 * (ordinary - head)


def test_all_tokens_are_embedded() -> None:
    """With small embeddings the projection is work for late tokens too."""
    counts, sizes = {MLM: 500.0}, (1000.0, 100_000.0)
    saved = []
    for config in (CONFIGS["bert"], replace(CONFIGS["bert"], embedding_size=16)):
        ordinary, late = (objective(config, layer).useful_flops(*sizes, counts) for layer in (0, 2))
        saved.append(ordinary - late)
    assert saved[0] == saved[1]


def test_a_layer_that_there_is_not_is_refused() -> None:
    with pytest.raises(ValueError, match=r"objective\.mask_layer=4 is not below model\.num_hidden_layers=4"):
        objective(CONFIGS["bert"], 4)
    with pytest.raises(ValueError, match=r"objective\.mask_layer must be a whole number, at least 0"):
        objective(CONFIGS["bert"], -1)
