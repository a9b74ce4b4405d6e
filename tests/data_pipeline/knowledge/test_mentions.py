"""Mentions in token ids: whole words, in the order of the links, as many as can be found."""

from collections import Counter
from itertools import pairwise

import numpy as np
import pytest
from tokenizers import Tokenizer, pre_tokenizers

from data_pipeline.knowledge.title_rows import TitleRows
from data_pipeline.preparation.mentions import MOST_PLACES, MentionFinder, longest_chain
from data_pipeline.tokenizers.byte_bpe import train_byte_bpe
from data_pipeline.tokenizers.pieces import continuation_pieces
from data_pipeline.tokenizers.special_tokens import special_tokens
from data_pipeline.tokenizers.tokenizer import train_wordpiece
from data_pipeline.tokenizers.unigram import train_unigram
from data_pipeline.tokenizers.word_cache import WordCache

TEXT = [
    "The river Aare runs through Bern.",
    "The Bernese love the Aare, and the Aare loves them; Bernhard does not.",
    "In Zug is a lake of Zug.",
]


def train_as_gpt2(texts: list[str], vocab_size: int) -> Tokenizer:
    """Byte-level BPE in which the first word of a sentence has no mark of a space."""
    trained = train_byte_bpe(texts, vocab_size)
    trained.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    return trained


TRAINERS = {
    "wordpiece": train_wordpiece,
    "byte_bpe": train_byte_bpe,
    "as_gpt2": train_as_gpt2,
    "unigram": train_unigram,
}


def finder(tokenizer: Tokenizer, titles: list[str]) -> MentionFinder:
    rows = TitleRows.of({title: row for row, title in enumerate(titles)})
    return MentionFinder(WordCache(tokenizer), rows, continuation_pieces(tokenizer), special_tokens(tokenizer).unk)


@pytest.fixture(scope="module", params=sorted(TRAINERS))
def trained(request: pytest.FixtureRequest) -> Tokenizer:
    return TRAINERS[request.param]([" ".join(TEXT)] * 20, 300)


def test_links_are_found_with_every_tokenizer(trained: Tokenizer) -> None:
    links = [("The river", "River"), ("Aare", "Aare"), ("Bern", "Bern"), ("The Bernese", "Bernese"), ("Aare", "Aare")]
    links += [("Zug", "Zug"), ("lake of Zug", "Lake")]
    counts = Counter[str]()
    find = finder(trained, ["River", "Aare", "Bern", "Bernese", "Zug", "Lake"])
    sentences = find.words.encode(TEXT)
    mentions = find.find([*links, ("sea", "Sea")], sentences, counts)
    assert [mention.entity for mention in mentions] == [0, 1, 2, 3, 1, 4, 5]
    flat = [token for sentence in sentences for token in sentence]
    words = [trained.decode(flat[m.begin : m.begin + m.size]).strip().lower() for m in mentions]
    assert words == [text.lower() for text, _ in links]
    assert counts == {"links": 8, "entity_links": 7, "mentions": 7}


def test_parts_of_words_are_no_mentions(tokenizer: Tokenizer) -> None:
    find = finder(tokenizer, ["A", "B"])
    vocabulary = tokenizer.get_vocab()
    begin, rest = vocabulary["unhap"], vocabulary["##pily"]
    (alone,) = find.words.encode(["unhap"])
    assert alone == [begin]
    sentences = [[begin, rest], [rest, begin], [begin]]
    assert [mention.begin for mention in find.find([("unhap", "A")], sentences, Counter())] == [3]
    assert find.find([("unhap", "A")], sentences[:1], Counter()) == []


def test_a_mention_lies_in_one_sentence_and_has_no_unknown_words(trained: Tokenizer) -> None:
    find = finder(trained, ["Both", "What"])
    sentences = find.words.encode(["He loves Bern", "Aare is a river"])
    assert find.find([("Bern Aare", "Both")], sentences, Counter()) == []
    counts = Counter[str]()
    unknown = find.words.encode(["It is \u4e2d here"])
    if find.unknown in unknown[0]:
        assert find.find([("\u4e2d", "What")], unknown, counts) == []
        assert counts == {"links": 1, "entity_links": 1, "mentions": 0}


def test_a_text_that_is_not_there_does_not_hide_the_links_behind_it(tokenizer: Tokenizer) -> None:
    """Its only place is at the end: a pointer that goes forward would find nothing more."""
    find = finder(tokenizer, ["A", "B", "C"])
    sentences = find.words.encode(["the king walks to the river .", "the queen sees the stone ."])
    links = [("stone", "A"), ("king", "B"), ("river", "C"), ("queen", "B")]
    assert [mention.entity for mention in find.find(links, sentences, Counter())] == [1, 2, 1]


def test_words_in_very_many_places_are_left_out(tokenizer: Tokenizer) -> None:
    find = finder(tokenizer, ["A", "B"])
    sentences = find.words.encode(["the king ."] * (MOST_PLACES + 1) + ["the river ."])
    found = find.find([("the", "A"), ("river", "B")], sentences, Counter())
    assert [mention.entity for mention in found] == [1]


def test_the_longest_chain_is_the_longest() -> None:
    """Against all chains of small cases."""

    def longest(places: list[list[tuple[int, int]]], behind: int = 0) -> int:
        if not places:
            return 0
        taken = [1 + longest(places[1:], end) for begin, end in places[0] if begin >= behind]
        return max([longest(places[1:], behind), *taken])

    numbers = np.random.default_rng(0)
    for _ in range(200):
        places = [
            sorted({(int(b), int(b + s)) for b, s in numbers.integers(1, 7, size=(numbers.integers(0, 4), 2))})
            for _ in range(numbers.integers(0, 7))
        ]
        chain = longest_chain(places)
        assert len(chain) == longest(places)
        assert all(place in places[item] for item, place in chain)
        assert all(a[0] < b[0] and a[1][1] <= b[1][0] for a, b in pairwise(chain))
