"""Questions with choices -> a pair of segments for each choice (Devlin et al., 2019, section 4.4)."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from tokenizers import Tokenizer

from data_pipeline.records import NO_LABEL
from data_pipeline.tasks.encoded import FIRST, EncodedExamples
from data_pipeline.tasks.task_records import ChoiceQuestion, LabeledText
from data_pipeline.tasks.texts import encode_texts


def encode_choices(
    tokenizer: Tokenizer, questions: Sequence[ChoiceQuestion], seq_len: int, split: str, extract: str = FIRST
) -> EncodedExamples:
    """Return [CLS] text [SEP] choice [SEP] of every choice; the choices of a question are one example.

    The label, the index of the right choice, is in the row of the first choice; the other rows have `NO_LABEL`.

    Args:
        tokenizer: Tokenizer of the encoder.
        questions: The questions, all with the same number of choices.
        seq_len: Most tokens of a sequence; longer pairs are cut as those of other tasks.
        split: Name of the split, for the log.
        extract: The token of each choice that is read, `FIRST` or `LAST`.
    """
    num_choices = len(questions[0].choices)
    labels = np.full((len(questions), num_choices), NO_LABEL, dtype=np.int32)
    labels[:, 0] = [NO_LABEL if question.label is None else question.label for question in questions]
    pairs = [
        LabeledText(question.identifier, question.text, choice, None, question.where)
        for question in questions
        for choice in question.choices
    ]
    encoded = encode_texts(tokenizer, pairs, seq_len, labels.ravel(), split, extract)
    return replace(encoded, sequences_per_example=num_choices)
