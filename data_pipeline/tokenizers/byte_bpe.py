"""Byte-level BPE, the tokenizer of GPT-2 and RoBERTa: every text has ids, and none is [UNK].

There are two differences. The first word of a text gets the mark of a space too, so a word has the same pieces at every
position. And the special tokens have BERT's names.
"""

from collections.abc import Sequence

from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

from data_pipeline.tokenizers.special_tokens import SPECIAL_TOKENS, check_special_tokens, finish, without_tokens
from data_pipeline.tokenizers.tokenizer import check_vocab_size


def case_normalizers(lowercase: bool, strip_accents: bool | None) -> list[normalizers.Normalizer]:
    """Return the normalizers that fold case and strip accents; Hangul syllables stay whole."""
    steps: list[normalizers.Normalizer] = [normalizers.Lowercase()] if lowercase else []
    if lowercase if strip_accents is None else strip_accents:
        steps += [normalizers.NFD(), normalizers.StripAccents(), normalizers.NFC()]
    return steps


def train_byte_bpe(
    texts: Sequence[str],
    vocab_size: int,
    lowercase: bool = False,
    min_frequency: int = 2,
    strip_accents: bool | None = None,
    special_tokens: Sequence[str] = (),
) -> Tokenizer:
    """Train a byte-level BPE vocabulary; the same texts always give the same file.

    Args:
        texts: Text to train on, in pieces of any size.
        vocab_size: Most entries; a small corpus gives fewer.
        lowercase: True folds case.
        min_frequency: Fewest occurrences of a pair of pieces that is merged.
        strip_accents: True removes accents; None does as `lowercase`.
        special_tokens: Special tokens besides those of BERT, such as [ANON]; they stay whole in every text.

    Raises:
        ValueError: A special token cannot be one, or all of them and the 256 bytes are more than `vocab_size`.
    """
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    extra = check_special_tokens(special_tokens)
    special = [*SPECIAL_TOKENS.values(), *extra]
    check_vocab_size(vocab_size, len(special) + len(alphabet))
    tokenizer = Tokenizer(models.BPE())
    if steps := case_normalizers(lowercase, strip_accents):
        tokenizer.normalizer = normalizers.Sequence(steps)
    # Metaspace adds a space before the text only; ByteLevel would add one after each [MASK] too.
    prefix = pre_tokenizers.Metaspace(replacement=" ", prepend_scheme="first", split=False)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([prefix, pre_tokenizers.ByteLevel(add_prefix_space=False)])
    tokenizer.decoder = decoders.Sequence([decoders.ByteLevel(), decoders.Strip(" ", 1, 0)])
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        min_frequency=min_frequency,
        special_tokens=special,
        initial_alphabet=alphabet,
        show_progress=False,
    )
    tokenizer.train_from_iterator(without_tokens(texts, extra), trainer)
    return finish(tokenizer, extra=extra)
