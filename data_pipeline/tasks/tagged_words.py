"""Sentences with tags -> token ids, with a label at the first piece of each word and at no other piece."""

from collections.abc import Iterable, Iterator, Sequence
from itertools import chain

import numpy as np
from tokenizers import Tokenizer

from data_pipeline.records import NO_LABEL
from data_pipeline.tasks.encoded import LABELS, EncodedExamples, EncodedTargets
from data_pipeline.tasks.task_records import TaggedSentence
from data_pipeline.tokenizers.special_tokens import plain_text_tokenizer, special_tokens
from data_pipeline.untrusted.typed_fields import listed, shown

WORDS_AT_A_TIME = 4096
"""Words that are given to the tokenizer at a time."""
Pieces = Sequence[int]


def encode_tagged(
    tokenizer: Tokenizer, sentences: Sequence[TaggedSentence], tags: Sequence[str], seq_len: int
) -> EncodedExamples:
    """Return [CLS] words [SEP] for every sentence; the rows of the targets are the words of all sentences in order.

    A sentence that is too long becomes several sequences, cut between words. A word that alone is too long loses its
    last pieces. A word that the tokenizer makes nothing of becomes [UNK], so that every word is predicted.

    Args:
        tokenizer: Tokenizer of the encoder.
        sentences: The sentences.
        tags: Names of the tags, in the order of the labels.
        seq_len: Most tokens of a sequence.

    Raises:
        ValueError: naming the line of a sentence with a tag that is none of the names.
    """
    special, room = special_tokens(tokenizer), seq_len - 2
    if room < 1:
        raise ValueError(f"data.seq_len={seq_len} leaves no room for a word beside [CLS] and [SEP]")
    pieces = _pieces_of_words(plain_text_tokenizer(tokenizer), sentences, special.unk)
    input_ids, positions, lengths, num_rows = [], [], [], []
    for sentence in sentences:
        for words in _windows([pieces[word][:room] for word in sentence.words], room):
            sizes = [len(word) for word in words]
            input_ids += [special.cls, *chain.from_iterable(words), special.sep]
            positions.append(1 + np.cumsum([0, *sizes[:-1]], dtype=np.int32))
            lengths.append(sum(sizes) + 2)
            num_rows.append(len(words))
    targets = EncodedTargets(np.concatenate(positions), tag_labels(sentences, tags), _offsets(num_rows))
    token_types = np.zeros(len(input_ids), dtype=np.int8)
    return EncodedExamples(np.array(input_ids, dtype=np.int32), token_types, _offsets(lengths), {LABELS: targets})


def tag_names(sentences: Iterable[TaggedSentence]) -> list[str]:
    """Return the names of all tags, O first, then by the alphabet; ValueError with the line of an untagged sentence."""
    names: set[str] = set()
    for sentence in sentences:
        if sentence.tags is None:
            raise ValueError(f"{sentence.where} has no tags")
        names.update(sentence.tags)
    return sorted(names, key=lambda name: (name != "O", name))


def tag_labels(sentences: Sequence[TaggedSentence], tags: Sequence[str]) -> np.ndarray:
    """Return the label of every word, `NO_LABEL` in sentences without tags, int32, (words,).

    Args:
        sentences: The sentences.
        tags: Names of the tags, in the order of the labels.

    Raises:
        ValueError: naming the line of a sentence with a tag that is none of the names.
    """
    numbers = {name: number for number, name in enumerate(tags)}
    labels: list[int] = []
    for sentence in sentences:
        if sentence.tags is None:
            labels += [NO_LABEL] * len(sentence.words)
        elif unknown := [tag for tag in sentence.tags if tag not in numbers]:
            raise ValueError(f"{sentence.where} has the tag {shown(unknown[0])}, which is none of {listed(tags)}")
        else:
            labels += [numbers[tag] for tag in sentence.tags]
    return np.array(labels, dtype=np.int32)


def _pieces_of_words(tokenizer: Tokenizer, sentences: Iterable[TaggedSentence], unknown: int) -> dict[str, Pieces]:
    """Return the pieces of each different word, as it is split behind a space."""
    words = list(dict.fromkeys(word for sentence in sentences for word in sentence.words))
    pieces: dict[str, Pieces] = {}
    for begin in range(0, len(words), WORDS_AT_A_TIME):
        some = words[begin : begin + WORDS_AT_A_TIME]
        encodings = tokenizer.encode_batch_fast([f" {word}" for word in some], add_special_tokens=False)
        for word, encoding in zip(some, encodings, strict=True):
            pieces[word] = encoding.ids or [unknown]
    return pieces


def _windows(words: Sequence[Pieces], room: int) -> Iterator[Sequence[Pieces]]:
    """Yield runs of words whose pieces fit into the room.

    >>> list(_windows([[1], [2, 3], [4], [5, 6, 7]], 3))
    [[[1], [2, 3]], [[4]], [[5, 6, 7]]]
    """
    begin, size = 0, 0
    for number, word in enumerate(words):
        if size + len(word) > room:
            yield words[begin:number]
            begin, size = number, 0
        size += len(word)
    yield words[begin:]


def _offsets(sizes: Sequence[int]) -> np.ndarray:
    return np.concatenate([[0], np.cumsum(sizes, dtype=np.int64)])
