"""Heads: what they score, what they never score, and what learns through them."""

from dataclasses import replace

import pytest
import torch
from torch.nn import functional as F

from bert_lightning.models.encoder import Encoder
from bert_lightning.models.heads import MaskedLMHead, Pooler, SentencePairHead
from tests.support.parity import CONFIG


@pytest.mark.parametrize("vocab_size", [64, 65, 101, 128])
def test_the_padding_of_the_vocabulary_is_never_scored(vocab_size: int) -> None:
    config = replace(CONFIG, vocab_size=vocab_size)
    head, table = MaskedLMHead(config), Encoder(config).embeddings.token.weight
    scores = head.scores(torch.randn(7, 32), table)
    assert scores.shape == (7, config.padded_vocab_size)
    assert config.padded_vocab_size % 64 == 0
    assert scores[:, :vocab_size].isfinite().all()
    assert (scores[:, vocab_size:] == -torch.inf).all()
    probabilities = scores.softmax(-1)
    assert (probabilities[:, vocab_size:] == 0).all()
    torch.testing.assert_close(probabilities.sum(-1), torch.ones(7))


def test_the_decoder_is_the_token_table() -> None:
    """The head owns no table: it follows a change of the embeddings, and they learn from its loss."""
    torch.manual_seed(0)
    head, table = MaskedLMHead(CONFIG), Encoder(CONFIG).embeddings.token.weight
    assert all(parameter.shape != table.shape for parameter in head.parameters())
    hidden = torch.randn(5, 32)
    before = head.scores(hidden, table)
    F.cross_entropy(before, torch.tensor([1, 2, 3, 100, 5])).backward()
    assert table.grad is not None
    assert (table.grad[:101] != 0).any(dim=1).all()
    assert (table.grad[101:] == 0).all()
    with torch.no_grad():
        table[17] += 1
    changed = (head.scores(hidden, table) != before).any(dim=0)
    assert changed.nonzero().tolist() == [[17]]


def test_the_pooler_is_a_tanh_layer_and_the_pair_head_scores_what_it_gives() -> None:
    torch.manual_seed(0)
    head, hidden = SentencePairHead(CONFIG), torch.randn(4, 32)
    assert isinstance(head.pooler, Pooler)
    pooled = torch.tanh(hidden @ head.pooler.dense.weight.T + head.pooler.dense.bias)
    torch.testing.assert_close(head.pooler(hidden), pooled)
    torch.testing.assert_close(head.scores(hidden), pooled @ head.classifier.weight.T + head.classifier.bias)
    assert head.scores(hidden).shape == (4, 2)
