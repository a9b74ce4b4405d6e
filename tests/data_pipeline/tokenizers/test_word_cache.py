"""Ids from the cache of words are those of the tokenizer, for every tokenizer and whatever the text holds."""

from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import AddedToken, Regex, Tokenizer, models, normalizers, pre_tokenizers

from data_pipeline.tokenizers import word_cache
from data_pipeline.tokenizers.byte_bpe import train_byte_bpe
from data_pipeline.tokenizers.spaces import Spaces, spaces_of
from data_pipeline.tokenizers.special_tokens import plain_text_tokenizer
from data_pipeline.tokenizers.tokenizer import train_wordpiece
from data_pipeline.tokenizers.unigram import train_unigram, unigram_tokenizer
from data_pipeline.tokenizers.word_cache import WordCache
from tests.support.texts import tiny_texts

TEXTS = [
    *(" ".join(document) for document in tiny_texts(60)),
    "Ünïcödé straße ΟΔΟΣ 中文 字 한국어 don't it's x_1 3.14 [MASK] [ANON] na\u0301 e\u0301\u0323 ▁mark 9,000",
] * 2
HOSTILE = [
    *(" ", "  ", "\t", "\n", "\r\n", "\x0b", "\x0c", "\x1c", "\x85", "\u00a0", "\u2009", "\u2028", "\u3000"),
    *(
        "\0",
        "\x01",
        "\x7f",
        "\u00ad",
        "\u200b",
        "\u200d",
        "\ufeff",
        "\ufffd",
        "\ufe0f",
        "\u200c",
        "\ufffe",
        "\U0010ffff",
        "\ue000",
    ),
    *("\u0301", "\u0323", "\u0338", "\u20d7", "\u3099", "\u0e33", "\u0f71", "\u0345", "\u1161", "\u11a8"),
    *(
        "\u00a8",
        "\u00b4",
        "\u037a",
        "\ufe49",
        "\ufe0f",
        "\u200c",
        "\ufc5e",
        "\ufb01",
        "\u017f",
        "\u212a",
        "\u0130",
        "\u01c5",
        "\uff13",
    ),
    *("ß", "Σ", "ς", "é", "Ö", "각", "中", "文", "か", "ก", "न", "\u093c", "🙂", "\U00020000", "½", "…", "“", "。"),
    *("▁", "Ġ", "##", "##s", "[MASK]", "[CLS]", "[SEP]", "[ANON]", "<s>", "_", "-", ".", "...", "<", "=", ">", "!"),
    *("king", "King", "queen's", "don't", "'s", "'ll", "n't", "1", "3.14", "the", "THE", "x", "y1", "zz", "naïve"),
    *("a" * 101, "a" * 200, "unhappily", "ing", "@", "$", "€"),
]
LETTERS = st.sampled_from(HOSTILE) | st.just(" ") | st.characters(exclude_categories=["Cs"])
SENTENCES = st.lists(st.lists(LETTERS, max_size=14), max_size=6)
BETWEEN = ["▁ ", " ▁ ", "\u00a0 ", " \u00a0", "  ", " \u0301 ", " \u200b ", "\n ", " \u00a8 "]


def wordpiece(**settings: bool) -> Tokenizer:
    return train_wordpiece(TEXTS, 300, **settings)


def course_recipe(*steps: normalizers.Normalizer) -> Tokenizer:
    """Return WordPiece behind a sequence of normalizers and the pre-tokenizer `Whitespace`."""
    tokenizer = wordpiece()
    tokenizer.normalizer = normalizers.Sequence(list(steps))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    return tokenizer


def with_added(tokenizer: Tokenizer, *tokens: AddedToken | str) -> Tokenizer:
    tokenizer.add_tokens(list(tokens))
    return tokenizer


def gpt2_like() -> Tokenizer:
    tokenizer = train_byte_bpe(TEXTS, 400)
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    return tokenizer


def unigram_of_words() -> Tokenizer:
    """Return a Unigram tokenizer whose words differ from their letters after another word."""
    pieces = ["▁king", "▁the", "king", "the", "▁", "s", "."]
    return unigram_tokenizer(models.Unigram([(t, -i / 2) for i, t in enumerate(["[UNK]", *pieces])], 0), False)


def raw(tokenizer: Tokenizer) -> Tokenizer:
    """Return a WordPiece tokenizer that neither cleans text nor sets Chinese letters apart."""
    tokenizer.normalizer = normalizers.BertNormalizer(clean_text=False, handle_chinese_chars=False, lowercase=False)
    return tokenizer


NFKC_STEPS = (normalizers.NFKC(), normalizers.Lowercase(), normalizers.NFD(), normalizers.StripAccents())
CACHED: dict[str, tuple[Callable[[], Tokenizer], Spaces]] = {
    "uncased": (wordpiece, Spaces.DROPPED_LIKE_MARKS),
    "cased": (lambda: wordpiece(lowercase=False), Spaces.DROPPED_LIKE_MARKS),
    "accents": (lambda: wordpiece(strip_accents=False), Spaces.DROPPED_LIKE_MARKS),
    "raw": (lambda: raw(wordpiece()), Spaces.DROPPED_LIKE_MARKS),
    "emoji": (lambda: wordpiece(split_emoji=True), Spaces.DROPPED_LIKE_MARKS),
    "joiners": (lambda: wordpiece(keep_joiners=True, lowercase=False), Spaces.DROPPED_LIKE_MARKS),
    "special": (lambda: train_wordpiece(TEXTS, 300, special_tokens=["[ANON]", "##s"]), Spaces.DROPPED),
    "nfc": (lambda: course_recipe(normalizers.NFC()), Spaces.DROPPED),
    "course": (lambda: course_recipe(*NFKC_STEPS), Spaces.DROPPED),
    "added": (lambda: with_added(wordpiece(), "[ANON]", "ing", AddedToken("King", single_word=True)), Spaces.DROPPED),
    "added raw": (lambda: with_added(wordpiece(), AddedToken("x", lstrip=True, normalized=False)), Spaces.DROPPED),
    "byte_bpe": (lambda: train_byte_bpe(TEXTS, 400), Spaces.BEGIN_WORDS),
    "byte_bpe uncased": (lambda: train_byte_bpe(TEXTS, 400, lowercase=True), Spaces.BEGIN_WORDS),
    "byte_bpe added": (lambda: with_added(train_byte_bpe(TEXTS, 400), "[ANON]", "ing"), Spaces.BEGIN_WORDS),
    "gpt2": (gpt2_like, Spaces.BEGIN_WORDS),
    "unigram": (lambda: train_unigram(TEXTS, 500), Spaces.BEGIN_WORDS),
    "unigram of words": (unigram_of_words, Spaces.BEGIN_WORDS),
    "unigram cased": (lambda: train_unigram(TEXTS, 500, lowercase=False), Spaces.BEGIN_WORDS),
    "unigram added": (lambda: with_added(train_unigram(TEXTS, 500), "[ANON]", "ing"), Spaces.BEGIN_WORDS),
}
READ = {name: kind() for name, (kind, _) in CACHED.items()}
PLAIN = {name: plain_text_tokenizer(tokenizer) for name, tokenizer in READ.items()}


def ids(tokenizer: Tokenizer, sentences: list[str]) -> list[list[int]]:
    return [encoding.ids for encoding in tokenizer.encode_batch_fast(sentences, add_special_tokens=False)]


@pytest.mark.parametrize("name", PLAIN)
@settings(max_examples=400, deadline=None)
@given(sentences=SENTENCES)
def test_hostile_text_has_the_ids_of_the_tokenizer(name: str, sentences: list[list[str]]) -> None:
    texts = ["".join(letters) for letters in sentences] + [" ".join(letters) for letters in sentences]
    for tokenizer in (PLAIN[name], READ[name]):
        cache = WordCache(tokenizer)
        expected = ids(tokenizer, texts)
        assert cache.encode(texts) == expected
        assert cache.encode(texts) == expected


@pytest.mark.parametrize("name", PLAIN)
def test_what_a_tokenizer_does_with_spaces_is_known(name: str) -> None:
    assert spaces_of(PLAIN[name]) is CACHED[name][1]


def changed(change: Callable[[Tokenizer], object], tokenizer: Callable[[], Tokenizer] = wordpiece) -> Tokenizer:
    made = tokenizer()
    change(made)
    return made


@pytest.mark.parametrize(
    "tokenizer",
    [
        with_added(wordpiece(), "a king"),
        with_added(wordpiece(), AddedToken("[ANON]", rstrip=True)),
        with_added(wordpiece(), AddedToken("中")),
        with_added(wordpiece(), AddedToken("\u0301")),
        changed(lambda t: t.enable_truncation(4)),
        changed(lambda t: t.enable_padding()),
        changed(lambda t: setattr(t, "normalizer", normalizers.Replace("a k", "b"))),
        changed(lambda t: setattr(t, "normalizer", normalizers.Strip())),
        changed(lambda t: setattr(t, "pre_tokenizer", pre_tokenizers.Split(Regex("k"), "isolated"))),
        changed(lambda t: setattr(t, "pre_tokenizer", pre_tokenizers.ByteLevel(use_regex=False))),
        changed(lambda t: setattr(t, "pre_tokenizer", pre_tokenizers.Metaspace())),
        changed(lambda t: setattr(t, "model", models.BPE({"a": 0}, [], dropout=0.1))),
        Tokenizer(models.WordLevel({"a king": 0, "[UNK]": 1}, "[UNK]")),
    ],
    ids=lambda tokenizer: "",
)
def test_tokenizers_that_may_look_across_a_space_encode_whole_sentences(tokenizer: Tokenizer) -> None:
    assert spaces_of(tokenizer) is Spaces.MAY_JOIN
    cache = WordCache(tokenizer)
    assert len(cache.encode(["a king", "the king runs"])) == 2
    assert len(cache) == 0


def test_memory_is_bounded_and_forgetting_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(word_cache, "LONGEST_WORD", 8)
    texts = [" ".join(document) for document in tiny_texts(200, seed=5)]
    texts = [f"{text} number{n} {'long' * n} {'a' * n}+{'b' * n}" for n, text in enumerate(texts)]
    for name in ("uncased", "byte_bpe", "unigram"):
        cache, sizes = WordCache(PLAIN[name], most_words=60), []
        for begin in range(0, len(texts), 10):
            assert cache.encode(texts[begin : begin + 10]) == ids(PLAIN[name], texts[begin : begin + 10])
            sizes.append(len(cache))
        assert max(sizes) < 60 + 60
        assert not any(len(word) > 8 for word in cache._ids)
        assert min(sizes[5:]) > 20


def test_a_known_word_is_not_encoded_again(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    cache = WordCache(PLAIN["uncased"])
    encode = WordCache._encode_whole
    monkeypatch.setattr(WordCache, "_encode_whole", lambda self, texts: (asked.extend(texts), encode(self, texts))[1])
    cache.encode(["The king runs.", "The queen runs, and the king."])
    cache.encode(["The queen, the king."])
    assert sorted(asked) == sorted({"The", "king", "runs", ".", "queen", ",", "and", "the"})


@pytest.mark.parametrize("name", PLAIN)
@pytest.mark.parametrize("between", BETWEEN)
def test_words_that_could_join_their_neighbors_are_encoded_with_them(name: str, between: str) -> None:
    texts = [f"king{between}the{between}king", f"{between}king{between}", f"the king{between}"]
    assert WordCache(PLAIN[name]).encode(texts) == ids(PLAIN[name], texts)
