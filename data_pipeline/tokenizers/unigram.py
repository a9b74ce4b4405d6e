"""Unigram (Kudo, 2018), the tokenizer of ALBERT and T5, trained by SentencePiece.

The trainer of the package `tokenizers` sums in the order of a hash table and in threads, so two trainings on the same
text differ. Those of SentencePiece do not. SentencePiece gets each word with its count, after the normalization and
word splitting of this module.
"""

import io
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

import sentencepiece
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers

from data_pipeline.tokenizers.byte_bpe import case_normalizers
from data_pipeline.tokenizers.pieces import SPACE
from data_pipeline.tokenizers.special_tokens import SPECIAL_TOKENS, check_special_tokens, finish, without_tokens
from data_pipeline.tokenizers.tokenizer import check_vocab_size

SCORE_DIGITS = 5
# A word, a number, or a run of other characters, each with the mark of the space before it.
_WORDS = rf"{SPACE}?[\p{{L}}\p{{M}}]+|{SPACE}?\p{{N}}+|{SPACE}?[^{SPACE}\p{{L}}\p{{M}}\p{{N}}]+|{SPACE}+"
_TOO_SMALL = re.compile(r"smaller than required_chars\. \d+ vs (\d+)")


def unigram_tokenizer(model: models.Unigram, lowercase: bool, strip_accents: bool | None = None) -> Tokenizer:
    """Return a tokenizer around a Unigram model, without special tokens."""
    tokenizer = Tokenizer(model)
    spaces = [normalizers.NFKC(), normalizers.Replace(Regex(r"\s+"), " ")]
    tokenizer.normalizer = normalizers.Sequence([*spaces, *case_normalizers(lowercase, strip_accents)])
    tokenizer.pre_tokenizer = unigram_pre_tokenizer()
    tokenizer.decoder = decoders.Sequence([decoders.ByteFallback(), decoders.Metaspace(SPACE, prepend_scheme="first")])
    return tokenizer


def unigram_pre_tokenizer() -> pre_tokenizers.PreTokenizer:
    """Return the pre-tokenizer that splits text into words, numbers and marks, each with the space before it."""
    mark = pre_tokenizers.Metaspace(SPACE, prepend_scheme="first", split=False)
    return pre_tokenizers.Sequence([mark, pre_tokenizers.Split(Regex(_WORDS), "isolated")])


def train_unigram(
    texts: Sequence[str],
    vocab_size: int,
    lowercase: bool = True,
    strip_accents: bool | None = None,
    character_coverage: float = 0.9995,
    byte_fallback: bool = True,
    special_tokens: Sequence[str] = (),
) -> Tokenizer:
    """Train a Unigram vocabulary; the same texts always give the same file.

    Args:
        texts: Text to train on, in pieces of any size.
        vocab_size: Most entries; a small corpus gives fewer.
        lowercase: True folds case.
        strip_accents: True removes accents; None does as `lowercase`.
        character_coverage: Share of the letters of the corpus that get an entry.
        byte_fallback: True encodes other letters as bytes, which take 256 entries; False makes them [UNK].
        special_tokens: Special tokens besides those of BERT, such as [ANON]; they stay whole in every text.

    Raises:
        ValueError: A special token cannot be one, or all of them and the letters are more than `vocab_size`.
    """
    if not 0 < character_coverage <= 1:
        raise ValueError(f"tokenizer.character_coverage must be in (0, 1]; got {character_coverage!r}")
    extra = check_special_tokens(special_tokens)
    special = [*SPECIAL_TOKENS.values(), *extra]
    check_vocab_size(vocab_size, len(special) + 1)
    bare = unigram_tokenizer(models.Unigram(), lowercase, strip_accents)
    counts = Counter(dict(_pieces_of_words(without_tokens(texts, extra), bare)))
    pieces = _train(
        counts, vocab_size, len(special), character_coverage=character_coverage, byte_fallback=byte_fallback
    )
    entries = [*((token, 0.0) for token in special), *pieces]
    model = models.Unigram(entries, unk_id=list(SPECIAL_TOKENS).index("unk"), byte_fallback=byte_fallback)
    return finish(unigram_tokenizer(model, lowercase, strip_accents), extra=extra)


def _pieces_of_words(texts: Sequence[str], tokenizer: Tokenizer) -> Iterator[tuple[str, int]]:
    """Yield the pieces into which the words are split before the model, with their counts, in a fixed order."""
    words: Counter[str] = Counter()
    for text in texts:
        words.update(text.split())
    counts: Counter[str] = Counter()
    for word, count in words.items():
        normal = tokenizer.normalizer.normalize_str(word)
        for piece, _ in tokenizer.pre_tokenizer.pre_tokenize_str(normal):
            counts[piece] += count
    yield from sorted(counts.items())


def _train(counts: Counter[str], vocab_size: int, num_special: int, **options: Any) -> list[tuple[str, float]]:
    """Return pieces with their scores, best first."""
    unknown = 1
    written = io.BytesIO()
    try:
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=(f"{piece}\t{count}" for piece, count in counts.items()),
            input_format="tsv",
            model_writer=written,
            vocab_size=vocab_size - num_special + unknown,
            hard_vocab_limit=False,
            normalization_rule_name="identity",
            add_dummy_prefix=False,
            remove_extra_whitespaces=False,
            split_by_unicode_script=False,
            split_by_number=False,
            split_by_whitespace=False,
            bos_id=-1,
            eos_id=-1,
            num_threads=1,
            minloglevel=2,
            **options,
        )
    except RuntimeError as error:
        if match := _TOO_SMALL.search(str(error)):
            check_vocab_size(vocab_size, int(match[1]) + num_special - unknown)
        raise ValueError(f"SentencePiece cannot train on this corpus: {error}") from error
    trained = sentencepiece.SentencePieceProcessor(model_proto=written.getvalue())
    ids = range(unknown, trained.get_piece_size())
    # Scores of few digits survive the way through tokenizer.json unchanged.
    return [(trained.id_to_piece(index), round(trained.get_score(index), SCORE_DIGITS)) for index in ids]
