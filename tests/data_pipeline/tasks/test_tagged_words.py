"""Labels at first pieces alone, every word once, windows between words, tags that are not known."""

from collections.abc import Callable

import numpy as np
import pytest
from tokenizers import Tokenizer

from data_pipeline.records import NO_LABEL
from data_pipeline.tasks.encoded import LABELS, EncodedExamples
from data_pipeline.tasks.tagged import read_conllu
from data_pipeline.tasks.tagged_words import encode_tagged, tag_names
from data_pipeline.tasks.task_records import TaggedSentence
from data_pipeline.tokenizers.byte_bpe import train_byte_bpe
from data_pipeline.tokenizers.tokenizer import load_tokenizer, train_wordpiece
from data_pipeline.tokenizers.unigram import train_unigram
from tests.support.checkout import SHARED_DATA

TEXTS = ["Duke Berthold founded the city of Bern on the river Aare", "the old city"] * 4
TAGS = ["O", "B-LOC", "B-PER"]
TRAINERS = [train_wordpiece, train_byte_bpe, train_unigram]


def sentence(*words: str, tags: list[str] | None = None) -> TaggedSentence:
    return TaggedSentence("0", words, tuple(tags or ["O"] * len(words)), "x.conll, line 7")


def runs(encoded: EncodedExamples) -> list[list[int]]:
    """Token ids of each sequence."""
    return [part.tolist() for part in np.split(encoded.input_ids, encoded.cu_seqlens[1:-1])]


def words_of(encoded: EncodedExamples) -> list[list[int]]:
    """Token ids of each word: from its row to the next one, or to [SEP]."""
    target = encoded.targets[LABELS]
    found = []
    for number, ids in enumerate(runs(encoded)):
        begins = target.positions[target.cu_rows[number] : target.cu_rows[number + 1]].tolist()
        assert begins[0] == 1
        found += [ids[begin:end] for begin, end in zip(begins, [*begins[1:], len(ids) - 1], strict=True)]
    return found


@pytest.mark.parametrize("train", TRAINERS)
def test_every_word_has_its_pieces_and_its_label_at_the_first(train: Callable[..., Tokenizer]) -> None:
    tokenizer = train(TEXTS, vocab_size=300)
    tags = ["O", "B-PER", "O", "O", "B-LOC"]
    encoded = encode_tagged(tokenizer, [sentence("Duke", "Berthold", "in", "the", "Aare-city", tags=tags)], TAGS, 64)
    expected = [tokenizer.encode(word, add_special_tokens=False).ids for word in ("Duke", "Berthold", "in", "the")]
    assert words_of(encoded)[:4] == expected
    assert max(map(len, words_of(encoded))) > 1
    assert encoded.targets[LABELS].labels.tolist() == [0, 2, 0, 0, 1]
    (ids,) = runs(encoded)
    assert [ids[0], ids[-1]] == [tokenizer.token_to_id("[CLS]"), tokenizer.token_to_id("[SEP]")]
    assert not encoded.token_type_ids.any()


def test_long_sentences_are_cut_between_words_and_every_word_is_predicted_once() -> None:
    tokenizer = train_wordpiece(TEXTS, vocab_size=120)
    words = ["the", "city", "Berthold", "of", "the", "river", "Aare", "founded", "Bern"] * 3
    encoded = encode_tagged(tokenizer, [sentence(*words), sentence("the")], TAGS, seq_len=12)
    assert words_of(encoded) == [tokenizer.encode(w, add_special_tokens=False).ids for w in [*words, "the"]]
    assert max(map(len, runs(encoded))) <= 12
    assert len(encoded) > 3
    assert len(encoded.targets[LABELS].labels) == len(words) + 1


def test_a_word_that_is_too_long_or_nothing_at_all_is_predicted_too() -> None:
    tokenizer = train_wordpiece(TEXTS, vocab_size=120)
    encoded = encode_tagged(tokenizer, [sentence("the", "aare" * 20, "\u200b\u0000", "city")], TAGS, seq_len=8)
    found = words_of(encoded)
    assert [len(found[1]), found[2]] == [6, [tokenizer.token_to_id("[UNK]")]]
    assert len(found) == 4


def test_names_of_special_tokens_in_a_text_are_text() -> None:
    tokenizer = train_wordpiece(TEXTS, vocab_size=120)
    encoded = encode_tagged(tokenizer, [sentence("[SEP]", "city")], TAGS, seq_len=32)
    assert runs(encoded)[0].count(tokenizer.token_to_id("[SEP]")) == 1


def test_tags_are_named_in_a_fixed_order_and_others_are_refused() -> None:
    sentences = [sentence("a", "b", tags=["B-PER", "O"]), sentence("c", tags=["B-LOC"])]
    assert tag_names(sentences) == TAGS
    tokenizer = train_wordpiece(TEXTS, vocab_size=120)
    with pytest.raises(ValueError, match=r"^x\.conll, line 7 has the tag 'B-LOC', which is none of O, B-PER$"):
        encode_tagged(tokenizer, sentences, ["O", "B-PER"], 32)
    untagged = TaggedSentence("0", ("a", "b"), None, "x.jsonl, line 2")
    with pytest.raises(ValueError, match=r"^x\.jsonl, line 2 has no tags"):
        tag_names([untagged])
    assert encode_tagged(tokenizer, [untagged], TAGS, 32).targets[LABELS].labels.tolist() == [NO_LABEL] * 2
    with pytest.raises(ValueError, match="seq_len=2 leaves no room for a word"):
        encode_tagged(tokenizer, sentences, TAGS, seq_len=2)


@pytest.mark.skipif(not SHARED_DATA.is_dir(), reason="the shared data are not here")
def test_real_sentences() -> None:
    """The words of the dev split, in windows of 64, have the pieces that BERT's tokenizer gives them."""
    tokenizer = load_tokenizer(SHARED_DATA / "bert-vocab.txt")
    sentences = read_conllu(SHARED_DATA / "tagging" / "en_ewt-ud-dev.conllu")
    encoded = encode_tagged(tokenizer, sentences, tag_names(sentences), seq_len=64)
    words = [word for each in sentences for word in each.words]
    assert len(encoded) > len(sentences)
    found = words_of(encoded)
    assert len(found) == len(words) == len(encoded.targets[LABELS].labels)
    for word, pieces in list(zip(words, found, strict=True))[::50]:
        assert pieces == tokenizer.encode(word, add_special_tokens=False).ids
