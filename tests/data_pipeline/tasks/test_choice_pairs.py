"""Choices as pairs: one sequence each, the label at the first, questions kept together."""

import numpy as np

from data_pipeline.records import NO_LABEL
from data_pipeline.tasks.choice_pairs import encode_choices
from data_pipeline.tasks.encoded import LABELS
from data_pipeline.tasks.task_records import ChoiceQuestion
from data_pipeline.tokenizers.tokenizer import train_wordpiece

TEXTS = ["the sky is blue red green", "what color is the sea"] * 4


def test_every_choice_is_a_pair() -> None:
    tokenizer = train_wordpiece(TEXTS, vocab_size=120)
    questions = [
        ChoiceQuestion("0", "the sky is", ("red", "blue"), 1, "x, line 1"),
        ChoiceQuestion("1", "what is the sea", ("green", "the sky"), None, "x, line 2"),
    ]
    encoded = encode_choices(tokenizer, questions, seq_len=32, split="train")
    assert (len(encoded), encoded.sequences_per_example) == (2, 2)
    sequences = np.split(encoded.input_ids, encoded.cu_seqlens[1:-1])
    pairs = [(question.text, choice) for question in questions for choice in question.choices]
    for ids, types, pair in zip(
        sequences, np.split(encoded.token_type_ids, encoded.cu_seqlens[1:-1]), pairs, strict=True
    ):
        expected = tokenizer.encode(*pair)
        assert (ids.tolist(), types.tolist()) == (expected.ids, expected.type_ids)
    target = encoded.targets[LABELS]
    assert target.labels.tolist() == [1, NO_LABEL, NO_LABEL, NO_LABEL]
    assert target.positions.tolist() == [0] * 4
    assert encoded.take(np.array([1])).input_ids.tolist() == np.concatenate(sequences[2:]).tolist()
