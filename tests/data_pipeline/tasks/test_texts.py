"""Texts become the ids that transformers gives them, and labels that are not in the list are refused with the line."""

import numpy as np
import pytest
from tokenizers import Tokenizer
from transformers import PreTrainedTokenizerFast

from data_pipeline.records import NO_LABEL
from data_pipeline.tasks.encoded import LABELS
from data_pipeline.tasks.task_records import Label, LabeledText
from data_pipeline.tasks.texts import class_labels, class_names, class_sets, encode_texts, kept_lengths, number_labels
from tests.support.texts import tiny_texts

TEXTS = [" ".join(document) for document in tiny_texts(12, seed=5)]


def labeled(*labels: Label | None, pair: bool = False) -> list[LabeledText]:
    return [
        LabeledText(str(row), TEXTS[row], TEXTS[-1 - row][:40] if pair else None, label, f"x.tsv, line {row + 2}")
        for row, label in enumerate(labels)
    ]


@pytest.mark.parametrize("pair", [False, True])
@pytest.mark.parametrize("seq_len", [16, 17, 400])
def test_ids_and_types_are_those_of_transformers(tokenizer: Tokenizer, pair: bool, seq_len: int) -> None:
    special = {"cls_token": "[CLS]", "sep_token": "[SEP]", "pad_token": "[PAD]", "unk_token": "[UNK]"}
    reference = PreTrainedTokenizerFast(tokenizer_object=tokenizer, **special)
    records = labeled("a", "b", "a", "b", pair=pair)
    encoded = encode_texts(tokenizer, records, seq_len, class_labels(records, ["a", "b"]), "train")
    for row, record in enumerate(records):
        begin, end = encoded.cu_seqlens[row : row + 2]
        cut = {"truncation": "longest_first", "max_length": seq_len, "return_token_type_ids": True}
        expected = reference(record.text, record.text_pair, **cut)
        assert encoded.input_ids[begin:end].tolist() == expected["input_ids"]
        assert encoded.token_type_ids[begin:end].tolist() == expected["token_type_ids"]
    assert encoded.targets[LABELS].positions.tolist() == [0] * 4
    assert encoded.targets[LABELS].labels.tolist() == [0, 1, 0, 1]


def test_pairs_are_cut_as_tokenizers_cuts_them(tokenizer: Tokenizer) -> None:
    """Exported models read texts with its `longest_first`; every room and every pair of lengths around it."""
    word = tokenizer.encode("a", add_special_tokens=False)
    assert len(word) == 1
    plain = Tokenizer.from_str(tokenizer.to_str())
    for most in range(2, 10):
        plain.enable_truncation(most + 3, strategy="longest_first")
        for first in range(1, most + 4):
            for second in range(1, most + 4):
                types = plain.encode(" ".join("a" * first), " ".join("a" * second)).type_ids
                assert kept_lengths(first, second, most) == (types.count(0) - 2, types.count(1) - 1)


def test_names_of_special_tokens_in_a_text_are_text(tokenizer: Tokenizer) -> None:
    records = [LabeledText("0", "a [SEP] b", None, None, "x")]
    encoded = encode_texts(tokenizer, records, 40, class_labels(records, ["a", "b"]), "test")
    assert encoded.input_ids.tolist().count(tokenizer.token_to_id("[SEP]")) == 1
    assert encoded.targets[LABELS].labels.tolist() == [NO_LABEL]


def test_classes_are_sorted_as_numbers_if_they_are_numbers() -> None:
    assert class_names(labeled("10", "9", "-1.5")) == ["-1.5", "9", "10"]
    assert class_names(labeled("b", "a", "10", "b")) == ["10", "a", "b"]
    for names in (["1", "1.0", "01"], ["01", "1.0", "1"]):  # the order of a set is that of hashes
        assert class_names(labeled(*names)) == ["01", "1", "1.0"]
    assert class_names(labeled("2", "nan", "10")) == ["10", "2", "nan"]
    assert class_names(labeled(("x", "y"), (), ("z",))) == ["x", "y", "z"]
    with pytest.raises(ValueError, match=r"x\.tsv, line 2: classes need at least two names"):
        class_names(labeled("a", "a"))


def test_a_label_that_is_not_in_the_list_is_refused_with_its_line() -> None:
    with pytest.raises(ValueError, match=r"x.tsv, line 3 has the label 'c', which is none of a, b"):
        class_labels(labeled("a", "c"), ["a", "b"])
    with pytest.raises(ValueError, match=r"x.tsv, line 3 has the label 'c', which is none of a, b"):
        class_sets(labeled(("a", "b"), ("a", "c")), ["a", "b"])
    with pytest.raises(ValueError, match=r"x.tsv, line 2 has the label 'high', which must be a number"):
        number_labels(labeled("high"))


def test_sets_are_rows_of_0_and_1() -> None:
    assert class_sets(labeled(("b",), (), ("a", "b"), None), ["a", "b"]).tolist() == [
        [0, 1],
        [0, 0],
        [1, 1],
        [NO_LABEL, NO_LABEL],
    ]


def test_numbers_are_the_bits_of_float32() -> None:
    codes = number_labels(labeled(2.5, -100.0, None))
    assert codes[:2].view(np.float32).tolist() == [2.5, -100.0]
    assert codes[2] == NO_LABEL
