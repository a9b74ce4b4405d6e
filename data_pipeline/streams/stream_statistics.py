"""Statistics of a stream of batches: shares of masks, pair labels and lengths."""

from collections.abc import Collection, Iterable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from data_pipeline.masking.masking import Vocabulary
from data_pipeline.prepared.manifest import ShardEntry
from data_pipeline.prepared.prepared_folder import PreparedFolder, open_folder
from data_pipeline.streams.packed_batch import MLM, PackedBatch


class StreamStatistics:
    """Counts over packed batches; `add` them, then read `table`.

    Args:
        vocabulary: Facts about token ids.
        label_names: What labels 0 and 1 of a pair mean; empty if the format has no pair label.
    """

    def __init__(self, vocabulary: Vocabulary, label_names: Sequence[str] = ()) -> None:
        self._vocabulary = vocabulary
        self._label_names = label_names
        self._totals = dict.fromkeys(
            ("examples", "tokens", "computed", "predictions", "masked", "kept", "labeled", "changed", "full"), 0
        )
        self._lengths: list[np.ndarray] = []

    def add(self, batches: Iterable[PackedBatch]) -> None:
        """Count the micro-batches of one step, on the host."""
        for batch in batches:
            tokens, mlm = batch.tokens, batch.targets[MLM]
            lengths = np.diff(tokens.cu_seqlens.numpy())[: batch.num_examples]
            positions, labels = mlm.positions[: mlm.count].long(), mlm.labels[: mlm.count]
            seen = tokens.input_ids[positions]
            pairs = [] if batch.pair_target is None else [batch.pair_target]
            counts = {
                "examples": batch.num_examples,
                "tokens": batch.num_tokens,
                "computed": len(tokens.input_ids),
                "predictions": mlm.count,
                "masked": int((seen == self._vocabulary.mask).sum()),
                "kept": int((seen == labels).sum()),
                "labeled": sum(target.count for target in pairs),
                "changed": sum(int((target.labels == 1).sum()) for target in pairs),
                "full": int((lengths == tokens.max_seqlen).sum()),
            }
            for name, value in counts.items():
                self._totals[name] += value
            self._lengths.append(lengths)

    def table(self) -> dict[str, float]:
        """Return the statistics by name; shares are fractions of 1, lengths are tokens with special tokens."""
        totals, lengths = self._totals, np.concatenate(self._lengths)
        predictions = max(totals["predictions"], 1)
        masked, kept = totals["masked"] / predictions, totals["kept"] / predictions
        return {
            "examples": totals["examples"],
            "tokens": totals["tokens"],
            "predicted_share": totals["predictions"] / totals["tokens"],
            "replaced_by_mask_share": masked,
            "replaced_by_random_share": 1 - masked - kept,
            "unchanged_share": kept,
            **{f"{name}_share": totals["changed"] / max(totals["labeled"], 1) for name in self._label_names[1:]},
            "length_mean": float(lengths.mean()),
            "length_median": float(np.median(lengths)),
            "length_shortest": int(lengths.min()),
            "length_longest": int(lengths.max()),
            "full_length_share": totals["full"] / totals["examples"],
            "packing_efficiency": totals["tokens"] / totals["computed"],
        }


def token_counts(
    folder: PreparedFolder | str | Path,
    split: str,
    exclude_shards: Collection[str] = (),
    max_tokens: int | None = None,
) -> NDArray[np.int64]:
    """Return how often each token of the vocabulary stands in a split, (vocabulary,).

    Args:
        folder: The prepared folder.
        split: The split.
        exclude_shards: Shards to leave out.
        max_tokens: Most tokens to count, in shards from all over the split; None counts all.
    """
    source = open_folder(folder)
    manifest = source.manifest.without(exclude_shards)
    counts = np.zeros(manifest.vocab_size, dtype=np.int64)
    for entry in _spread(manifest.splits[split], max_tokens):
        counts += np.bincount(source.read([entry])[0].tokens, minlength=manifest.vocab_size)
    return counts


def _spread(entries: Sequence[ShardEntry], max_tokens: int | None) -> Sequence[ShardEntry]:
    """Return all shards if they have at most so many tokens, else as many as have, at even distances."""
    if max_tokens is None or sum(entry.tokens for entry in entries) <= max_tokens:
        return entries
    largest = max(entry.tokens for entry in entries)
    number = min(len(entries), max_tokens // max(largest, 1))
    return [entries[row * len(entries) // number] for row in range(number)]


def unigram_entropy(folder: PreparedFolder | str | Path, split: str, exclude_shards: Collection[str] = ()) -> float:
    """Return the entropy of the token frequencies of a split, in nats: the MLM loss of guessing by frequency alone."""
    return entropy(token_counts(folder, split, exclude_shards))


def entropy(counts: NDArray[np.int64]) -> float:
    """Return the entropy of frequencies, in nats."""
    shares = counts[counts > 0] / counts.sum()
    return float(-(shares * np.log(shares)).sum())
