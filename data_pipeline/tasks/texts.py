"""Texts and pairs of texts -> token ids as BERT reads them, and labels -> what an objective compares scores with."""

import logging
import math
from array import array
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

from data_pipeline.records import NO_LABEL
from data_pipeline.tasks.encoded import BOTH_ORDERS, FIRST, LABELS, LAST, EncodedExamples, EncodedTargets
from data_pipeline.tasks.task_records import LabeledText
from data_pipeline.tokenizers.special_tokens import plain_text_tokenizer, special_tokens
from data_pipeline.untrusted.typed_fields import listed, shown

log = logging.getLogger(__name__)
TEXTS_TOGETHER = 4096
"""Texts that are given to the tokenizer at a time."""


def encode_texts(
    tokenizer: Tokenizer,
    examples: Sequence[LabeledText],
    seq_len: int,
    labels: NDArray[np.int32],
    split: str,
    extract: str = FIRST,
) -> EncodedExamples:
    """Return [CLS] text [SEP], or [CLS] text [SEP] text_pair [SEP], of every example, with its label at one token.

    A causal model reads [CLS] as the start token of GPT, a [SEP] between two texts as its delimiter, and the last [SEP]
    as its extract token (Radford et al., 2018, section 3.3). In both orders a pair is two sequences, the first of which
    has the label.

    Args:
        tokenizer: Tokenizer of the encoder.
        examples: The texts.
        seq_len: Most tokens of an example; longer texts are cut, see `kept_lengths`.
        labels: Labels of each example, (examples,) or (examples, labels).
        split: Name of the split, for the log.
        extract: The token that has the label: `FIRST`, `LAST`, or `BOTH_ORDERS` for the last one in both orders.

    Raises:
        ValueError: if a single text is to be read in both orders.
    """
    if extract == BOTH_ORDERS:
        both = [each for example in examples for each in (example, _swapped(example))]
        unlabeled = np.full_like(labels, NO_LABEL)
        labels = np.stack([labels, unlabeled], axis=1).reshape(len(both), *labels.shape[1:])
        return replace(encode_texts(tokenizer, both, seq_len, labels, split, LAST), sequences_per_example=2)
    special = special_tokens(tokenizer)
    ids, types, ends = array("i"), array("b"), [0]
    num_cut = 0
    for first, second in _token_ids(plain_text_tokenizer(tokenizer), examples):
        keep_first, keep_second = kept_lengths(len(first), len(second or ()), seq_len - (2 if second is None else 3))
        num_cut += keep_first < len(first) or keep_second < len(second or ())
        ids.append(special.cls)
        ids.extend(first[:keep_first])
        ids.append(special.sep)
        types.extend([0] * (keep_first + 2))
        if second is not None:
            ids.extend(second[:keep_second])
            ids.append(special.sep)
            types.extend([1] * (keep_second + 1))
        ends.append(len(ids))
    if num_cut:
        log.info("%s: %d of %d texts are cut to data.seq_len=%d tokens", split, num_cut, len(examples), seq_len)
    positions = (np.zeros(len(examples)) if extract == FIRST else np.diff(ends) - 1).astype(np.int32)
    targets = EncodedTargets(positions, labels.astype(np.int32).ravel(), np.arange(len(examples) + 1))
    return EncodedExamples(
        np.array(ids, dtype=np.int32), np.array(types, dtype=np.int8), np.array(ends), {LABELS: targets}
    )


def _swapped(example: LabeledText) -> LabeledText:
    """Return a pair in the other order."""
    if example.text_pair is None:
        raise ValueError(f"{example.where} has one text; both orders need a pair")
    return replace(example, text=example.text_pair, text_pair=example.text)


def _token_ids(
    tokenizer: Tokenizer, examples: Sequence[LabeledText]
) -> Iterator[tuple[Sequence[int], Sequence[int] | None]]:
    """Yield the token ids of both texts of every example, without special tokens; None for an absent second one."""
    for begin in range(0, len(examples), TEXTS_TOGETHER):
        some = examples[begin : begin + TEXTS_TOGETHER]
        pairs = [example.text_pair for example in some if example.text_pair is not None]
        first = tokenizer.encode_batch_fast([example.text for example in some], add_special_tokens=False)
        second = iter(tokenizer.encode_batch_fast(pairs, add_special_tokens=False))
        for example, encoded in zip(some, first, strict=True):
            yield encoded.ids, None if example.text_pair is None else next(second).ids


def kept_lengths(first: int, second: int, most: int) -> tuple[int, int]:
    """Return how many tokens of two texts stay if tokens are taken off the longer one until both fit together.

    If both give way, the odd token goes to the longer text, to the second one if both are equally long. So cuts
    `longest_first` of tokenizers and transformers, which read the texts of a model that was exported; the original
    BERT (google-research/bert, `_truncate_seq_pair`) gives it to the first text.

    >>> kept_lengths(7, 2, 10), kept_lengths(9, 3, 10), kept_lengths(9, 8, 9), kept_lengths(8, 8, 9)
    ((7, 2), (7, 3), (5, 4), (4, 5))
    """
    if first > second:
        return kept_lengths(second, first, most)[::-1]
    if first + second <= most:
        return first, second
    keep_first = min(first, most // 2)
    return keep_first, most - keep_first


def class_names(examples: Sequence[LabeledText], least: int = 2) -> list[str]:
    """Return the names of all classes in the labels of examples: numbers by size, other names by the alphabet.

    Every process gets the same order: names of one number, such as 1 and 1.0, are in that of the alphabet.

    Args:
        examples: The examples.
        least: Fewest classes.

    Raises:
        ValueError: if an example has no label, or there are fewer classes.
    """
    names = {str(name) for example in examples for name in _names_of(example)}
    if len(names) < least:
        needed = "two names" if least == 2 else "a name"
        raise ValueError(
            f"{examples[0].where}: classes need at least {needed}, the labels have {listed(names) or 'none'}"
        )
    try:
        sizes = {name: float(name) for name in names}
    except ValueError:
        return sorted(names)
    are_ordered = not any(map(math.isnan, sizes.values()))
    return sorted(names, key=lambda name: (sizes[name], name)) if are_ordered else sorted(names)


def _names_of(example: LabeledText) -> Sequence[object]:
    if example.label is None:
        raise ValueError(f"{example.where} has no label")
    return example.label if isinstance(example.label, tuple) else (example.label,)


def class_labels(examples: Sequence[LabeledText], names: Sequence[str]) -> NDArray[np.int32]:
    """Return the number of the class of each example, `NO_LABEL` for examples without a label, (examples,).

    Raises:
        ValueError: naming the line of a label that is none of the names.
    """
    numbers = {name: number for number, name in enumerate(names)}
    return np.array([NO_LABEL if e.label is None else _number(e, e.label, numbers) for e in examples], dtype=np.int32)


def class_sets(examples: Sequence[LabeledText], names: Sequence[str]) -> NDArray[np.int32]:
    """Return 1 for each class that an example has and 0 for the others, (examples, classes).

    Examples without a label have `NO_LABEL` for every class.

    Raises:
        ValueError: naming the line of a label that is none of the names.
    """
    numbers = {name: number for number, name in enumerate(names)}
    table = np.zeros((len(examples), len(names)), dtype=np.int32)
    for row, example in zip(table, examples, strict=True):
        if example.label is None:
            row[:] = NO_LABEL
        else:
            row[[_number(example, name, numbers) for name in _names_of(example)]] = 1
    return table


def _number(example: LabeledText, name: object, numbers: Mapping[str, int]) -> int:
    if str(name) not in numbers:
        raise ValueError(f"{example.where} has the label {shown(name)}, which is none of {', '.join(numbers)}")
    return numbers[str(name)]


def number_labels(examples: Sequence[LabeledText]) -> NDArray[np.int32]:
    """Return the bits of each label as float32, `NO_LABEL` for examples without a label, (examples,).

    Raises:
        ValueError: naming the line of a label that is no number.
    """
    for example in examples:
        if not isinstance(example.label, int | float | None):
            raise ValueError(f"{example.where} has the label {shown(example.label)}, which must be a number")
    values = np.array([0.0 if e.label is None else e.label for e in examples], dtype=np.float32)
    bits = values.view(np.int32).copy()
    bits[[example.label is None for example in examples]] = NO_LABEL
    return bits
