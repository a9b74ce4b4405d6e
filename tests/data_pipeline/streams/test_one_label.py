"""Pairs of documents of one shape have both labels, and a corpus of one label is named."""

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from tokenizers import Tokenizer

from data_pipeline.pairs.chunks import PairFormat
from data_pipeline.pairs.segment_pair import SegmentPairs
from data_pipeline.pairs.sentence_order import SentenceOrder
from data_pipeline.pairs.sentence_pair import SentencePairs
from data_pipeline.pairs.sentence_runs import FullSentences
from data_pipeline.streams.one_label import one_label
from data_pipeline.streams.samples import PretrainingSamples
from tests.support.streams import make_samples
from tests.support.texts import WORDS, write_prepared
from tests.support.version_two import write_version_two

Texts = list[list[str]]
LETTERS = sorted(set("".join(WORDS)))


def poems(number: int, line_lengths: tuple[int, ...] = (5,)) -> Texts:
    """Return poems of four lines of letters; all lines of a poem have one of the lengths, and a letter is a token."""
    numbers = np.random.default_rng(0)
    sizes = numbers.choice(line_lengths, number)
    return [[" ".join(numbers.choice(LETTERS, size)) for _ in range(4)] for size in sizes]


def notes(number: int) -> Texts:
    """Return notes from one template, in which only letters differ."""
    drawn = np.random.default_rng(1).choice(LETTERS, (number, 3))
    return [[f"the {a} runs from the city", f"a {b} sees the {c}", f"the {b} leaves"] for a, b, c in drawn]


def write(folder: Path, tokenizer: Tokenizer, documents: Texts) -> Path:
    shards = [documents[i::3] for i in range(3)]
    return write_prepared(folder, tokenizer, shards, documents[:4])


def pairs_of(samples: PretrainingSamples) -> tuple[np.ndarray, np.ndarray]:
    """Return the sizes of both segments of every pair of an epoch, (pairs, 2), and the labels."""
    numbers = np.arange(samples.epoch_plan(0).size)
    spans = samples.find(numbers, samples.locate(numbers)).spans
    return spans.stop - spans.start, spans.labels


def accuracy_from_lengths(sizes: np.ndarray, labels: np.ndarray) -> float:
    """Return how often the best guess from the two sizes is right."""
    seen = Counter(zip(map(tuple, sizes.tolist()), labels.tolist(), strict=True))
    return sum(max(seen[size, 0], seen[size, 1]) for size in {size for size, _ in seen}) / len(labels)


@pytest.mark.parametrize("format_version", [2, 3])
@pytest.mark.parametrize("pairs", [SegmentPairs(), SentencePairs()], ids=lambda pairs: type(pairs).__name__)
@pytest.mark.parametrize("documents", [poems(600), notes(300), poems(600, (5, 8))], ids=["poems", "notes", "two"])
def test_documents_of_one_shape_are_partners(
    tokenizer: Tokenizer, tmp_path: Path, documents: Texts, pairs: PairFormat, format_version: int
) -> None:
    folder = write(tmp_path / "three", tokenizer, documents)
    if format_version == 2:
        folder = write_version_two(folder, tmp_path / "two")
    samples = make_samples(folder, pairs=pairs)
    _, labels = pairs_of(samples)
    assert 0.4 < labels.mean() < 0.75
    assert one_label(samples) is None


def test_the_length_of_the_partner_does_not_give_the_label_away(tokenizer: Tokenizer, tmp_path: Path) -> None:
    """Of two lengths, a random partner has its own or the other: half of the random pairs look like the others."""
    sizes, labels = pairs_of(make_samples(write(tmp_path, tokenizer, poems(600, (5, 8))), pairs=SentencePairs()))
    assert accuracy_from_lengths(sizes, labels) < 0.8
    same = sizes[:, 0] == sizes[:, 1]
    assert 0.3 < labels[same].mean() < 0.6


@pytest.mark.parametrize(
    ("documents", "pairs", "label"),
    [
        (poems(1) * 30, SegmentPairs(), "is_next"),
        ([[line] for poem in poems(30) for line in poem], SegmentPairs(), "random_next"),
        ([[line] for poem in poems(30) for line in poem], SentencePairs(), "random_next"),
    ],
    ids=["copies", "one sentence", "one sentence in pairs"],
)
def test_a_corpus_of_one_label_is_named(
    tokenizer: Tokenizer, tmp_path: Path, documents: Texts, pairs: PairFormat, label: str
) -> None:
    said = one_label(make_samples(write(tmp_path, tokenizer, documents), pairs=pairs))
    assert said is not None
    assert said.startswith("100.0% of the pairs of the train split of")
    assert f"have the label {label}," in said
    assert "objective=mlm" in said


def test_formats_without_a_pair_and_common_corpora_are_not_warned_about(prepared: Path) -> None:
    for pairs in (SegmentPairs(), SentencePairs(), SentenceOrder(), FullSentences()):
        assert one_label(make_samples(prepared, pairs=pairs)) is None
