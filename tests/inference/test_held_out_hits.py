"""Hits over held-out masks against a sort of every score, mask by mask, and against counts by hand."""

from collections import Counter
from pathlib import Path

import pytest
import torch
from tokenizers import Tokenizer

from bert_lightning.inference.held_out_hits import held_out_hits
from bert_lightning.inference.loading import load_model
from data_pipeline.streams.stream_statistics import token_counts
from data_pipeline.streams.validation_stream import ValidationStream
from tests.support.checkpoints import write_checkpoint
from tests.support.corpora import read_shard
from tests.support.streams import make_samples


def test_hits_are_those_of_sorted_scores_and_of_counted_tokens(
    prepared: Path, tokenizer: Tokenizer, tmp_path: Path
) -> None:
    write_checkpoint(tmp_path / "run" / "checkpoints" / "step-0000007.ckpt", tokenizer, tmp_path / "tokenizer")
    model = load_model(tmp_path / "run", "cpu")
    samples = make_samples(prepared, "validation", shuffle=False, seq_len=32)
    counts = token_counts(prepared, "train")
    hits = held_out_hits(model, samples, counts, (1, 5), micro_batch_size=4, max_samples=10)

    shards = [read_shard(prepared, entry) for entry in samples.folder.manifest.splits["train"]]
    tokens = Counter(token for shard in shards for token in shard.tokens.tolist())
    commonest = sorted(tokens, key=lambda token: (-tokens[token], token))[:5]
    labels, guesses = [], []
    for (batch,) in ValidationStream(samples, 10, max_samples=10):
        target = batch.targets["mlm"]
        with torch.no_grad():
            scores = model.mlm_head("").scores(
                model.encoder(batch.tokens, target.positions), model.encoder.embeddings.token.weight
            )
        labels += target.labels[: target.count].tolist()
        guesses += scores[: target.count].argsort(descending=True)[:, :5].tolist()
    assert hits.masks == len(labels) > 30
    for most in (1, 5):
        found = sum(label in best[:most] for label, best in zip(labels, guesses, strict=True))
        assert hits.model[most] == pytest.approx(found / len(labels))
        assert hits.commonest[most] == pytest.approx(sum(label in commonest[:most] for label in labels) / len(labels))
